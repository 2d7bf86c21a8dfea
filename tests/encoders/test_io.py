"""The encoder's file: everything inside, whole or refused."""

import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from nearfar import __version__
from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder, save_encoder, write_atomically
from nearfar.errors import DataError

FOUR = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""]})


def small(**changes: object) -> ImageEncoder:
    config = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32, **changes)  # type: ignore[arg-type]
    return ImageEncoder(config, FOUR, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.5, 0.6, 0.7, 0.8]))


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_round_trip_gives_the_same_features_bit_for_bit(tmp_path: Path, fusion: str) -> None:
    encoder, x = small(fusion=fusion).eval(), torch.rand(3, 4, 32, 32)
    loaded = load_encoder(save_encoder(encoder, tmp_path / "sub" / "encoder.safetensors"))
    assert torch.equal(encoder(x), loaded(x))
    assert (loaded.config, loaded.channels) == (encoder.config, encoder.channels)
    assert not loaded.training


def test_the_header_tells_how_to_use_it_and_travels_on(tmp_path: Path) -> None:
    path = save_encoder(small(), tmp_path / "a.safetensors", preset="disco", scale={"uint16": 30000.0})
    again = save_encoder(load_encoder(path), tmp_path / "b.safetensors")
    for file in (path, again):
        with safetensors.safe_open(file, framework="pt") as content:
            header = json.loads(content.metadata()["nearfar"])
        assert header["channels"] == {
            "names": ["rgb.r", "rgb.g", "rgb.b", "thermal"],
            "modalities": {"rgb": [0, 1, 2], "thermal": [3]},
        }
        assert header["mean"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
        assert header["std"] == pytest.approx([0.5, 0.6, 0.7, 0.8])
        assert (header["size"], header["feature_dim"], header["nearfar"]) == (32, 32, __version__)
        assert (header["preset"], header["scale"]) == ("disco", {"uint16": 30000.0})


def test_the_pretrained_file_is_not_needed_again(tmp_path: Path) -> None:
    weights = save_encoder(small(), tmp_path / "first.safetensors")
    second = save_encoder(small(weights=weights), tmp_path / "second.safetensors")
    weights.unlink()
    assert load_encoder(second).config.weights is None


@pytest.mark.parametrize("kept", [0, 7, 500, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path: Path, kept: float) -> None:
    path = save_encoder(small(), tmp_path / "encoder.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=r"encoder\.safetensors.*damaged or incomplete"):
        load_encoder(path)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such encoder file"):
        load_encoder(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(DataError, match="not a nearfar encoder"):
        load_encoder(foreign)
    safetensors.torch.save_file({"x": torch.zeros(1)}, foreign, {"nearfar": json.dumps({"config": {}})})
    with pytest.raises(DataError, match="cannot be rebuilt"):
        load_encoder(foreign)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
