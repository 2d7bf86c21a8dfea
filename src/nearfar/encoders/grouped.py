"""One backbone for many groups of bands: all groups and textures of a batch in one stacked pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from nearfar.encoders.backbone import Backbone
from nearfar.encoders.group_batchnorm import Running, per_group_statistics
from nearfar.errors import ConfigError, ShapeError

Pool = Literal["mean", "max"]
Positions = Sequence[Sequence[int]]
"""channel positions of each group"""


class GroupFeatures(NamedTuple):
    """What a `GroupEncoder` says about a batch.

    each [B, G, D]: features of every group, textures last. pooled [B, D]: their mean (or maximum). pyramid: maps
    [B, D_i, h_i, w_i] of every stage from fine to coarse, pooled over the groups; empty unless asked for.
    """

    each: Tensor
    pooled: Tensor
    pyramid: tuple[Tensor, ...] = ()


class GroupEncoder(nn.Module):
    """Groups of channels of one image through one shared backbone, as in SACo (Stival et al. 2025).

    backbone: a network [N, c, H, W] -> [N, D], a timm model without classifier or a `Backbone`. It is taken over: its
        batch norms are replaced by ones of the same names and parameters, so its state dict stays as it is.
    groups: G0 lists of c channel positions in the image. textures: G1 lists of c positions in the texture maps, such
        as local binary patterns scaled to 0..1. Band names are resolved to positions by the caller.
    pool: how the groups become one, "mean" (SACo) or "max".
    group_norm: True gives every group its own batch statistics. Outputs, gradients and running statistics are then
        those of one pass a group, in the order groups, textures, up to rounding, in one pass over B * G images. Without
        it statistics are those of all groups mixed, which is another network.
    running: what evaluation uses, see `GroupBatchNorm`: "shared", one set of running statistics, as the loop;
        "separate", one a group, so that evaluation normalises each group as training does.

    Dropout and stochastic depth draw once for the stack, not once a group. `SyncBatchNorm` has no per-group form.

    Attributes: `groups` and `textures` (tuples), `feature_dim` (where the backbone says it, else None).
    Raises ConfigError for groups of unequal or no width, a negative position, or a norm that has no per-group form.
    """

    image_index: Tensor
    texture_index: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        groups: Positions,
        textures: Positions = (),
        pool: Pool = "mean",
        *,
        group_norm: bool = True,
        running: Running = "shared",
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ConfigError("unknown pooling over groups", where="pool", found=repr(pool), expected="mean or max")
        self.groups, self.textures = _checked(groups, textures)
        self.pool = pool
        backbone.to(memory_format=torch.channels_last)
        self.backbone = per_group_statistics(backbone, self.count, running) if group_norm else backbone
        width = getattr(backbone, "feature_dim", getattr(backbone, "num_features", None))
        self.feature_dim: int | None = None if width is None else int(cast(int, width))
        self.register_buffer("image_index", torch.tensor(self.groups, dtype=torch.int64), persistent=False)
        self.register_buffer("texture_index", torch.tensor(self.textures, dtype=torch.int64), persistent=False)

    @property
    def count(self) -> int:
        """Groups and textures together, G."""
        return len(self.groups) + len(self.textures)

    def stack(self, x: Tensor, textures: Tensor | None = None) -> Tensor:
        """Images [B, C, H, W] and texture maps [B, T, H, W] -> [B, G, c, H, W], the groups' inputs.

        Raises ShapeError where channels are missing, the two do not fit, or textures are missing or not asked for.
        """
        _has_channels("image", x, self.groups)
        parts = [x[:, self.image_index]] if self.groups else []
        if (textures is None) == bool(self.textures):
            raise ShapeError(
                "texture maps come with an encoder of textures",
                where="GroupEncoder",
                found="no texture maps" if textures is None else f"texture maps {tuple(textures.shape)}",
                expected=f"texture maps for {len(self.textures)} groups" if self.textures else "none",
            )
        if textures is not None:
            _has_channels("texture", textures, self.textures)
            if textures.shape[0] != x.shape[0] or textures.shape[2:] != x.shape[2:]:
                raise ShapeError(
                    "images and texture maps do not fit",
                    where="GroupEncoder",
                    found=f"images {tuple(x.shape)}, texture maps {tuple(textures.shape)}",
                    expected="the same batch, height and width",
                )
            parts.append(textures[:, self.texture_index].to(x.dtype))
        return torch.cat(parts, 1)

    def forward(
        self, x: Tensor, textures: Tensor | None = None, *, pyramid: bool = False, side_by_side: bool = False
    ) -> GroupFeatures:
        """Images [B, C, H, W] (and texture maps [B, T, H, W]) -> `GroupFeatures`, in one pass of the backbone.

        pyramid: also the maps of all stages, from the same pass; with `side_by_side` not pooled over the groups but
        joined, [B, G D_i, h_i, w_i]. Raises ShapeError as `stack`, and ConfigError where the backbone does not give its
        stages.
        """
        rows = self._rows(x, textures)
        features, stages = self._stages(rows) if pyramid else (self.backbone(rows), [])
        maps = tuple(self._by_sample(stage).flatten(1, 2) if side_by_side else self._pooled(stage) for stage in stages)
        return GroupFeatures(self._by_sample(features), self._pooled(features), maps)

    def pyramid(self, x: Tensor, textures: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Pooled features [B, D] and maps of all stages from fine to coarse, pooled over the groups."""
        found = self(x, textures, pyramid=True)
        return found.pooled, list(found.pyramid)

    def dense(self, x: Tensor, textures: Tensor | None = None) -> Tensor:
        """[B, D, h, w]: the last map before pooling over the image, pooled over the groups."""
        return self._pooled(self._body().dense(self._rows(x, textures)))

    def stages(self, x: Tensor, textures: Tensor | None = None) -> list[Tensor]:
        """Maps [B, D_i, h_i, w_i] of the last three stages, pooled over the groups."""
        return [self._pooled(stage) for stage in self._body().stages(self._rows(x, textures))]

    def attention(self, x: Tensor) -> list[Tensor]:
        """ConfigError: every group has attention maps of its own, none is the image's."""
        raise ConfigError("an encoder of groups has no attention maps of the image", where="encoder.groups")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches, None for networks without patch tokens."""
        return self.backbone.grid if isinstance(self.backbone, Backbone) else None

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens before the patch tokens."""
        return self.backbone.prefix_tokens if isinstance(self.backbone, Backbone) else 0

    def _body(self) -> Backbone:
        if not isinstance(self.backbone, Backbone):
            raise ConfigError("maps need a Backbone", where="GroupEncoder", found=type(self.backbone).__name__)
        return self.backbone

    def _rows(self, x: Tensor, textures: Tensor | None) -> Tensor:
        """[G * B, c, H, W], group-major: the groups are then parts of the batch in any memory format."""
        rows = self.stack(x, textures).transpose(0, 1).flatten(0, 1)
        # What convolutions and pooling on CPUs, and GPUs in low precision, are fastest with.
        return rows.contiguous(memory_format=torch.channels_last)

    def _by_sample(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.count, -1, *rows.shape[1:]).transpose(0, 1)

    def _pooled(self, rows: Tensor) -> Tensor:
        each = self._by_sample(rows)
        return each.mean(1) if self.pool == "mean" else each.amax(1)

    def _stages(self, stacked: Tensor) -> tuple[Tensor, list[Tensor]]:
        if isinstance(self.backbone, Backbone):
            return self.backbone.pyramid(stacked)
        model: Any = self.backbone
        if not (hasattr(model, "forward_intermediates") and hasattr(model, "forward_head")):
            raise ConfigError(
                f"{type(model).__name__} does not give its stages", where="GroupEncoder", fix="Use a timm ResNet."
            )
        last, stages = model.forward_intermediates(stacked)
        return model.forward_head(last), stages


def _checked(groups: Positions, textures: Positions) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    first, second = (tuple(tuple(map(int, group)) for group in part) for part in (groups, textures))
    widths = [len(group) for group in first + second]
    if not widths or min(widths) == 0 or len(set(widths)) > 1:
        raise ConfigError(
            "groups must have one width, that of the backbone's input",
            where="GroupEncoder",
            found=f"widths {widths}",
            expected="one or more groups of equally many channels",
        )
    if min(position for group in first + second for position in group) < 0:
        raise ConfigError("channel positions count from 0", where="GroupEncoder", found=[*first, *second])
    return first, second


def _has_channels(name: str, x: Tensor, groups: Positions) -> None:
    needed = max((position for group in groups for position in group), default=0) + 1
    if x.dim() != 4 or x.shape[1] < needed:
        raise ShapeError(
            f"the {name} lacks channels of the groups",
            where="GroupEncoder",
            found=tuple(x.shape),
            expected=f"[B, {needed} or more, H, W]",
        )
