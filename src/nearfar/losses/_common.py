"""What all losses share: precision, flattening of views, checks, masked log-sum-exp, and the mean over anchors.

Each loss splits in two. Its public function prepares `Rows` (local anchors, gathered columns, labels). Its row kernel
turns similarities of anchors and columns into one loss an anchor; nothing in a kernel looks across anchors, so kernels
may be run on blocks of rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError, did_you_mean
from nearfar.losses.core.rows import unit_rows

Function = TypeVar("Function", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class Rows:
    """Local anchors against the columns of the whole world.

    anchors [n, D] and labels [n] are this rank's; columns [m, D] and column_labels [m] hold the rows of all ranks in
    rank order, then the keys. own [n]: each anchor's own column. Labels below zero are unknown.
    """

    anchors: Tensor
    labels: Tensor
    columns: Tensor
    column_labels: Tensor
    own: Tensor

    def positives(self) -> Tensor:
        """[n, m] bool: same known label, not the anchor itself."""
        same = (self.labels[:, None] == self.column_labels[None]) & (self.labels >= 0)[:, None]
        return same & ~self.itself()

    def itself(self) -> Tensor:
        """[n, m] bool: the anchor's own column."""
        return self.own[:, None] == torch.arange(len(self.columns), device=self.own.device)[None]


def full_precision(loss: Function) -> Function:
    """Run the loss outside autocast: a similarity in bfloat16 over temperature 0.01 is wrong by whole units."""

    @wraps(loss)
    def run(*args: Any, **kwargs: Any) -> Tensor:
        device = next(x.device.type for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*args, **kwargs)

    return cast(Function, run)


def embeddings(z: Tensor, normalize: bool) -> Tensor:
    """z [..., D] in float32 or better, of unit length where `normalize`."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    return unit_rows(z) if normalize else z


def flatten_views(z: Tensor, labels: Tensor, name: str = "labels") -> tuple[Tensor, Tensor]:
    """[N, D] with labels [N], or [B, V, D] with labels [B], to [N, D] and int64 [N] on z's device."""
    if z.dim() not in (2, 3) or labels.shape != z.shape[:1]:
        raise ShapeError(
            f"embeddings and {name} do not fit",
            found=f"embeddings {tuple(z.shape)}, {name} {tuple(labels.shape)}",
            expected=f"[N, D] or [B, V, D] with one of {name} per leading row",
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ConfigError(f"{name} must be integers", found=labels.dtype, fix=f"Pass {name}.long().")
    labels = labels.to(z.device, torch.int64)
    if z.dim() == 3:
        return z.flatten(0, 1), labels.repeat_interleave(z.shape[1])
    return z, labels


def world_rows(z: Tensor, labels: Tensor, keys: Tensor | None = None, key_labels: Tensor | None = None) -> Rows:
    """Gather z [n, D] and labels [n] over ranks and append the keys, which are the same on every rank."""
    counts = parallel.sizes(len(z))
    columns, column_labels = parallel.gather(z, counts), parallel.gather(labels, counts)
    own = torch.arange(len(z), device=z.device) + parallel.offset(len(z), counts)
    if keys is not None and key_labels is not None:
        columns = torch.cat([columns, keys.to(columns)])
        column_labels = torch.cat([column_labels, key_labels.to(column_labels)])
    return Rows(z, labels, columns, column_labels, own)


def masked_lse(s: Tensor, mask: Tensor) -> Tensor:
    """log of the sum of exp(s) over the mask's entries of each row, [n, m] -> [n].

    An empty row gives half the most negative number instead of -inf, whose gradient is NaN in a chain of such sums.
    """
    floor = torch.finfo(s.dtype).min / 2
    if s.shape[1] == 0:
        return s.new_full((len(s),), floor)
    return s.masked_fill(~mask, floor).logsumexp(dim=1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)). PyTorch turns linear above 20, an error of 2e-9 that float64 shows; 40 is beyond its digits."""
    return F.softplus(x, threshold=40.0)


def anchor_mean(losses: Tensor, valid: Tensor, name: str) -> Tensor:
    """Mean of losses [n] over the valid anchors of the world, scaled for DDP (`parallel.global_mean`).

    Without a valid anchor anywhere it is a zero with a graph, and rank 0 warns with the counts. The warning reads the
    count back from the device; inside torch.compile, which cannot, it is left out.
    """
    total = torch.where(valid, losses, 0.0).sum()
    counts = parallel.global_sum(torch.stack([valid.sum(), torch.ones_like(valid).sum()]))
    if not torch.compiler.is_compiling() and parallel.rank() == 0 and int(counts[0]) == 0:
        warnings.warn(
            f"{name}: 0 of {int(counts[1])} anchors on {parallel.world_size()} rank(s) have a positive; the loss is 0. "
            "Use larger batches, a class-balanced sampler, more views or a queue of keys.",
            stacklevel=4,
        )
    return total * parallel.world_size() / counts[0].clamp(min=1)


def inverse(temperature: float) -> float:
    """1 / temperature, after checking that it is positive."""
    if not temperature > 0:
        raise ConfigError("the temperature must be positive", found=temperature)
    return 1.0 / temperature


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a value that is not allowed, with the nearest one that is."""
    if value not in allowed:
        fix = did_you_mean(value, allowed, quote="'")
        raise ConfigError(f"unknown {name}", found=repr(value), expected=" or ".join(map(repr, allowed)), fix=fix)


def check_keys(z: Tensor, keys: Tensor, key_labels: Tensor | None = None) -> None:
    """keys must be [K, D] for z [..., D], and key_labels, where given, [K]."""
    if keys.dim() != 2 or keys.shape[1] != z.shape[-1]:
        raise ShapeError(
            "keys and embeddings do not fit",
            found=f"keys {tuple(keys.shape)}, embeddings {tuple(z.shape)}",
            expected="[K, D] with the embeddings' D",
        )
    if key_labels is not None and key_labels.shape != keys.shape[:1]:
        raise ShapeError(
            "one label a key",
            found=f"key_labels {tuple(key_labels.shape)}, keys {tuple(keys.shape)}",
            expected=f"({len(keys)},)",
        )


def check_pair(z0: Tensor, z1: Tensor) -> None:
    """Two views must both be [N, D]."""
    if z0.dim() != 2 or z0.shape != z1.shape:
        raise ShapeError(
            "two views must have one shape",
            found=f"z0 {tuple(z0.shape)}, z1 {tuple(z1.shape)}",
            expected="[N, D] both",
        )
