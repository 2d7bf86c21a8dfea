"""Two small encoders for 64-pixel images on a 2-core CPU: `nano_cnn` and `nano_vit`."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from nearfar.errors import ConfigError


def _norm(channels: int) -> nn.GroupNorm:
    # GroupNorm and not BatchNorm: an image's features then do not depend on its batch, so GradCache, ragged ranks and
    # a momentum teacher are exact without shuffling.
    return nn.GroupNorm(max(1, channels // 8), channels)


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, basic block), group-normalised."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _conv(inputs, outputs, stride), _norm(outputs), nn.ReLU(), _conv(outputs, outputs), _norm(outputs)
        )
        changed = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(_conv(inputs, outputs, stride, 1), _norm(outputs)) if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H/stride, W/stride]."""
        return torch.relu(self.main(x) + self.shortcut(x))


class NanoCNN(nn.Module):
    """A residual network of three stages for small images.

    Two strided 3x3 convolutions (to a quarter of the resolution), then three stages of `depth` blocks with `width`,
    2 `width` and 4 `width` channels. `output_stride` 16 (default) or 8: pixels of the input a cell of the last map.
    `width` is a multiple of 8.
    """

    def __init__(self, in_chans: int, width: int = 32, depth: int = 2, output_stride: int = 16) -> None:
        super().__init__()
        if width < 8 or width % 8 or depth < 1 or output_stride not in (8, 16):
            raise ConfigError(
                "nano_cnn cannot be built with these options",
                where="encoder.options",
                found=f"width {width}, depth {depth}, output_stride {output_stride}",
                expected="width a multiple of 8, depth at least 1, output_stride 8 or 16",
            )
        self.stem = nn.Sequential(
            _conv(in_chans, width // 2, 2),
            _norm(width // 2),
            nn.ReLU(),
            _conv(width // 2, width, 2),
            _norm(width),
            nn.ReLU(),
        )
        stages: list[nn.Module] = []
        inputs = width
        for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, output_stride // 8)):
            for i in range(depth):
                stages.append(ResidualBlock(inputs, outputs, stride if i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.num_features = self.head_hidden_size = inputs

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, 4 width, H/output_stride, W/output_stride]."""
        return cast(Tensor, self.blocks(self.stem(x)))

    def stages(self, x: Tensor) -> list[Tensor]:
        """[B, in_chans, H, W] -> the map after each of the three stages."""
        return self.forward_intermediates(x)[1][1:]

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, in_chans, H, W] -> the last map, and the maps of all resolutions from half the image's on (as timm's)."""
        half = self.stem[:3](x)
        stages, x = [half], self.stem[3:](half)
        depth = len(self.blocks) // 3
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number % depth == 0:
                stages.append(x)
        return x, stages

    def forward_head(self, x: Tensor) -> Tensor:
        """[B, 4 width, h, w] -> [B, 4 width]: the mean over the map."""
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, 4 width]: the mean over the last map."""
        return self.forward_head(self.forward_features(x))


class ConvStem(PatchEmbed):
    """Patch embedding by strided 3x3 convolutions with residual blocks in place of one large convolution.

    Xiao et al. 2021, "Early Convolutions Help Transformers See Better": from scratch on few images it trains more
    steadily than a patchify stem of the same stride.
    """

    def __init__(self, *, patch_size: int, in_chans: int, embed_dim: int, **rest: Any) -> None:
        super().__init__(patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, **rest)
        if patch_size < 2 or patch_size & (patch_size - 1):
            raise ConfigError(
                "the convolutional stem halves the image step by step",
                where="encoder.options.patch_size",
                found=patch_size,
                expected="a power of two",
            )
        layers: list[nn.Module] = []
        inputs = in_chans
        for halvings in range(patch_size.bit_length() - 2, -1, -1):
            outputs = max(8, embed_dim >> halvings) // 8 * 8 if halvings else embed_dim
            layers += [_conv(inputs, outputs, 2), _norm(outputs), nn.ReLU()]
            if halvings < patch_size.bit_length() - 2:  # at full width of the image a block would cost the most
                layers.append(ResidualBlock(outputs, outputs, 1))
            inputs = outputs
        self.proj = nn.Sequential(*layers)  # type: ignore[assignment]


def nano_vit(in_chans: int, img_size: int, **options: Any) -> VisionTransformer:
    """A ViT with class token, width 96, 2 blocks, 4 heads, patch 8 and a convolutional stem; options as timm's."""
    sizes = {"patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
    return VisionTransformer(
        img_size=img_size, in_chans=in_chans, num_classes=0, embed_layer=ConvStem, **{**sizes, **options}
    )
