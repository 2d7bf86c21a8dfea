"""The encoder from outside: shapes, normalisation, channels, attention, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.backbone import Backbone
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError, ShapeError

FIVE = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""], "depth": [""]})
VIT = EncoderConfig("nano_vit", {"depth": 2}, size=32)
CONFIGS = {
    "nano_cnn": EncoderConfig("nano_cnn", size=32),
    "nano_cnn stride 8": EncoderConfig("nano_cnn", {"width": 16, "depth": 1, "output_stride": 8}, size=32),
    "nano_vit": VIT,
    "resnet18": EncoderConfig("resnet18", size=32),
    "vit": EncoderConfig("vit_tiny_patch16_224", {"patch_size": 8, "depth": 2}, size=32),
    "late cnn": EncoderConfig("nano_cnn", size=32, fusion="late"),
    "late vit": EncoderConfig("nano_vit", {"depth": 2}, size=32, fusion="late"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels_and_any_input_size(name: str, channels: int) -> None:
    described = FIVE if channels == 5 else Channels.of({"thermal": [""]})
    encoder = ImageEncoder(CONFIGS[name], described)
    x = torch.rand(2, channels, 40, 33)
    features, dense = encoder(x), encoder.dense(x)
    assert features.shape == (2, encoder.feature_dim)
    assert dense.shape[:2] == (2, encoder.feature_dim)
    features.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(("stride", "side"), [(16, 4), (8, 8)])
def test_the_small_networks_have_the_size_their_page_states(stride: int, side: int) -> None:
    cnn = ImageEncoder(EncoderConfig("nano_cnn", {"output_stride": stride}), FIVE)
    assert 300_000 < sum(p.numel() for p in cnn.parameters()) < 750_000
    assert cnn.dense(torch.rand(1, 5, 64, 64)).shape == (1, 128, side, side)
    vit = ImageEncoder(EncoderConfig("nano_vit"), FIVE)
    assert 300_000 < sum(p.numel() for p in vit.parameters()) < 750_000
    assert vit.grid == (8, 8)
    assert vit.prefix_tokens == 1


def test_the_features_of_an_image_do_not_depend_on_its_batch() -> None:
    encoder = ImageEncoder(CONFIGS["nano_cnn"], FIVE).train()
    x = torch.rand(6, 5, 32, 32)
    torch.testing.assert_close(encoder(x)[:2], encoder(x[:2]), atol=1e-5, rtol=1e-5)


def test_normalises_inside_with_its_own_statistics() -> None:
    mean, std = torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    encoder = ImageEncoder(CONFIGS["nano_cnn"], FIVE, mean, std)
    x = torch.rand(2, 5, 32, 32)
    expected = (x - mean.view(1, 5, 1, 1)) / std.view(1, 5, 1, 1)
    torch.testing.assert_close(encoder.prepare(x), expected)
    torch.testing.assert_close(encoder(x), encoder.body(expected))
    assert {"mean", "std"} <= encoder.state_dict().keys()


def test_normalisation_and_network_move_together_to_another_dtype() -> None:
    encoder = ImageEncoder(CONFIGS["nano_cnn"], FIVE).double()
    assert encoder(torch.rand(1, 5, 32, 32, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (torch.rand(2, 3, 32, 32), ShapeError, "2, 3, 32, 32"),
        (torch.rand(5, 32, 32), ShapeError, "thermal"),
        (torch.zeros(2, 5, 32, 32, dtype=torch.uint8), DataError, "255 for 8 bit"),
    ],
)
def test_refuses_images_it_cannot_mean(image: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ImageEncoder(CONFIGS["nano_cnn"], FIVE)(image)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (EncoderConfig("nano_cn"), "Did you mean nano_cnn"),
        (EncoderConfig("resnet_18"), "Did you mean .*resnet"),
        (EncoderConfig("nano_cnn", {"widht": 8}), "widht"),
        (EncoderConfig("nano_cnn", {"width": 9}), "multiple of 8"),
        (EncoderConfig("nano_vit", {"patch_size": 6}, size=48), "power of two"),
        (EncoderConfig("vit_tiny_patch16_224", {"num_heads": 7}), "vit_tiny_patch16_224 cannot be built"),
        (EncoderConfig("nano_cnn", {"squeeze": False}), r"squeeze.*encoder: \{name: nano_cnn, options: \{\}\}"),
        (EncoderConfig("nano_cnn", modality_dropout=1.0), "modality_dropout"),
    ],
)
def test_refuses_configurations_by_name(config: EncoderConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ImageEncoder(config, FIVE)


def test_refuses_statistics_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="one mean a channel"):
        ImageEncoder(CONFIGS["nano_cnn"], FIVE, torch.zeros(3))
    with pytest.raises(DataError, match="depth"):
        ImageEncoder(CONFIGS["nano_cnn"], FIVE, std=torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]))


@pytest.mark.parametrize("name", ["nano_vit", "vit", "late vit"])
def test_attention_is_recorded_only_when_asked(name: str) -> None:
    encoder = ImageEncoder(CONFIGS[name], FIVE).train()
    x = torch.rand(3, 5, 32, 32)
    maps = encoder.attention(x)
    tokens = encoder.prefix_tokens + encoder.grid[0] * encoder.grid[1]  # type: ignore[index]
    assert len(maps) == 2
    for attention in maps:
        assert attention.shape[0] == 3
        assert attention.shape[2:] == (tokens, tokens)
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    assert encoder.training and all(module.training for module in encoder.modules())
    layers = [m for m in encoder.modules() if hasattr(m, "fused_attn")]
    assert layers and all(layer.fused_attn for layer in layers)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in encoder.modules())


def test_recording_attention_does_not_change_the_features() -> None:
    encoder = ImageEncoder(VIT, FIVE)
    x = torch.rand(2, 5, 32, 32)
    before = encoder(x)
    encoder.attention(x)
    assert torch.equal(before, encoder(x))


def test_a_failed_forward_leaves_no_hook_behind() -> None:
    encoder = ImageEncoder(VIT, FIVE)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    handle = encoder.body.model.norm.register_forward_hook(fail)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="out of memory"):
        encoder.attention(torch.rand(1, 5, 32, 32))
    handle.remove()
    assert all(not m._forward_pre_hooks for m in encoder.modules())


def test_attention_of_a_convolutional_network_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="Use a ViT"):
        ImageEncoder(CONFIGS["resnet18"], FIVE).attention(torch.rand(1, 5, 32, 32))


def test_dense_of_a_network_without_a_map_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no map of spatial features"):
        ImageEncoder(EncoderConfig("mixer_s32_224", size=32), FIVE).dense(torch.rand(1, 5, 32, 32))


def test_the_class_token_is_not_among_the_dense_features() -> None:
    backbone = Backbone(VIT, 1)
    x = torch.rand(1, 1, 32, 32)
    tokens = backbone.model.forward_features(x)  # type: ignore[operator]
    dense = backbone.dense(x)
    assert isinstance(backbone.model.norm, nn.Module)
    torch.testing.assert_close(dense[0, :, 1, 2], tokens[0, 1 + 1 * 4 + 2])


def test_normalize_by_image_takes_the_level_and_the_gain_of_a_sensor_out() -> None:
    config = EncoderConfig(name="nano_cnn", size=32, normalize="image")
    encoder = ImageEncoder(config, Channels.of({"thermal": [""]}), torch.tensor([0.45]), torch.tensor([0.004])).eval()
    x = 0.45 + 0.004 * torch.rand(3, 1, 32, 32)
    drifted = 0.02 + 1.5 * x
    torch.testing.assert_close(encoder(drifted), encoder(x), rtol=1e-3, atol=1e-4)
    assert torch.isfinite(encoder(torch.full((2, 1, 32, 32), 0.45))).all()
    plain = ImageEncoder(replace(config, normalize="dataset"), encoder.channels, encoder.mean, encoder.std).eval()
    assert not torch.allclose(plain(drifted), plain(x), rtol=1e-2)


def test_the_stem_of_nano_vit_sees_more_than_its_patch() -> None:
    encoder = ImageEncoder(EncoderConfig("nano_vit", {"depth": 0}, size=32), Channels.of({"thermal": [""]})).eval()
    x = torch.zeros(1, 1, 32, 32)
    touched = x.clone()
    touched[..., 7, 7] = 1.0
    changed = (encoder.dense(touched) - encoder.dense(x)).abs().sum(1)[0] > 1e-6
    assert changed[1, 1]


@pytest.mark.parametrize(("depth", "stages"), [(2, 2), (4, 3)])
def test_a_shallow_transformer_gives_the_stages_it_has(depth: int, stages: int) -> None:
    encoder = ImageEncoder(EncoderConfig("nano_vit", {"depth": depth}, size=32), FIVE).eval()
    assert [tuple(s.shape) for s in encoder.stages(torch.rand(2, 5, 32, 32))] == [(2, 96, 4, 4)] * stages
