"""What nearfar uses of the package lpips (0.1.4, BSD), by its documented interface, where that is not installed.

LPIPS(net="vgg") takes two pictures [N, 3, H, W] in -1..1 and gives [N, 1, 1, 1]: the five stages of torchvision's
VGG16, whose weights file lies in the folder of torch.hub, each at unit length over channels, squared differences
weighted by channel, mean over pixels, sum over stages. The package has learned weights of channels; here
they are made up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, vgg16

CUTS, CHANNELS = (4, 9, 16, 23, 30), (64, 128, 256, 512, 512)


def channel_weights(stage: int) -> Tensor:
    """[1, C, 1, 1]."""
    return torch.linspace(0, 1, CHANNELS[stage]).flip(0)[None, :, None, None]


class LPIPS(nn.Module):
    def __init__(self, net: str = "alex", verbose: bool = True) -> None:
        super().__init__()
        assert net == "vgg"
        layers = vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features
        self.stages = nn.ModuleList(layers[a:b] for a, b in zip((0, *CUTS), CUTS, strict=False))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])

    def forward(self, in0: Tensor, in1: Tensor) -> Tensor:
        pair = [(x - self.get_buffer("shift")) / self.get_buffer("scale") for x in (in0, in1)]
        total = in0.new_zeros(len(in0), 1, 1, 1)
        for k, stage in enumerate(self.stages):
            pair = [stage(x) for x in pair]
            units = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in pair]
            apart = (units[0] - units[1]).square() * channel_weights(k).to(in0)
            total = total + apart.sum(1, keepdim=True).mean((2, 3), keepdim=True)
        return total
