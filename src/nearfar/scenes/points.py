"""A scene as points that rays ask: where they are, how much they matter, and what they know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes.attention import Neighbours, Perceptron, ProximityAttention, foot
from nearfar.scenes.heads import PictureHead, PixelHead
from nearfar.scenes.nearest import nearest_points
from nearfar.scenes.point_options import PAPER, PointOptions
from nearfar.scenes.positional import code_size, coordinate_code

__all__ = ["PAPER", "PointField", "PointOptions", "Rendered"]

ROWS = ("points", "influence", "features")
"""the parameters with one row a point"""
NEAR = 32 << 20
"""bytes of activations of a chunk where no gradient is asked; on a CPU larger ones are slower"""


class Rendered(TypedDict):
    """What rays see."""

    rgb: Tensor
    """[R, 3], not clamped"""
    alpha: Tensor
    """[R], 1 where points hide the background"""
    depth: Tensor
    """[R], mean distance along the ray of the points it asks, world units; says something where alpha is high"""


class PointField(nn.Module):
    """Points [P, 3] in the world, their influence [P] and features [P, D], and the networks that read them.

    Adding and removing points (`nearfar.scenes.densify`) keeps these parameters' identity, and loading a state takes
    its number of points, so that an optimiser made before or after either owns what learns.
    """

    def __init__(self, options: PointOptions, points: Tensor, features: Tensor | None = None) -> None:
        """`points` [P, 3] in world units, however many; `features` [P, D], by default small noise.

        Raises ShapeError for other shapes, ConfigError for fewer points than a ray asks.
        """
        super().__init__()
        _check(options, points, features)
        self.options = options
        self.points = nn.Parameter(points.detach().clone().float())
        self.influence = nn.Parameter(torch.full((len(points),), options.influence))
        noise = torch.randn(len(points), options.feature_dim) * 0.1
        self.features = nn.Parameter(noise if features is None else features.detach().clone().float())
        self.align: nn.Linear | None = None
        if options.pixel_dim:
            self.align = nn.Linear(options.pixel_dim, options.feature_dim)
            nn.init.xavier_uniform_(self.align.weight, gain=0.1)  # of the size that features begin with
        self.attention = ProximityAttention(options)
        heads = {"mlp": PixelHead, "unet": PictureHead}
        self.head: nn.Module = heads[options.head](options.value_dim, options.head_width)
        self.register_buffer("background_colour", torch.tensor(options.background_colour))
        self.sky: nn.Module | None = None
        if options.background == "direction":
            self.sky = Perceptron(code_size(3, 2), 32, 3, 2)

    def forward(
        self,
        origins: Tensor,
        directions: Tensor,
        *,
        shape: tuple[int, int] | None = None,
        pixel_features: Tensor | None = None,
    ) -> Rendered:
        """What rays [R, 3], [R, 3] (world units, any length) see, with gradients.

        `shape` (H, W) says that the rays are pictures of that size, row by row; the U-Net head needs it.
        `pixel_features` [P, pixel_dim], brought to the width of the points' own features by a linear layer, are added
        to them. Raises ShapeError.
        """
        self._check_rays(origins, directions, pixel_features)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        table = self._table(pixel_features)
        read = self._again if self._exceeds(len(origins)) and torch.is_grad_enabled() else self._attend
        parts = [read(table, *rays) for rays in self._chunks(origins, directions)]
        values, background, depth = (torch.cat(column) for column in zip(*parts, strict=True))
        colours = self.head(values, shape) if isinstance(self.head, PictureHead) else self.head(values)
        behind = self._behind(directions)
        rgb = colours * (1 - background[:, None]) + behind * background[:, None]
        return {"rgb": rgb, "alpha": 1 - background, "depth": depth}

    @torch.no_grad()
    def render(
        self,
        origins: Tensor,
        directions: Tensor,
        *,
        shape: tuple[int, int] | None = None,
        pixel_features: Tensor | None = None,
    ) -> Rendered:
        """`forward` without gradients, rgb clamped to 0..1."""
        seen = self(origins, directions, shape=shape, pixel_features=pixel_features)
        return {"rgb": seen["rgb"].clamp(0, 1), "alpha": seen["alpha"], "depth": seen["depth"]}

    def bytes_per_ray(self) -> int:
        """What the activations of one ray take, about; backward keeps all of them, forward a few layers."""
        o = self.options
        code = code_size(3, o.octaves)
        widths = o.width * (o.key_layers + o.value_layers + (6 if o.attention == "ray" else 2))
        inputs = 9 * code + 3 * code + 2 * o.feature_dim + 24
        return 4 * o.neighbours * (widths + inputs)

    def _exceeds(self, rays: int) -> bool:
        return rays * self.bytes_per_ray() > self.options.memory_bytes

    def _chunks(self, origins: Tensor, directions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        size = len(origins)
        if self._exceeds(size) or not torch.is_grad_enabled():
            # Half of the memory, because backward holds as many gradients; without gradients what a core keeps near.
            budget = self.options.memory_bytes // 2
            size = (
                budget // self.bytes_per_ray() if torch.is_grad_enabled() else min(budget, NEAR) // self.bytes_per_ray()
            )
        return zip(torch.split(origins, max(1, size)), torch.split(directions, max(1, size)), strict=True)

    def _again(self, table: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out: tuple[Tensor, Tensor, Tensor] = checkpoint(self._attend, table, origins, directions, use_reentrant=False)
        return out

    def _attend(self, table: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        o = self.options
        near = nearest_points(
            origins, directions, self.points, o.neighbours, chunk_bytes=o.memory_bytes // 4, ahead=o.ahead
        )
        # One gather of whole rows: its backward is one scatter. Points come first, then influence, then features.
        rows = F.embedding(near, table)
        points, influence, features = rows[..., :3], rows[..., 3], rows[..., 4:]
        along, across, depth = foot(points, origins * o.scale, directions)
        visible = depth > 0 if o.ahead else None
        read = self.attention(Neighbours(points, along, across, depth, influence, features, visible), directions)
        return read.features, read.background, (read.weights * depth).sum(dim=-1) / o.scale

    def _table(self, pixel_features: Tensor | None) -> Tensor:
        # Once a point, not once a ray that asks it: pixel features cost next to nothing.
        features = self.features
        if self.align is not None and pixel_features is not None:
            features = features + self.align(pixel_features)
        return torch.cat([self.points * self.options.scale, self.influence[:, None], features], dim=1)

    def _behind(self, directions: Tensor) -> Tensor:
        if self.sky is None:
            return self.get_buffer("background_colour")
        return torch.sigmoid(self.sky(coordinate_code(directions, 2)))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name in ROWS:
            stored = state_dict.get(prefix + name)
            parameter: nn.Parameter = getattr(self, name)
            if stored is not None and stored.shape[1:] == parameter.shape[1:]:
                parameter.data = parameter.data.new_empty(stored.shape)
                parameter.grad = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check_rays(self, origins: Tensor, directions: Tensor, pixel_features: Tensor | None) -> None:
        if origins.ndim != 2 or origins.shape[1] != 3 or origins.shape != directions.shape:
            found = f"{tuple(origins.shape)} and {tuple(directions.shape)}"
            raise ShapeError("origins and directions of rays must agree", found=found, expected="[R, 3] each")
        found_pixels = None if pixel_features is None else tuple(pixel_features.shape)
        expected = (len(self.points), self.options.pixel_dim) if self.options.pixel_dim else None
        if found_pixels != expected:
            raise ShapeError("pixel features do not fit the points", found=found_pixels, expected=expected)


def _check(options: PointOptions, points: Tensor, features: Tensor | None) -> None:
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError("points have three coordinates", found=tuple(points.shape), expected="[P, 3]")
    if len(points) < options.neighbours:
        raise ConfigError(
            "there are fewer points than a ray asks", found=len(points), expected=f"at least {options.neighbours}"
        )
    if not torch.isfinite(points).all():
        raise ShapeError("points hold NaN or infinite values")
    if features is not None and tuple(features.shape) != (len(points), options.feature_dim):
        raise ShapeError(
            "features do not fit the points", found=tuple(features.shape), expected=(len(points), options.feature_dim)
        )
