"""A radiance field that source images describe: colour and density of any point of an object seen from few sides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes.fusion import stacked
from nearfar.scenes.object_options import PAPER, ObjectOptions
from nearfar.scenes.resnet_fc import ResnetFC, frequency_code
from nearfar.spatial.cameras import Camera

__all__ = ["PAPER", "ConditionalField", "ObjectOptions", "Sources", "sample_maps"]

THIN = 1.0
"""softplus density starts below its middle by this: an object is carved from haze, not from fog"""
DENSE = 4.0
"""units of softplus density, so that a surface needs no large outputs"""


class Sources(NamedTuple):
    """What is known of B objects, each seen in V views."""

    w2c: Tensor
    """world to camera, OpenGL axes, [B, V, 3, 4]"""
    lens: Tensor
    """fx, fy, cx, cy in units of the image's width and height, [B, V, 4]"""
    latent: Tensor | None
    """[B, V, L], global conditioning"""
    maps: Tensor | None
    """[B, V, L, h, w], pixel-aligned conditioning"""


class ConditionalField(nn.Module):
    """Points and directions, and what the source views show, to colours and densities.

    With `fine` samples a second network of the same form renders them; it is the one that counts. A trained
    `encoder` (e.g. by SMCL's contrast, of RGB images) takes the place of a new cnn_ffc.

    Source: pixelNeRF (Yu et al., CVPR 2021). SMCL's published code projects points into the source view and throws the
    coordinates away: that is `conditioning` global.
    """

    def __init__(self, options: ObjectOptions, encoder: ImageEncoder | None = None) -> None:
        """Raises ConfigError where the encoder does not take RGB images, or has no maps and pixels condition."""
        super().__init__()
        self.options = options
        self.encoder = encoder or _encoder(options)
        if len(self.encoder.channels) != 3:
            raise ConfigError("the encoder must take RGB images", found=", ".join(self.encoder.channels.names))
        self.reduce: nn.Module
        if options.conditioning == "global":
            self.reduce = nn.Linear(self.encoder.feature_dim, options.latent)
        else:
            self.reduce = nn.Conv2d(_map_channels(self.encoder), options.latent, 1)
        inputs = 3 * (1 + 2 * options.octaves) + 3
        sizes = (inputs, options.latent, options.width, options.blocks, options.conditioned)
        self.coarse = ResnetFC(*sizes)
        self.fine = ResnetFC(*sizes) if options.fine + options.fine_depth else None
        self.register_buffer("background", torch.tensor(options.background))
        if options.freeze_encoder:
            self.encoder.requires_grad_(False)

    def encode(self, images: Tensor, cameras: Sequence[Sequence[Camera]]) -> Sources:
        """What source images [B, V, 3, H, W] (0..1) of B objects show, and their cameras, V of each object.

        In training mode with gradients to the encoder, unless it is frozen. Raises ShapeError, and ConfigError where
        pixels condition and a lens distorts.
        """
        if (
            images.ndim != 5
            or images.shape[2] != 3
            or [len(views) for views in cameras] != [images.shape[1]] * len(images)
        ):
            found = f"images {tuple(images.shape)}, cameras of {[len(views) for views in cameras]} views"
            raise ShapeError("images and cameras of objects do not fit", found=found, expected="[B, V, 3, H, W]")
        pixel = self.options.conditioning == "pixel"
        tables = _tables(cameras, images.device, pixel)
        flat: Tensor = self.reduce(self._read(images.flatten(0, 1)))
        known = flat.view(*images.shape[:2], *flat.shape[1:])
        return Sources(*tables, None, known) if pixel else Sources(*tables, known, None)

    def forward(
        self, points: Tensor, directions: Tensor, sources: Sources, *, fine: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Colours [B, M, 3] in 0..1 and densities [B, M] of points [B, M, 3] seen along unit directions [B, M, 3].

        `fine`: by the second network, where there is one. Raises ShapeError.
        """
        if points.ndim != 3 or points.shape != directions.shape or len(points) != len(sources.w2c):
            found = f"{tuple(points.shape)} and {tuple(directions.shape)}, {len(sources.w2c)} objects"
            raise ShapeError("points, directions and objects do not fit", found=found, expected="[B, M, 3] each")
        place, way = points[:, None], directions[:, None]
        if self.options.frame == "camera":
            turn = sources.w2c[..., :3].transpose(-1, -2)  # a row vector times this is R v
            place, way = place @ turn, way @ turn
        code = torch.cat([frequency_code(place, self.options.octaves, self.options.base), way], dim=-1)
        latent = sources.latent[:, :, None] if sources.latent is not None else sample_maps(sources, points)
        network = self.fine if fine and self.fine is not None else self.coarse
        out = network(code, latent).to(points.dtype)
        return torch.sigmoid(out[..., :3]), self._density(out[..., 3])

    def _read(self, images: Tensor) -> Tensor:
        """Features [N, D] of images [N, 3, H, W], or all their maps [N, D, h, w] where pixels condition."""
        frozen = self.options.freeze_encoder
        with (
            evaluating(self.encoder) if frozen else nullcontext(),
            torch.set_grad_enabled(torch.is_grad_enabled() and not frozen),
        ):
            if self.options.conditioning == "global":
                return cast(Tensor, self.encoder(images))
            return stacked(self.encoder.features(images, pyramid=True, resize=True).pyramid)

    def _density(self, raw: Tensor) -> Tensor:
        return F.relu(raw) if self.options.density == "relu" else DENSE * F.softplus(raw - THIN)


def sample_maps(sources: Sources, points: Tensor) -> Tensor:
    """Bilinear values [B, V, M, L] of the source views' maps where points [B, M, 3] of the world appear in them.

    A map covers its image: cell centres are where the pixel centres they stand for are. Outside the image its border
    goes on; behind the camera values are 0. Raises ShapeError where there are no maps.
    """
    if sources.maps is None:
        raise ShapeError("there is no map to sample", fix="Condition the field on pixels.")
    turn, origin = sources.w2c[..., :3].transpose(-1, -2), sources.w2c[..., 3]
    local = points[:, None] @ turn + origin[:, :, None]
    depth = -local[..., 2:]
    fx, fy, cx, cy = sources.lens[:, :, None].unbind(-1)
    flat = local[..., :2] / depth.clamp(min=1e-6)
    share = torch.stack([flat[..., 0] * fx + cx, cy - flat[..., 1] * fy], dim=-1)
    grid = (2 * share - 1).flatten(0, 1)[:, :, None]
    values = F.grid_sample(sources.maps.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    rows: Tensor = values[..., 0].transpose(1, 2)
    return rows.reshape(*local.shape[:3], rows.shape[-1]) * (depth > 0)


def _tables(cameras: Sequence[Sequence[Camera]], device: torch.device, pixel: bool) -> tuple[Tensor, Tensor]:
    w2c = np.stack([[camera.w2c[:3] for camera in views] for views in cameras])
    lens = np.array(
        [[(c.fx / c.width, c.fy / c.height, c.cx / c.width, c.cy / c.height) for c in views] for views in cameras]
    )
    if pixel and any(any(camera.distortion) for views in cameras for camera in views):
        raise ConfigError(
            "pixel-aligned conditioning takes images without lens distortion",
            where="objects.conditioning",
            fix="Undistort the images, or condition globally.",
        )
    return tuple(torch.from_numpy(table).float().to(device) for table in (w2c, lens))  # type: ignore[return-value]


def _encoder(options: ObjectOptions) -> ImageEncoder:
    config = EncoderConfig(
        name="cnn_ffc",
        options={
            "width": options.encoder_width,
            "branches": options.branches,
            "activation": options.activation,
            "squeeze": options.squeeze,
            "pool": options.encoder_pool,
        },
        size=options.encoder_size,
    )
    half = torch.full((3,), 0.5)
    return ImageEncoder(config, Channels.of({"rgb": ["r", "g", "b"]}), half, half)


def _map_channels(encoder: ImageEncoder) -> int:
    """Channels of all stages together; ConfigError where the encoder has no stages."""
    with evaluating(encoder), torch.no_grad():
        size = encoder.config.size
        blank = torch.zeros(1, 3, size, size, device=encoder.mean.device)
        return sum(one.shape[1] for one in encoder.features(blank, pyramid=True, resize=True).pyramid)
