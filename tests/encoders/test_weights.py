"""Pretrained weights from local files, for any number of channels, and files that do not fit."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from nearfar.config import EncoderConfig
from nearfar.encoders.backbone import build
from nearfar.encoders.weights import adapt_channels
from nearfar.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet10t", pretrained=False).state_dict(), path)
    return path


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_grey_image_excites_the_adapted_stem_as_before(resnet: Path, channels: int) -> None:
    original = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    original.load_state_dict(safetensors.torch.load_file(resnet), strict=False)
    adapted = build(EncoderConfig("resnet10t", size=64, weights=resnet), channels)
    grey = torch.rand(2, 1, 64, 64)
    expected = original.eval()(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(adapted.eval()(grey.expand(-1, channels, -1, -1)), expected, atol=1e-4, rtol=1e-4)


def test_repeated_channels_keep_their_filters() -> None:
    weight = torch.rand(2, 3, 1, 1)
    adapted = adapt_channels(weight, 4)
    torch.testing.assert_close(adapted[:, 3], adapted[:, 0])
    torch.testing.assert_close(adapted[:, :3], weight * 3 / 4)


@pytest.mark.parametrize("prefix", ["", "module.", "body.model."])
def test_a_vit_of_another_input_size_and_wrapping(tmp_path: Path, prefix: str) -> None:
    options = {"patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 3}
    trained = build(EncoderConfig("vit_tiny_patch16_224", options, size=32), 3)
    torch.save({"state_dict": {prefix + k: v for k, v in trained.state_dict().items()}}, tmp_path / "vit.pth")
    larger = build(EncoderConfig("vit_tiny_patch16_224", options, size=64, weights=tmp_path / "vit.pth"), 5)
    assert larger.pos_embed.shape == (1, 65, 24)
    torch.testing.assert_close(larger.pos_embed[:, 0], trained.pos_embed[:, 0])
    torch.testing.assert_close(larger.blocks[0].attn.qkv.weight, trained.blocks[0].attn.qkv.weight)


def test_weights_of_another_model_are_refused(resnet: Path) -> None:
    with pytest.raises(ConfigError, match="belong to another model"):
        build(EncoderConfig("nano_cnn", weights=resnet), 3)


def test_files_that_cannot_be_read(tmp_path: Path, resnet: Path) -> None:
    for name, content, words in [
        ("none.pth", None, "no such weights file"),
        ("none.safetensors", None, "no such weights file"),
        ("broken.pth", b"PK not a zip", "cannot be read"),
        ("broken.safetensors", resnet.read_bytes()[:1000], "cannot be read"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            build(EncoderConfig("resnet10t", weights=path), 3)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="no named tensors"):
        build(EncoderConfig("resnet10t", weights=tmp_path / "list.pth"), 3)
