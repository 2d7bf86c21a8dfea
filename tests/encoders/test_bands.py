"""The encoder of band groups from outside: groups and textures by name, files, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders import BandEncoder, build_encoder
from nearfar.encoders.bands import sensor_of
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder, save_encoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.export import export
from nearfar.spatial.bands import BandWarning

NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S2 = Channels.of({"s2": NAMES})
NANO = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32, groups="saco")
RESNET = dataclasses.replace(NANO, name="resnet18", options={"zero_init_last": False})

pytestmark = pytest.mark.filterwarnings("ignore::nearfar.spatial.bands.BandWarning")


def image(batch: int = 3, size: int = 32, channels: int = 12) -> Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def made(config: EncoderConfig, channels: Channels = S2) -> BandEncoder:
    torch.manual_seed(0)
    encoder = build_encoder(config, channels)
    assert isinstance(encoder, BandEncoder)
    return encoder


def test_without_groups_it_is_the_plain_encoder() -> None:
    assert type(build_encoder(dataclasses.replace(NANO, groups=""), S2)) is ImageEncoder


@pytest.mark.parametrize("config", [NANO, RESNET], ids=["nano_cnn", "resnet18"])
@pytest.mark.parametrize("textures", [False, True])
def test_every_group_is_the_shared_backbone_on_its_own_bands(config: EncoderConfig, textures: bool) -> None:
    encoder = made(dataclasses.replace(config, textures=textures)).eval()
    x = image()
    found = encoder.features(x)
    assert list(encoder.groups) == list(encoder.sensor.groups)
    assert found.each.shape == (3, 7 + 4 * textures, encoder.feature_dim)
    assert torch.equal(encoder(x), found.pooled)
    torch.testing.assert_close(found.pooled, found.each.mean(1))
    inputs = [x[:, [NAMES.index(band) for band in group]] for group in encoder.groups.values()]
    if textures:
        texture = pytest.importorskip("nearfar.spatial.texture")
        codes = torch.as_tensor(texture.local_binary_pattern((x * 10000).round().to(torch.int32))).float() / 17
        inputs += [codes[:, [NAMES.index(band) for band in group]] for group in encoder.textures.values()]
        maps = encoder.texture_maps(x)
        assert maps.shape == (3, 12, 32, 32)
        torch.testing.assert_close(maps, codes)
    for g, part in enumerate(inputs):  # fresh running statistics are alike for all groups, so the order cannot show
        torch.testing.assert_close(
            encoder.body.backbone(_stacked(part, g, len(inputs)))[3 * g : 3 * g + 3], found.each[:, g]
        )


def _stacked(part: Tensor, place: int, count: int) -> Tensor:
    """The part in its own place of a stack of otherwise empty groups."""
    stack = torch.zeros(count, *part.shape)
    stack[place] = part
    return stack.flatten(0, 1)


def test_a_pyramid_keeps_the_images_own_resolution() -> None:
    encoder = made(NANO).eval()
    found = encoder.features(image(2, 48), pyramid=True)
    assert [tuple(stage.shape[1:]) for stage in found.pyramid] == [(4, 24, 24), (8, 12, 12), (16, 6, 6), (32, 3, 3)]
    torch.testing.assert_close(found.pyramid[-1].mean((2, 3)), found.pooled)
    resized = encoder.features(image(2, 48), pyramid=True, resize=True)
    torch.testing.assert_close(resized.pooled, encoder(image(2, 48)))
    torch.testing.assert_close(resized.pyramid[-1], encoder.dense(image(2, 48)))
    for a, b in zip(encoder.stages(image(2, 48)), resized.pyramid[1:], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["nano_cnn", "resnet18", "nano_vit"])
def test_a_plain_encoder_answers_like_one_of_one_group(name: str) -> None:
    encoder = build_encoder(EncoderConfig(name, {"depth": 3} if name == "nano_vit" else {}, size=32), S2).eval()
    x = image(2, 40)
    found = encoder.features(x)
    assert torch.equal(found.each[:, 0], encoder(x))
    pyramid = encoder.features(x, pyramid=True)
    assert pyramid.pooled.shape == (2, encoder.feature_dim)
    sides = [stage.shape[-1] for stage in pyramid.pyramid]
    assert sides == sorted(sides, reverse=True) and len(sides) >= 3
    with pytest.raises(ShapeError, match="takes no texture maps"):
        encoder.features(x, torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("textures", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_file_brings_back_groups_textures_and_sensor(tmp_path: Path, textures: bool) -> None:
    if textures:
        pytest.importorskip("nearfar.spatial.texture")
    encoder = made(dataclasses.replace(RESNET, textures=textures, texture_points=8, texture_radius=1.0))
    encoder.train()(image())  # running statistics of every group of its own
    encoder.eval()
    path = save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = load_encoder(path)
    assert isinstance(loaded, BandEncoder)
    assert torch.equal(loaded(image()), encoder(image()))
    assert loaded.metadata["sensor"] == "sentinel2_l2a"
    assert loaded.metadata["groups"] == json.loads(json.dumps(encoder.groups))


def test_a_file_of_other_groups_under_the_same_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = made(NANO)
    encoder.groups = {**encoder.groups, "natural": ("B03", "B03", "B02")}
    path = save_encoder(encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match="its groups were"):
        load_encoder(path)


def test_a_missing_band_gets_its_substitute_with_a_warning() -> None:
    with pytest.warns(BandWarning, match="B10"):
        encoder = made(NANO)
    assert encoder.groups["complementary_2"] == ("B07", "B08", "B09")


def test_one_group_alone_and_colour_images() -> None:
    config = dataclasses.replace(NANO, groups="natural")
    assert made(config).groups == {"natural": ("B04", "B03", "B02")}
    colour = Channels.of({"rgb": ["r", "g", "b"]})
    encoder = made(config, colour)
    assert encoder.groups == {"natural": ("R", "G", "B")}
    assert encoder(image(2, 32, 3)).shape == (2, 32)


def test_published_groups_of_the_reference_code(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "saco" / "band_groups.json").read_text())
    encoder = made(dataclasses.replace(NANO, groups="saco_reference_seco", textures=True))
    assert list(map(list, encoder.groups.values())) == list(golden["reference_code_seco_bands"].values())
    assert list(map(list, encoder.textures.values())) == golden["reference_code_lbp_groups_seco"]


def test_sensors_are_found_by_their_bands() -> None:
    assert sensor_of(("B1", "B2", "B5", "B7", "B8")).name == "landsat8"
    assert sensor_of(NAMES).name == "sentinel2_l2a"
    assert sensor_of((*NAMES, "B10")).name == "sentinel2_l1c"
    assert sensor_of(("r", "g", "b")).name == "rgb"
    with pytest.raises(ConfigError, match=r"no built-in sensor.*thermal"):
        sensor_of(("thermal", "depth"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": "sacco"}, r"sacco.*Did you mean saco"),
        ({"groups": "", "textures": True}, "textures need groups"),
        ({"fusion": "late"}, "one backbone"),
        ({"sensor": "sentinel3"}, "sentinel3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_encoder(dataclasses.replace(NANO, **changes), S2)  # type: ignore[arg-type]


def test_bands_that_nothing_can_replace_are_refused() -> None:
    with pytest.raises(ConfigError, match="B03"):
        build_encoder(dataclasses.replace(NANO, groups="natural"), Channels.of({"s2": ["B04", "B02", "B08"]}))


def test_attention_and_onnx_textures_are_refused(tmp_path: Path) -> None:
    encoder = made(dataclasses.replace(NANO, textures=True))
    with pytest.raises(ConfigError, match="no attention maps"):
        encoder.attention(image())
    with pytest.raises(ConfigError, match="no ONNX operator"):
        export(encoder, "onnx", tmp_path / "encoder.onnx")


def test_maps_of_all_groups_side_by_side_have_the_pooled_maps_as_their_mean() -> None:
    encoder = build_encoder(dataclasses.replace(NANO, textures=True), S2).eval()
    x = image(2, 48)
    pooled, joined = (encoder.features(x, pyramid=True, side_by_side=each).pyramid for each in (False, True))
    for mean, maps in zip(pooled, joined, strict=True):
        assert maps.shape[1] == 11 * mean.shape[1]
        torch.testing.assert_close(maps.unflatten(1, (11, -1)).mean(1), mean)  # type: ignore[no-untyped-call]
