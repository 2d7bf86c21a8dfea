"""Train MoCo in Lightning's Trainer on so many processes, and save the weights: lightning_ranks.py PROCESSES FILE"""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from nearfar import TensorDataset, create, make_loader
from nearfar.config import TrainConfig
from nearfar.train.lightning_module import LightningMethod


class Module(LightningMethod):
    def train_dataloader(self) -> Any:
        images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        where = {"rank": self.trainer.global_rank, "world": self.trainer.world_size}
        return make_loader(TensorDataset(images), batch_size=8, **where)


def main(processes: int, file: Path) -> None:
    torch.manual_seed(0)
    module = Module(create("moco", channels=3, size=16, encoder="nano_cnn"), TrainConfig(lr=1e-3, warmup=0.0))
    trainer = Trainer(
        accelerator="cpu", devices=processes, strategy="ddp_spawn" if processes > 1 else "auto", max_epochs=2,
        use_distributed_sampler=False, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module)
    torch.save(module.method.state_dict(), file)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
