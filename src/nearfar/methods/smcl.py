"""SMCL's encoder: each view of an object with its mirrored and its opposite view, in space and in frequency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError
from nearfar.losses import mirror_nce, published_mirror_loss, spectral_contrast
from nearfar.methods.base import Batch, Method, Output, Projections, check_views
from nearfar.views import build_views
from nearfar.views.batches import sample_seeds
from nearfar.views.pairs import mirrored
from nearfar.views.random import chance, derive, uniform

PICTURES = ("image", "opposite", "mirror")
"""the views in their order: the mirrored one is last, because health measures the distance of first and last view"""
RECIPES = ("study", "none")


@dataclass(frozen=True)
class SmclConfig(MethodConfig):
    """Options of SMCL."""

    temperature: float = 0.1
    """published: 0.05"""
    projection: tuple[int, ...] = ()
    loss: Literal["mirror", "published"] = "mirror"
    """mirror: InfoNCE of the features. published: what the published code computes of the last map under that name;
    it pushes most of the mirrored view away as well and learns nothing (see docs), for comparison alone"""
    in_batch: bool = True
    """all other mirrored and opposite views of the batch are negatives too; otherwise the own opposite view alone"""
    recolour: float = 1.0
    """the three views of an object get other colours, the same ones: channels of an image change places at random, and
    each is raised to a power of up to 2 to this; 0: neither. White and black stay what they are"""
    mask_symmetric: bool = True
    """opposite views that look like the view itself (`negative` of the sample is false) are no negatives"""
    spectral: float = 0.0
    """weight of the contrast of spectra of the last map; no gain was measured"""
    margin: float = 1.0
    """focal frequency loss from which on opposite views are far enough apart"""


class SMCL(Method):
    """The pixel module of SMCL (Information Fusion 2025, doi 10.1016/j.inffus.2025.103889), as its figures mean it.

    With features z of a view a, of the view m of the camera mirrored in the object's plane of symmetry, and of the view
    o from the opposite side, and maps f of the encoder's last stage,

        L = mirror_nce(z_a, z_m, z_o) + spectral * spectral_contrast(f_a, f_m, f_o)

    Both are on the one encoder that is kept. The same picture elsewhere in the batch is never a negative: within an
    object the mirrored view of one triple is the opposite view of another.

    Batches have `image`, `mirror`, `opposite` [B, C, H, W] and perhaps `negative` bool [B]. Views are changed in their
    values alone, each for itself, and flipped (`views.flip_horizontal`) all three or none: crops and turns would change
    where the camera stands. Raises ConfigError for other recipes or counts of views, for a network without a map where
    one is needed, and for a head on the published loss, which has none.
    """

    Config = SmclConfig
    config: SmclConfig

    def __init__(self, config: SmclConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        views = views if views is not None else ViewsConfig(recipe="study", count=3, strength=0.0, flip_horizontal=0.0)
        _check(config, views)
        super().__init__(config, encoder, views)
        alone = replace(views, count=1, flip_horizontal=0.0, flip_vertical=0.0)
        self._make_views = build_views(alone, encoder.channels, encoder.config.size)
        self.map_channels = _map_channels(encoder) if config.loss == "published" or config.spectral else 0

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """The sample (or batch) with `views` [3, C, h, w] (or [B, 3, C, h, w]): the image, opposite, mirrored.

        Also `pictures` int64 [3] (or [B, 3]): numbers of image, mirrored and opposite view, equal for equal pictures.
        """
        lost = [name for name in PICTURES if name not in sample]
        if lost:
            raise DataError(
                "SMCL needs three views of an object",
                where=f"batch['{lost[0]}']",
                found=f"keys {', '.join(sample)}",
                expected=", ".join(PICTURES),
                fix="Build triples with `nearfar data mir180 ROOT -o OUT` and train on OUT.",
            )
        single = sample["image"].ndim == 3
        images = torch.stack([sample[name] for name in PICTURES], -4)
        images = images[None] if single else images
        seeds = sample_seeds(sample, images) if "seed" in sample else torch.randint(2**62, (len(images),))
        made = {"views": self._changed(images, seeds.to(images.device)), "pictures": fingerprints(images)[:, [0, 2, 1]]}
        return {**sample, **({k: v[0] for k, v in made.items()} if single else made)}

    def project(self, batch: Batch) -> Projections:
        """`z` [B, 3, D] of the views and, where the loss needs it, `map` [B, 3, C, h, w]."""
        views = batch["views"]
        if not self.map_channels:
            return super().project(batch)
        check_views(views)
        found = self.encoder.features(views.flatten(0, 1), pyramid=True, resize=True)
        z, last = self.head(found.pooled), found.pyramid[-1]
        shape = (len(views), len(PICTURES))
        return {"z": z.view(*shape, -1), "map": last.reshape(*shape, *last.shape[1:])}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The loss of the class; `parts`: `triplet`, the share of views nearer to their mirrored than opposite one."""
        config, z = self.config, projections["z"]
        anchor, far, near = z.unbind(1)
        valid = self._valid(batch, z)
        parts = {"triplet": _triplets(anchor, near, far, valid)}
        if config.loss == "published":
            a, o, m = projections["map"].unbind(1)
            loss = published_mirror_loss(a, m, o, temperature=config.temperature)
        else:
            ids = batch.get("pictures")
            loss = mirror_nce(
                anchor, near, far, temperature=config.temperature, in_batch=config.in_batch, valid=valid, ids=ids
            )
        if config.spectral:
            a, o, m = projections["map"].unbind(1)
            spectral = spectral_contrast(a, m, o, valid=valid, margin=config.margin)
            parts |= {"contrast": loss.detach(), "spectral": spectral.detach()}
            loss = loss + config.spectral * spectral
        return Output(loss, parts)

    def chance(self, batch_size: int) -> float:
        """Loss of guessing, where no negative is masked and without the spectral part."""
        if self.config.loss == "published":
            return math.log(2 * self.map_channels)
        return math.log(2 * batch_size if self.config.in_batch else 2)

    def _valid(self, batch: Batch, z: Tensor) -> Tensor | None:
        negative = batch.get("negative")
        if negative is None or not self.config.mask_symmetric:
            return None
        return torch.as_tensor(negative, device=z.device).bool()

    def _changed(self, images: Tensor, seeds: Tensor) -> Tensor:
        """[B, 3, C, H, W] -> [B, 3, C, h, w]: one flip a triple, values changed picture by picture."""
        rows = images.flatten(0, 1)
        if self.views_config.recipe != "none":
            across = chance(derive(seeds, "flip_x"), self.views_config.flip_horizontal)
            down = chance(derive(seeds, "flip_y"), self.views_config.flip_vertical)
            rows = mirrored(rows, *(flag.repeat_interleave(len(PICTURES)) for flag in (across, down)))
            rows = self._recoloured(rows, seeds)
        own = torch.stack([derive(seeds, "picture", k) for k in range(len(PICTURES))], 1).flatten()
        made = cast(Tensor, self._make_views({"image": rows, "seed": own})["views"])
        return made[:, 0].reshape(*images.shape[:2], *made.shape[2:])

    def _recoloured(self, rows: Tensor, seeds: Tensor) -> Tensor:
        """[B * 3, C, H, W], the three rows of a seed with the same colours."""
        strength = self.config.recolour
        if not strength:
            return rows
        parts = []
        for name, places in self.encoder.channels.modalities.items():
            part, own = rows[:, places[0] : places[-1] + 1], derive(seeds, "colours", name)
            order = uniform(derive(own, "order"), (len(places),)).argsort(1)
            power = 2 ** uniform(derive(own, "power"), (len(places),), -strength, strength)
            order, power = (x.repeat_interleave(len(PICTURES), 0)[:, :, None, None] for x in (order, power))
            parts.append(part.gather(1, order.expand_as(part)).clamp(min=0) ** power.to(part.dtype))
        return torch.cat(parts, 1)


