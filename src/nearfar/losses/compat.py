"""The public functions of the package `spatialcl` 0.1 under their own names and arguments, for code that calls them.

They compute what SpatialCL @ b7bec27 computes; new code calls `nearfar.losses.evidential.evidential`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import full_precision
from nearfar.losses._published_tiled import ranks
from nearfar.losses.evidential import evidential
from nearfar.losses.evidential_principled import prepare
from nearfar.losses.evidential_reference import uncertainty


@torch.no_grad()
@full_precision
def co_cluster_uncertainty(
    z: Tensor, labels: Tensor, img_ids: Tensor | None = None, prior_weight: float = 2.0
) -> Tensor:
    """u [n, n] of z [N, D] or [B, V, D]; 0 where labels differ. `img_ids` is only checked: published without effect."""
    rows = prepare(z, labels, img_ids)
    return uncertainty(rows.anchors @ rows.columns.T, rows, prior_weight)


@torch.no_grad()
def compute_weights_from_uncertainty(uncertainty: Tensor, epoch: int, T: int = 100) -> Tensor:  # noqa: N803
    """Lambda = 1 + exp(-(epoch / T) rank / n) of each entry of u [n, n], rank 0 the largest of its row."""
    if uncertainty.dim() != 2:
        raise ShapeError("uncertainty of pairs", found=tuple(uncertainty.shape), expected="[n, m]")
    return 1 + torch.exp(-_share(epoch, T) * ranks(uncertainty) / uncertainty.shape[1])


def build_uwcl(
    z: Tensor,
    img_ids: Tensor,
    labels: Tensor,
    epoch: int,
    device: torch.device | str | None = None,
    temperature: float = 0.1,
    T: int = 100,  # noqa: N803
    eps: float = 1e-12,
) -> Tensor:
    """The published loss: `evidential(mode="reference")` at progress epoch / T, on `device` (default: z's)."""
    z = z if device is None else z.to(device)
    share = _share(epoch, T)
    return evidential(z, labels, img_ids, mode="reference", progress=share, temperature=temperature, eps=eps)


def _share(epoch: int, total: int) -> float:
    if not 0 <= epoch <= total or total < 1:
        raise ConfigError("epoch outside the curriculum", found=f"epoch {epoch}, T {total}", expected="0 <= epoch <= T")
    return epoch / total
