"""The published crop network: its sizes, its order of layers, its refusal of small images."""

import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.crop_cnn import CropCNN
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError


def test_features_of_a_published_crop() -> None:
    network = CropCNN(3, 224)
    x = torch.rand(2, 3, 224, 224)
    assert network.num_features == 450
    assert network(x).shape == (2, 450)
    assert network.forward_features(x).shape == (2, 18, 5, 5)
    kinds = [type(layer).__name__ for layer in network.blocks]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d"] * 5
    # From the published layers: weights and biases of the convolutions, two numbers a channel of the norms.
    assert sum(p.numel() for p in network.parameters()) == 14118 + 8120 + 11628 + 8835 + 2448 + 2 * 59


def test_as_an_encoder_of_any_channels() -> None:
    encoder = ImageEncoder(EncoderConfig("crop_cnn", size=184), Channels.of({"rgb": "rgb", "masks": "ab"}))
    assert encoder(torch.rand(2, 5, 96, 96)).shape == (2, encoder.feature_dim)
    assert encoder.dense(torch.rand(2, 5, 96, 96)).shape[:2] == (2, 18)


def test_small_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"crop_cnn cannot be built for 3 channels of 64 pixels.*224"):
        ImageEncoder(EncoderConfig("crop_cnn", size=64), Channels.of({"rgb": "rgb"}))
