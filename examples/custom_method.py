"""A method of your own: a configuration and a loss on the embeddings: python examples/custom_method.py"""

from dataclasses import dataclass

import torch

from nearfar import TensorDataset, make_loader
from nearfar.config import EncoderConfig, MethodConfig
from nearfar.data import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.methods.base import Batch, Method, Output, Projections


@dataclass(frozen=True)
class AlignConfig(MethodConfig):
    """Alignment and uniformity (Wang and Isola 2020) as a loss."""

    balance: float = 1.0
    """weight of uniformity"""


class Align(Method):
    """Pull two views together, spread everything over the sphere."""

    Config = AlignConfig

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        z = torch.nn.functional.normalize(projections["z"], dim=-1)
        alignment = (z[:, 0] - z[:, 1]).square().sum(-1).mean()
        uniformity = torch.pdist(z.flatten(0, 1)).square().mul(-2).exp().mean().log()
        loss = alignment + self.config.balance * uniformity
        return Output(loss, {"alignment": alignment.detach(), "uniformity": uniformity.detach()})


encoder = ImageEncoder(EncoderConfig("nano_cnn", size=32), Channels.of({"rgb": ["r", "g", "b"]}))
method = Align(AlignConfig(), encoder)
optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
for batch in make_loader(TensorDataset(torch.rand(128, 3, 32, 32)), batch_size=64):
    out = method.step(batch)
    out.loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step()
    print({name: round(value.item(), 3) for name, value in out.parts.items()})
