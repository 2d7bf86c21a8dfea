"""C-SIP: the picture of two objects and the force banner of their masks, contrasted with each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.banner import BannerEncoder, PublishedBannerCNN
from nearfar.encoders.heads import projection_head
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError
from nearfar.losses import Relations, clip_loss
from nearfar.methods.base import Batch, Method, Output, Projections
from nearfar.spatial import force_banner
from nearfar.spatial.force_options import Normalization
from nearfar.views.pairs import GEOMETRY

LARGEST = 100.0
"""of the learned scale, as in CLIP"""
USES: dict[str, Literal["ignore", "weigh", "target"]] = {"mask": "ignore", "soft": "weigh", "target": "target"}


@dataclass(frozen=True)
class CsipConfig(MethodConfig):
    """Options of C-SIP."""

    temperature: float = 0.07
    """the first one, if it is learned"""
    learn_temperature: bool = True
    """1 / temperature is a parameter, kept at 100 or below"""
    cosine: bool = True
    """embeddings are brought to unit length; false: raw products, as published"""
    label_smoothing: float = 0.0
    """share of the target that is spread over all pairs of the batch"""
    false_negatives: Literal["mask", "soft", "target", "none"] = "mask"
    """other pairs with nearly the same banner: mask: no negatives; soft: weighted down by their cosine; target: they
    share the target; none: negatives like all others"""
    threshold: float = 0.9
    """cosine of two banners from which on they are nearly the same (mask), or count less and less (soft)"""
    same_image: Literal["auto", "mask", "contrast"] = "auto"
    """other pairs of the same image are no negatives (mask) or are (contrast); auto: they are if the encoder sees masks
    or boxes, because otherwise it cannot know which pair of the picture is meant"""
    forces: tuple[float, ...] = ()
    """r of the banner's rows; empty: `rows` of them, evenly over `force_range`"""
    force_range: tuple[float, float] = (-5.0, 5.0)
    rows: int = 24
    directions: int = 180
    """columns of a banner"""
    banner_norm: Normalization = "row_max"
    """what makes banners comparable, see `nearfar.spatial.force_banner`; row_max forgets distance"""
    symmetric: bool = False
    """banners that do not tell subject from object"""
    banner_encoder: Literal["circular", "zeros", "published"] = "circular"
    """padding of the directions of the banner encoder; published: the published network"""
    banner_width: int = 32
    """channels of its first layer"""
    banner_dim: int = 256
    """width of its features"""

    def row_forces(self) -> tuple[float, ...]:
        """r of every row of the banner."""
        if self.forces:
            return self.forces
        low, high = self.force_range
        return tuple(low + (high - low) * i / max(1, self.rows - 1) for i in range(self.rows))


