"""A method in Lightning's Trainer, for code that lives there; nearfar's own loop needs none of this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from nearfar.config import TrainConfig
from nearfar.methods.base import Batch, Method
from nearfar.train.optim import build_optimizer, set_rates


class LightningMethod(LightningModule):
    """`method` as a LightningModule: its step, its teachers and queues, its curriculum, the optimiser of `config`.

    The optimiser, its groups and the rate of every step are those of nearfar's own trainer, which `config` describes
    (the Trainer itself decides epochs, devices, precision and accumulation). Give batches of `make_loader`, or any dict
    with `image` [B, C, H, W] and what the method needs beside it. Over several devices pass rank and world to
    `make_loader`, and `use_distributed_sampler=False` to the Trainer; the losses find its process group and are exact.
    Teachers move and queues fill after each step of the optimiser, not after each batch. Stages, two-pass steps and
    bit-equal resume are nearfar's trainer's alone.
    """

    def __init__(self, method: Method, config: TrainConfig | None = None) -> None:
        super().__init__()
        self.method, self.config = method, config or TrainConfig()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss; it and its parts are logged as `loss` and `parts/NAME`."""
        step, total = self.global_step, self._total()
        self.method.set_progress(step / total)
        for optimizer in self.trainer.optimizers:
            set_rates(optimizer, self.config, min(step, total - 1), total)
        out = self.method(batch)
        self.log_dict({f"parts/{name}": value for name, value in out.parts.items()}, batch_size=len(batch["image"]))
        self.log("loss", out.loss.detach(), prog_bar=True, batch_size=len(batch["image"]))
        loss: Tensor = out.loss
        return loss

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Lightning's, then the method's teachers and queues."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.method.after_step()

    def configure_optimizers(self) -> Optimizer:
        """That of the configuration: encoder and head apart, no decay of biases and norms."""
        return build_optimizer(self.method, self.config)

    def _total(self) -> int:
        """Steps of the optimiser in the whole run."""
        return max(1, int(self.trainer.estimated_stepping_batches))