def fingerprints(images: Tensor) -> Tensor:
    """int64 [B, V] of images [B, V, C, H, W]: equal for equal pictures, and almost surely for no others."""
    steps = (images.detach().flatten(2).float() * 65535).round().to(torch.int64)
    source = torch.Generator().manual_seed(steps.shape[2])
    factors = torch.randint(1, 2**31, (steps.shape[2],), generator=source).to(steps.device)
    return (steps * factors).sum(2)


@torch.no_grad()
def _triplets(anchor: Tensor, near: Tensor, far: Tensor, valid: Tensor | None) -> Tensor:
    a, m, o = (torch.nn.functional.normalize(x.detach().float(), dim=1) for x in (anchor, near, far))
    right = ((a * m).sum(1) > (a * o).sum(1)).float()
    used = torch.ones_like(right) if valid is None else valid.float()
    return (right * used).sum() / used.sum().clamp(min=1)


@torch.no_grad()
def _map_channels(encoder: ImageEncoder) -> int:
    size = encoder.config.size
    with evaluating(encoder):
        image = torch.zeros(1, len(encoder.channels), size, size, device=encoder.mean.device)
        return encoder.features(image, pyramid=True, resize=True).pyramid[-1].shape[1]


def _check(config: SmclConfig, views: ViewsConfig) -> None:
    if views.count != len(PICTURES):
        raise ConfigError("SMCL has three views of an object", where="views.count", found=views.count, expected=3)
    if views.recipe not in RECIPES:
        raise ConfigError(
            "crops and turns would change where the camera stands",
            where="views.recipe",
            found=views.recipe,
            expected=" or ".join(RECIPES),
        )
    if config.loss not in ("mirror", "published"):
        raise ConfigError("unknown choice", where="method.loss", found=config.loss, expected="mirror or published")
    if config.loss == "published" and config.projection:
        raise ConfigError(
            "the published loss is of the encoder's map, so a head would learn nothing",
            where="method.projection",
            found=config.projection,
            expected="()",
        )
    if config.spectral < 0:
        raise ConfigError("a weight is not negative", where="method.spectral", found=config.spectral)
