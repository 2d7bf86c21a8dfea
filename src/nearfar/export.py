"""An encoder for use elsewhere: one file with its channels, normalisation and input size inside."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import KEY, describe, load_encoder, save_encoder, write_atomically
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, did_you_mean, missing_extra

FORMATS = ("safetensors", "onnx")


def export(source: ImageEncoder | Path | str, to: str, path: Path | str) -> Path:
    """Write an encoder, or that of an encoder.safetensors or run folder, to `path` and return the path.

    safetensors: for `nearfar.load_encoder`. onnx: input `image` [batch, C, size, size], float32 scaled but not
    normalised, output `features` [batch, D], any batch; the description (channels, mean, std, size, scale) is JSON
    under the key "nearfar" of the model's metadata_props.

    Raises ConfigError for another format or a missing extra, DataError for a damaged source.
    """
    if to not in FORMATS:
        fix = did_you_mean(to, FORMATS, quote='"')
        raise ConfigError("unknown format", where="to", found=f'"{to}"', expected=" or ".join(FORMATS), fix=fix)
    encoder = source if isinstance(source, ImageEncoder) else load_encoder(_encoder_file(Path(source)))
    if to == "safetensors":
        return save_encoder(encoder, path)
    if encoder.config.textures:
        raise ConfigError(
            "local binary patterns have no ONNX operator",
            where="encoder.textures",
            fix="Export to safetensors, or train without textures (saco instead of saco_plus).",
        )
    return _write_onnx(encoder, Path(path))


def _encoder_file(path: Path) -> Path:
    return path / "encoder.safetensors" if path.is_dir() else path


def _write_onnx(encoder: ImageEncoder, path: Path) -> Path:
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it and says so less clearly
    except ImportError:
        raise missing_extra("ONNX export", "onnx and onnxscript", "export") from None
    model: Any = _traced(encoder).model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(describe(encoder))
    write_atomically(path, model.SerializeToString())
    return path


def _traced(encoder: ImageEncoder) -> Any:
    # Two images and not one, because the exporter takes a dimension of size 1 for a constant.
    size = encoder.config.size
    example = torch.zeros(2, len(encoder.channels), size, size, device=encoder.mean.device, dtype=encoder.mean.dtype)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with evaluating(encoder):
            return torch.onnx.export(
                encoder,
                (example,),
                input_names=["image"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
