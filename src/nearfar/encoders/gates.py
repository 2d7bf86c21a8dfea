"""Fusion of embeddings of several modalities into one vector, any of which may be missing."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError, did_you_mean

FusionKind = Literal["softmax", "sigmoid", "concat"]
MissingKind = Literal["zero", "given"]


class Fused(NamedTuple):
    """vector [B, feature_dim]; gates [B, K], None for concat."""

    vector: Tensor
    gates: Tensor | None


class Fusion(nn.Module):
    """K embeddings of width D become one vector (SpatialCLIP's gate, and the two forms it is compared with).

    With s = W [e_1; ..; e_K] + b, one linear layer, and m_k = 1 where modality k is present, else 0:

    - "softmax": g_k = m_k exp(s_k) / sum over l of m_l exp(s_l), vector = sum over k of g_k e_k;
    - "sigmoid": g_k = m_k / (1 + exp(-s_k)), vector = sum over k of g_k e_k; gates do not compete;
    - "concat": vector = [m_1 e_1; ..; m_K e_K], no gate, no parameter.

    missing: what s sees of a modality that is not present. "zero": zeros, so that nothing of it, a NaN neither, reaches
    the vector; "given": the embedding as it stands, so that only the remaining gates are renormalised.
    A sample without any modality gets gates and a vector of zeros. Gates say how embeddings of whatever length are
    mixed; they are no measure of a modality's importance.

    Attributes: `feature_dim`, the width of the vector: `dim`, or `modalities * dim` for concat; `kind`.
    Raises ConfigError for an unknown name or numbers below 1.
    """

    def __init__(
        self, dim: int, kind: FusionKind = "softmax", modalities: int = 3, *, missing: MissingKind = "zero"
    ) -> None:
        super().__init__()
        _known("fusion", kind, ("softmax", "sigmoid", "concat"))
        _known("treatment of missing modalities", missing, ("zero", "given"))
        if dim < 1 or modalities < 1:
            raise ConfigError("a fusion needs embeddings", found=f"dim {dim}, modalities {modalities}")
        self.dim, self.kind, self.modalities, self.missing = dim, kind, modalities, missing
        self.feature_dim = modalities * dim if kind == "concat" else dim
        self.score = nn.Linear(modalities * dim, modalities) if kind != "concat" else None

    def forward(self, z: Tensor, present: Tensor | None = None) -> Fused:
        """z [B, K, D]; present [B, K] bool (None: all) -> `Fused`. ShapeError where they do not fit the modalities."""
        if present is None:
            present = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
        self._check(z, present)
        visible = z.masked_fill(~present[..., None], 0.0)
        if self.score is None:
            return Fused(visible.flatten(1), None)
        scores = self.score((visible if self.missing == "zero" else z).flatten(1))
        gates = _softmax(scores, present) if self.kind == "softmax" else scores.sigmoid() * present
        return Fused((gates[..., None] * visible).sum(1), gates)

    def _check(self, z: Tensor, present: Tensor) -> None:
        if z.dim() != 3 or z.shape[1:] != (self.modalities, self.dim) or present.shape != z.shape[:2]:
            raise ShapeError(
                "embeddings and modalities do not fit",
                found=f"embeddings {tuple(z.shape)}, present {tuple(present.shape)}",
                expected=f"(B, {self.modalities}, {self.dim}) and (B, {self.modalities})",
            )
        if present.dtype != torch.bool:
            raise ShapeError("present is a mask", found=present.dtype, expected="torch.bool")


def _softmax(scores: Tensor, present: Tensor) -> Tensor:
    """[B, K], zero where not present; a row without any is zero and not NaN."""
    floor = torch.finfo(scores.dtype).min
    return scores.masked_fill(~present, floor).softmax(1) * present


def _known(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ConfigError(f"unknown {what} {name!r}", expected=", ".join(names), fix=did_you_mean(name, names))
