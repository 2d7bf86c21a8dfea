"""Exported encoders compute the same and say how to be used."""

import json
from pathlib import Path

import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder, save_encoder
from nearfar.errors import ConfigError, DataError
from nearfar.export import export

FOUR = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""]})
CONFIGS = {
    "cnn": EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32),
    "vit": EncoderConfig("nano_vit", {"depth": 1}, size=32),
    "late": EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32, fusion="late", modality_dropout=0.5),
}


def encoder(name: str) -> ImageEncoder:
    return ImageEncoder(CONFIGS[name], FOUR, torch.rand(4), 0.1 + torch.rand(4))


@pytest.mark.parametrize(
    "name", ["cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if name != "cnn")]
)
def test_onnx_gives_the_same_features_for_any_batch(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    original = encoder(name).train()
    path = export(original, "onnx", tmp_path / "encoder.onnx")
    assert original.training
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    original.eval()
    for batch in (1, 5):
        x = torch.rand(batch, 4, 32, 32)
        (features,) = session.run(None, {"image": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(features), original(x).detach(), atol=1e-5, rtol=1e-5)
    header = json.loads(session.get_modelmeta().custom_metadata_map["nearfar"])
    assert header["channels"]["names"] == list(FOUR.names)
    assert header["mean"] == pytest.approx(original.mean.tolist())
    assert (header["size"], header["scale"]["uint16"]) == (32, 65535.0)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.onnx"]


def test_safetensors_from_a_run_folder_a_file_and_an_encoder(tmp_path: Path) -> None:
    original = encoder("vit").eval()
    x = torch.rand(2, 4, 32, 32)
    file = save_encoder(original, tmp_path / "run" / "encoder.safetensors")
    for number, source in enumerate((original, file, tmp_path / "run")):
        loaded = load_encoder(export(source, "safetensors", tmp_path / f"{number}.safetensors"))
        assert torch.equal(loaded(x), original(x))


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='Did you mean "onnx"'):
        export(encoder("cnn"), "onx", tmp_path / "x")
    with pytest.raises(DataError, match="no such encoder file"):
        export(tmp_path, "safetensors", tmp_path / "x")
