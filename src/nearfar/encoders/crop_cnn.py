"""The crop network of C-SIP's published code: five convolutions from scratch, flattened."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

LAYERS = ((6, 28, 5), (8, 13, 3), (12, 11, 1), (15, 7, 1), (18, 3, 1))
"""outputs, kernel and stride of the published convolutions"""
PADDING = 2


class CropCNN(nn.Module):
    """`CNN_image(2, 'zeros')` of Logan-wilson/CSIP (models.py) without its last linear layer, which is the head here.

    Every convolution is followed by ReLU and then batch norm, as published; nothing is pooled, so the features (450 at
    224 pixels) keep where things are. Raises ValueError for images too small for the kernels (below 184 pixels).
    """

    def __init__(self, in_chans: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, side = in_chans, size
        for outputs, kernel, stride in LAYERS:
            if side + 2 * PADDING < kernel:
                raise ValueError("crop_cnn has large kernels, use 224 pixels as published")
            side = (side + 2 * PADDING - kernel) // stride + 1
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, PADDING), nn.ReLU(), nn.BatchNorm2d(outputs)]
            inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.num_features = self.head_hidden_size = inputs * side * side

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, size, size] -> the last map [B, 18, h, h]."""
        return cast(Tensor, self.blocks(x))

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, size, size] -> [B, num_features]."""
        return self.forward_features(x).flatten(1)
