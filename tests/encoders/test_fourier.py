"""The encoder of convolutions and spectra: any size, honest precision, state that is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.fourier import FourierEncoder
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder, save_encoder
from nearfar.errors import ConfigError

RGB = Channels.of({"rgb": "rgb"})


def test_numbers_of_parameters() -> None:
    def count(**options: Any) -> int:
        return sum(p.numel() for p in FourierEncoder(3, **options).parameters())

    assert count(squeeze=False) == 261_848  # as published
    spatial, spectral = count(squeeze=False, branches="cnn"), count(squeeze=False, branches="ffc")
    half_of_join = 32 * 128 * 9
    assert (
        spatial + spectral - count(squeeze=False)
        == 128 * 128 * 9 + 2 * 256
        == count(squeeze=False, branches="cnn") - 36_856 - half_of_join
    )
    assert count() > count(squeeze=False)


@pytest.mark.parametrize("branches", ["both", "cnn", "ffc"])
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (50, 37)])
def test_any_size_gives_a_map_and_one_width_of_features(branches: str, size: tuple[int, int]) -> None:
    network = FourierEncoder(5, branches=branches).eval()  # type: ignore[arg-type]
    x = torch.rand(2, 5, *size)
    dense = network.forward_features(x)
    assert dense.shape == (2, 128, size[0] // 16, size[1] // 16)
    assert network(x).shape == (2, network.num_features) == (2, 512)
    last, maps = network.forward_intermediates(x)
    assert isinstance(maps, list) and torch.equal(maps[-1], dense) and torch.equal(last, dense)
    assert [m.shape[-1] for m in maps] == [size[1] // 2, size[1] // 4, size[1] // 8, size[1] // 16]
    assert torch.equal(network.forward_head(last), network(x))


def test_published_features_are_the_whole_map() -> None:
    network = FourierEncoder(3, pool=4).eval()
    x = torch.rand(1, 3, 64, 64)
    assert network.num_features == 2048
    torch.testing.assert_close(network(x), network.forward_features(x).flatten(1))


def test_the_same_image_twice_and_every_weight_trained() -> None:
    network = FourierEncoder(3)
    x = torch.rand(8, 3, 32, 32)
    network(x).square().mean().backward()
    # The few hidden units of a gate may be dead at first, as any ReLU.
    moved = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name, _ in network.named_parameters() if ".gate." not in name} <= moved
    assert any("attend" in name for name in moved)
    network.eval()
    assert torch.equal(network(x), network(x))
    torch.testing.assert_close(network(x[:3]), network(x)[:3])


def test_bfloat16_leaves_the_transform_in_float32() -> None:
    network = FourierEncoder(3)
    with torch.autocast("cpu", torch.bfloat16):
        features = network(torch.rand(4, 3, 16, 16))
    features.float().sum().backward()
    assert features.isfinite().all() and all(p.grad.isfinite().all() for p in network.parameters())  # type: ignore[union-attr]


def test_as_an_encoder_it_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    encoder = ImageEncoder(EncoderConfig("cnn_ffc", {"pool": 1, "branches": "both"}, size=32), RGB)
    encoder(torch.rand(8, 3, 32, 32))  # moves the running statistics
    save_encoder(encoder.eval(), tmp_path / "encoder.safetensors")
    other, x = load_encoder(tmp_path / "encoder.safetensors").eval(), torch.rand(2, 3, 40, 40)
    assert torch.equal(other(x), encoder(x)) and encoder.feature_dim == 128
    assert encoder.dense(x).shape == (2, 128, 2, 2)
    assert [m.shape[1] for m in encoder.stages(x)] == [32, 64, 128]
    assert len(encoder.features(x, pyramid=True).pyramid) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 12}, "multiple of 8"), ({"pool": 0}, "pool at least 1"), ({"branches": "fcc"}, "Did you mean ffc"),
     ({"activation": "gelu"}, "relu, identity"), ({"depth": 2}, "depth")],
)  # fmt: skip
def test_options_that_do_not_exist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageEncoder(EncoderConfig("cnn_ffc", options, size=32), RGB)


def test_small_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        FourierEncoder(3)(torch.rand(1, 3, 12, 40))
