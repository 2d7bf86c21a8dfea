"""The image encoder: any timm model, any number of channels, normalisation inside."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.backbone import Backbone
from nearfar.encoders.fusion import LateFusion, drop_modalities
from nearfar.encoders.grouped import GroupEncoder, GroupFeatures
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError, ShapeError


class ImageEncoder(nn.Module):
    """Images [B, C, H, W], scaled to about 0..1 but not normalised -> features [B, feature_dim].

    The encoder resizes to `config.size` where needed and normalises with its own `mean` and `std` (buffers [C], in the
    units of the input; defaults 0 and 1), so nothing outside has to know them. With `config.normalize` "image", each
    channel of each image is then brought to mean 0 and deviation 1: where a sensor's level drifts, that is what makes
    two images comparable.

    Attributes: `config`, `channels`, `feature_dim`; for ViTs `grid` (rows, columns of patches) and `prefix_tokens`;
    `metadata`, what the file it was loaded from says besides.

    Raises ConfigError for an unknown model or options it does not take, ShapeError where mean or std do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: EncoderConfig, channels: Channels, mean: Tensor | None = None, std: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        if not 0 <= config.modality_dropout < 1:
            raise ConfigError(
                "a probability below 1 is needed", where="encoder.modality_dropout", found=config.modality_dropout
            )
        self.body: Backbone | LateFusion | GroupEncoder = self._body()
        self.register_buffer("mean", self._statistic("mean", mean, 0.0))
        self.register_buffer("std", self._statistic("std", std, 1.0))
        if not bool((self.std > 0).all()):
            raise DataError(
                "a channel does not vary, so it cannot be normalised",
                where=self.channels.names[int(self.std.argmin())],
                found=f"standard deviation {float(self.std.min())}",
                fix="Leave the channel out or give a standard deviation above zero.",
            )
        self.feature_dim = cast(int, self.body.feature_dim)
        self.metadata: dict[str, object] = {}

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of patches, None for networks without patch tokens."""
        return self.body.grid

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens before the patch tokens."""
        return self.body.prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, feature_dim]."""
        return cast(Tensor, self.body(self.prepare(x)))

    def features(
        self,
        x: Tensor,
        textures: Tensor | None = None,
        *,
        pyramid: bool = False,
        resize: bool | None = None,
        side_by_side: bool = False,
    ) -> GroupFeatures:
        """[B, C, H, W] -> what an encoder of groups says too, here of one group: `each` [B, 1, feature_dim].

        pyramid: also the maps of all stages, from fine to coarse. resize: to `config.size` as `forward` does; by
        default not where a pyramid is asked for, whose maps are then of the image's own resolution (a ViT with a fixed
        grid is always resized). side_by_side: maps of all groups joined rather than pooled, the same for one group.
        textures: for encoders that take them. Raises ShapeError, and ConfigError for networks
        that do not give their stages.
        """
        if textures is not None:
            raise ShapeError("this encoder takes no texture maps", where="textures", found=tuple(textures.shape))
        prepared = self.prepare(x, resize=self._resizes(pyramid, resize))
        if not pyramid:
            each = cast(Tensor, self.body(prepared))
            return GroupFeatures(each[:, None], each)
        each, maps = self.body.pyramid(prepared)
        return GroupFeatures(each[:, None], each, tuple(maps))

    def dense(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, h, w]: spatial features of the last stage. ConfigError where there are none."""
        return self.body.dense(self.prepare(x))

    def stages(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> maps [B, D_i, h_i, w_i] of the last three stages, from fine to coarse.

        ConfigError for networks that do not give them.
        """
        return self.body.stages(self.prepare(x))

    def attention(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> attention weights [B, heads, T, T] of each block, without gradient. ConfigError unless a ViT.

        Token 0..prefix_tokens-1 are class and register tokens, the rest the patches of `grid` row by row.
        """
        with evaluating(self):
            return self.body.attention(self.prepare(x))

    def prepare(self, x: Tensor, *, resize: bool = True) -> Tensor:
        """[B, C, H, W] -> [B, C, size, size]: checked, resized, normalised; in training with modality dropout."""
        return self._normalised(self._sized(x, resize))

    def description(self) -> dict[str, Any]:
        """What the encoder's file says of it besides its configuration, as plain values."""
        return {}

    def _body(self) -> Backbone | LateFusion | GroupEncoder:
        late = self.config.fusion == "late" and len(self.channels.modalities) > 1
        return LateFusion(self.config, self.channels) if late else Backbone(self.config, len(self.channels))

    def _resizes(self, pyramid: bool, resize: bool | None) -> bool:
        return (not pyramid if resize is None else resize) or self.grid is not None

    def _sized(self, x: Tensor, resize: bool) -> Tensor:
        if x.ndim != 4 or x.shape[1] != len(self.channels):
            raise ShapeError(
                "the images do not have the encoder's channels",
                found=f"shape {tuple(x.shape)}",
                expected=f"[B, {len(self.channels)}, H, W] ({', '.join(self.channels.names)})",
            )
        if not x.is_floating_point():
            raise DataError(
                "the encoder takes scaled images",
                found=x.dtype,
                expected="floating point values of about 0 to 1",
                fix="Divide by the scale of the data type, 255 for 8 bit or 65535 for 16 bit.",
            )
        size = (self.config.size, self.config.size)
        if resize and x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return x

    def _normalised(self, x: Tensor) -> Tensor:
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        if self.config.normalize == "image":
            x = _by_image(x)
        return drop_modalities(x, self.channels, self.config.modality_dropout) if self.training else x

    def _statistic(self, name: str, value: Tensor | None, default: float) -> Tensor:
        if value is None:
            return torch.full((len(self.channels),), default)
        value = torch.as_tensor(value, dtype=torch.float32).detach().clone()
        if value.shape != (len(self.channels),):
            raise ShapeError(
                f"one {name} a channel is needed", found=tuple(value.shape), expected=(len(self.channels),)
            )
        return value


def _by_image(x: Tensor) -> Tensor:
    """[B, C, H, W] with mean 0 and deviation 1 in every channel of every image; a constant channel becomes 0."""
    centred = x - x.mean((2, 3), keepdim=True)
    # The floor is in units of the training data's deviation: far below any signal, far above rounding.
    return centred / centred.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-3)
