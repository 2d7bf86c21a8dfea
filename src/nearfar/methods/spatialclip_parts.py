"""The small parts of SpatialCLIP: classifier, alignment heads, copies of encoders, modality dropout, caption ids."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import torch
from torch import Tensor, nn

from nearfar.encoders.gates import Fusion
from nearfar.encoders.heads import projection_head
from nearfar.errors import ConfigError
from nearfar.methods.spatialclip_config import SpatialClipConfig
from nearfar.views.random import derive, uniform


class Classifier(nn.Module):
    """Embeddings [B, K, D] and which are present [B, K] -> logits [B] = w . fusion(g z) + b, and gates [B, K] or None.

    The gain g starts at sqrt(D), which makes components of unit embeddings about 1, and learns; or it is 1 for good.
    """

    def __init__(self, fusion: Fusion, learn_gain: bool) -> None:
        super().__init__()
        self.fusion, self.linear = fusion, nn.Linear(fusion.feature_dim, 1)
        self.log_gain = nn.Parameter(torch.tensor(0.5 * math.log(fusion.dim))) if learn_gain else None

    def forward(self, z: Tensor, present: Tensor) -> tuple[Tensor, Tensor | None]:
        vector, gates = self.fusion(z if self.log_gain is None else z * self.log_gain.exp(), present)
        return full(self.linear(vector))[:, 0], None if gates is None else full(gates)


class Anchors(nn.Module):
    """Copies of encoders with buffers in the place of parameters: saved with the method, trained by no stage.

    `taken`: whether they were taken for good, when the first stage that trains an encoder began.
    """

    given: Tensor

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({name: _with_buffers(encoder) for name, encoder in encoders.items()})
        self.register_buffer("given", torch.tensor(False))

    @property
    def taken(self) -> bool:
        return bool(self.given)

    def remember(self, encoders: Mapping[str, nn.Module], taken: bool = False) -> None:
        """Take the encoders as they are now."""
        for name, encoder in encoders.items():
            self.copies[name].load_state_dict(encoder.state_dict())
        self.given.fill_(taken)


def _with_buffers(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module).eval()
    for part in twin.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
    return twin


def alignment_heads(config: SpatialClipConfig, widths: Mapping[str, int]) -> tuple[nn.Module, nn.ModuleDict]:
    """The head of the image, and those of text and boxes; the identity and none where the classifier's embeddings are
    aligned themselves. Raises ConfigError where heads without layers would leave different widths."""
    if config.shared_heads:
        return nn.Identity(), nn.ModuleDict()
    if not config.projection and len(set(widths.values())) > 1:
        raise ConfigError(
            "without layers in the heads all encoders need one width",
            where="method.projection",
            found=", ".join(f"{name} {width}" for name, width in widths.items()),
            fix="Give the heads a width, such as method.projection [64].",
        )
    made = {name: projection_head(width, config.projection, config.head_norm) for name, width in widths.items()}
    return made.pop("image"), nn.ModuleDict(made)


def full(x: Tensor) -> Tensor:
    """In single precision, or double where it is."""
    return x if x.dtype == torch.float64 else x.float()


def dropped(present: Tensor, seed: Tensor, probability: float) -> Tensor:
    """present bool [B, K] without modalities dropped at random by the seeds [B]; one that is there always stays."""
    draws = uniform(derive(seed, "modality_dropout"), (present.shape[1],)).to(present.device)
    luckiest = torch.where(present, draws, -1.0).argmax(1, keepdim=True)
    kept = draws >= probability
    return present & kept.scatter(1, luckiest, True)


def caption_ids(captions: Sequence[str]) -> Tensor:
    """int64 [B]: equal for equal captions on every rank and in every process, -1 for empty ones."""
    return torch.tensor([_caption_id(caption.strip()) for caption in captions], dtype=torch.int64)


def _caption_id(caption: str) -> int:
    if not caption:
        return -1
    return int.from_bytes(blake2b(caption.encode(), digest_size=8).digest(), "little") >> 1
