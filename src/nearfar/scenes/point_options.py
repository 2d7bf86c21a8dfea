"""The options of a field of points, and the published sizes. Plain data: this module never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearfar.errors import ConfigError


@dataclass(frozen=True)
class PointOptions:
    """A field of points and how it learns; the defaults are the small sizes that a CPU trains in minutes.

    Raises ConfigError for values that cannot be.
    """

    points: int = 1000
    """at the start"""
    neighbours: int = 8
    """K, points that a ray asks"""
    octaves: int = 4
    """frequencies of the coordinate code, 1 to 2^(octaves - 1)"""
    scale: float = 3.0
    """factor on the world's units before the code: larger shows finer detail, and learns slower"""
    width: int = 64
    """of the networks of keys, queries and values"""
    key_layers: int = 2
    """layers of the network of keys"""
    query_layers: int = 2
    """of queries"""
    value_layers: int = 3
    """of values"""
    feature_dim: int = 64
    """learned values of a point"""
    pixel_dim: int = 0
    """values of a point that are read from the maps of all stages of an encoder (`nearfar.scenes.fusion`), as many as
    these have channels together: 240 of cnn_ffc; 0: none"""
    value_dim: int = 16
    """values that a ray gathers for its colour"""
    attention: Literal["proximity", "ray"] = "proximity"
    """proximity: the ray asks its points; ray: the points of a ray attend to each other first (R-MSA)"""
    heads: int = 4
    """of R-MSA"""
    head: Literal["mlp", "unet"] = "mlp"
    """colours from each ray by itself, or by a U-Net from whole patches"""
    head_width: int = 64
    """of the head's hidden layers"""
    influence: float = 1.0
    """of every point at the start; the published 0 gives keys and queries no gradient at first"""
    background_score: float = 5.0
    """what a point's score must beat; larger makes surfaces clear more slowly and edges sharper"""
    background: Literal["colour", "direction"] = "colour"
    """what rays without points show: one colour, or a small network of the direction (photographs of real places)"""
    background_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """0 to 1; a background that the scene declares goes before it"""
    ahead: bool = True
    """rays see only points before the camera; published: also those behind it"""
    memory_bytes: int = 1 << 30
    """activations that a training step or a picture may hold; above it, chunks of rays are computed again backward"""

    rays: int = 384
    """of a training step, where patch is 0"""
    mask_share: float = 0.5
    """of these, drawn from the dilated object mask"""
    patch: int = 0
    """side of a square patch in place of single rays; the U-Net head needs one"""
    rate_points: float = 5e-3
    """learning rate of Adam for the places of points, world units"""
    rate_attention: float = 5e-3
    """of the attention"""
    rate_head: float = 5e-3
    """of the head"""
    rate_features: float = 1.25e-2
    """of point features"""
    rate_influence: float = 1.25e-2
    """of influence"""
    schedule: Literal["cosine", "half"] = "cosine"
    """cosine: to `floor` of the rate; half: half of that way (published for all but the points, which take cosine)"""
    floor: float = 0.05
    """share of the rate that is left at the end"""
    warmup: int = 50
    """steps of linear warm-up"""
    warmup_points: bool = True
    """whether the places of points warm up too"""

    prune_every: int = 0
    """steps between removals of points without influence; 0: never"""
    prune_from: int = 0
    """from this step on"""
    prune_until: int = 0
    """and before this one"""
    prune_below: float = 0.0
    """points of this influence or less are removed"""
    add_every: int = 0
    """steps between additions of points where the cloud is uneven; 0: never"""
    add_from: int = 0
    """from this step on"""
    add_until: int = 0
    """and before this one"""
    add_number: int = 0
    """points at a time"""
    max_points: int = 30_000
    """above which none are added"""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError("must be positive", where=f"points.{name}", found=getattr(self, name))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    "no such choice", where=f"points.{name}", found=getattr(self, name), expected=" or ".join(allowed)
                )
        if self.neighbours > self.points:
            raise ConfigError(
                "a ray cannot ask more points than there are",
                where="points.neighbours",
                found=f"{self.neighbours} of {self.points} points",
            )
        if self.attention == "ray" and self.width % self.heads:
            raise ConfigError("heads must divide width", where="points.heads", found=f"{self.heads} and {self.width}")
        if self.head == "unet" and self.patch < 4:
            raise ConfigError(
                "the U-Net head learns from patches", where="points.patch", found=self.patch, fix="Give 24."
            )


_POSITIVE = (
    "points", "neighbours", "octaves", "scale", "width", "key_layers", "query_layers", "value_layers", "feature_dim",
    "value_dim", "heads", "head_width", "memory_bytes", "rays", "max_points",
)  # fmt: skip
_CHOICES = {
    "attention": ("proximity", "ray"),
    "head": ("mlp", "unet"),
    "background": ("colour", "direction"),
    "schedule": ("cosine", "half"),
}

PAPER = PointOptions(
    points=10_000,
    neighbours=20,
    octaves=6,
    scale=10.0,
    width=256,
    key_layers=5,
    query_layers=5,
    value_layers=8,
    value_dim=32,
    head="unet",
    head_width=128,
    influence=0.0,
    ahead=False,
    memory_bytes=16 << 30,
    patch=160,
    rate_points=2e-3,
    rate_attention=3e-4,
    rate_head=1e-4,
    rate_features=1e-3,
    rate_influence=1e-3,
    schedule="half",
    floor=0.0,
    warmup=10_000,
    warmup_points=False,
    prune_every=500,
    prune_from=10_000,
    prune_until=150_000,
    add_every=1_000,
    add_from=10_000,
    add_until=70_000,
    add_number=1_000,
)
"""The published sizes and schedules (250,000 steps): 1,139,288 parameters of the attention, 3,643,395 of the U-Net."""