class CSIP(Method):
    """Servant et al. 2025, "C-SIP: Contrastive Spatial-Image Pre-training" (WACV).

    With g_v, g_u projection heads on the features h_v of the image and h_u of the banner, both of unit length,

        L = clip_loss(g_v(h_v), g_u(h_u), scale),   scale = exp(log_scale) <= 100, learned

    Banners are computed from the views' masks, so a mirrored picture meets the mirrored banner. Other pairs with nearly
    the same banner, and pairs of one picture that the encoder cannot tell apart, are no negatives
    (`CsipConfig.false_negatives`, `same_image`). `encode` gives h_v, `encode_masks` h_u, both before the heads;
    `embed_images` and `embed_masks` give the two embeddings that are comparable with each other.

    Batches have `masks` [B, 2, M, M] (subject, object) beside `image`, and `image_index` [B] where pairs share images.
    Raises ConfigError for more than one view or a recipe that would part image and masks, DataError without masks.
    """

    Config = CsipConfig
    config: CsipConfig

    def __init__(self, config: CsipConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        views = views if views is not None else ViewsConfig(recipe="pairs", count=1)
        super().__init__(config, encoder, views)
        _check(config, self.views_config)
        self.forces = config.row_forces()
        columns = config.directions // (2 if config.symmetric else 1)
        self.banner_encoder = _banner_encoder(config, len(self.forces), columns)
        self.banner_head = projection_head(self.banner_encoder.feature_dim, config.projection, config.head_norm)
        if not config.projection and self.banner_encoder.feature_dim != encoder.feature_dim:
            raise ConfigError(
                "without heads both encoders need one width",
                where="method.projection",
                found=f"{encoder.feature_dim} (image) and {self.banner_encoder.feature_dim} (banner)",
                fix=f"Set method.banner_dim to {encoder.feature_dim}, or give the heads a width.",
            )
        start = torch.tensor(-math.log(config.temperature))
        self.log_scale = nn.Parameter(start, requires_grad=config.learn_temperature)
        told = bool(set(encoder.channels.modalities) & set(GEOMETRY))
        self.masks_same_image = config.same_image == "mask" or (config.same_image == "auto" and not told)

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """As `Method.views`, and `banners` float32 [V, rows, directions], or [B, V, rows, directions], of the views."""
        batch = super().views(sample)
        if "masks_views" not in batch:
            raise DataError(
                "C-SIP needs the masks of subject and object",
                where="batch['masks']",
                found=f"keys {', '.join(sample)}",
                fix="Give data with pairs of objects: COCO, SpatialSense, UnRel, GQA or a manifest of pairs.",
            )
        batch["banners"] = self.banner(batch["masks_views"])
        return batch

    @torch.no_grad()
    def banner(self, masks: Tensor) -> Tensor:
        """Grey masks [..., 2, M, M] of subject and object -> force banners [..., rows, directions], row 0 on top."""
        config = self.config
        subject, other = masks.unbind(-3)
        return cast(
            Tensor,
            force_banner(
                subject,
                other,
                self.forces,
                config.directions,
                normalize=config.banner_norm,
                symmetric=config.symmetric,
            ),
        )

    def project(self, batch: Batch) -> Projections:
        """{"image", "banner"}: [B, D] each; "log_scale" [B], the same number in every row.

        The scale goes through here so that a two-pass step and DDP see its gradient like that of any other weight.
        """
        image = self.embed(batch["views"])[:, 0]
        banner = self.banner_head(self.banner_encoder(_banners(batch)))
        return {"image": image, "banner": banner, "log_scale": self.log_scale.expand(len(image))}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The two-sided contrast of images and banners."""
        config, image = self.config, projections["image"]
        scale = projections["log_scale"].float().mean().exp()
        relations = self._relations(batch, image)
        loss = clip_loss(
            image,
            projections["banner"],
            scale=scale,
            relations=relations,
            label_smoothing=config.label_smoothing,
            normalize=config.cosine,
        )
        return Output(loss, {"scale": scale.detach()})

    def _relations(self, batch: Batch, rows: Tensor) -> Relations | None:
        config, same, similar = self.config, batch.get("image_index"), None
        ids = same.to(rows.device) if self.masks_same_image and isinstance(same, Tensor) else None
        if config.false_negatives != "none":
            flat = _banners(batch).flatten(1).to(rows.device)
            similar = (flat, flat)
        if ids is None and similar is None:
            return None
        return Relations(ids, similar, USES.get(config.false_negatives, "ignore"), config.threshold)

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the scale at 100 or below: on the value, since a clamp in the graph would stop its gradient for good."""
        self.log_scale.clamp_(max=math.log(LARGEST))

    def chance(self, batch_size: int) -> float:
        """Loss of guessing, where no negative is masked."""
        return math.log(batch_size)

    @torch.no_grad()
    def encode_masks(self, masks: Tensor) -> Tensor:
        """Grey masks [B, 2, M, M] -> features h_u of their banners [B, E], before the head, in evaluation mode."""
        with evaluating(self.banner_encoder):
            return cast(Tensor, self.banner_encoder(self.banner(masks)))

    @torch.no_grad()
    def embed_masks(self, masks: Tensor) -> Tensor:
        """Grey masks [B, 2, M, M] -> unit embeddings [B, D], comparable with those of `embed_images`."""
        with evaluating(self.banner_head):
            return F.normalize(self.banner_head(self.encode_masks(masks)), dim=-1)

    @torch.no_grad()
    def embed_images(self, x: Tensor) -> Tensor:
        """Unaugmented images [B, C, H, W] -> unit embeddings [B, D], in evaluation mode."""
        with evaluating(self.head):
            return F.normalize(self.head(self.encode(x)), dim=-1)


def _banners(batch: Batch) -> Tensor:
    """[B, rows, directions] of the one view."""
    if "banners" not in batch:
        raise DataError(
            "the batch has views but no banners of them",
            where="batch['banners']",
            found=f"keys {', '.join(batch)}",
            fix="Let method.views make the views, or compute method.banner of their masks.",
        )
    return cast(Tensor, batch["banners"][:, 0])


def _banner_encoder(config: CsipConfig, rows: int, columns: int) -> BannerEncoder | PublishedBannerCNN:
    if config.banner_encoder == "published":
        return PublishedBannerCNN(rows, columns)
    return BannerEncoder(rows, columns, config.banner_width, config.banner_dim, padding=config.banner_encoder)


def _check(config: CsipConfig, views: ViewsConfig) -> None:
    if views.count != 1:
        raise ConfigError("C-SIP pairs one view with its banner", where="views.count", found=views.count, expected=1)
    if views.recipe != "pairs":
        raise ConfigError(
            "image and masks must be changed together", where="views.recipe", found=views.recipe, expected="pairs"
        )
    for name, known in (("false_negatives", ("none", *USES)), ("same_image", ("auto", "mask", "contrast"))):
        if getattr(config, name) not in known:
            raise ConfigError("unknown choice", where=f"method.{name}", found=getattr(config, name), expected=known)
    if not config.forces and config.rows < 1:
        raise ConfigError("a banner has rows", where="method.rows", found=config.rows, expected="1 or more")
