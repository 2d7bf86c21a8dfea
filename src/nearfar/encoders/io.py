"""An encoder as one safetensors file that carries its channels, normalisation, input size and scale."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from nearfar import __version__
from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.bands import build_encoder
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import DataError

KEY = "nearfar"
SCALES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""the value of each data type that becomes 1.0 before the encoder"""


def describe(encoder: ImageEncoder, **metadata: Any) -> dict[str, Any]:
    """All that is needed to use the encoder elsewhere, as plain values for JSON; `metadata` is added to it,
    and what the encoder brought along from its own file stays.

    Keys: nearfar (version), config, channels {names, modalities}, mean, std, size, scale {dtype: value}, feature_dim;
    for an encoder of band groups also sensor, groups and textures, by name.
    """
    config = dataclasses.asdict(dataclasses.replace(encoder.config, weights=None))
    return {
        "scale": SCALES,
        **encoder.metadata,
        **metadata,
        "nearfar": __version__,
        "config": config,
        "channels": {"names": encoder.channels.names, "modalities": encoder.channels.modalities},
        "mean": encoder.mean.tolist(),
        "std": encoder.std.tolist(),
        "size": encoder.config.size,
        "feature_dim": encoder.feature_dim,
        **encoder.description(),
    }


def save_encoder(encoder: ImageEncoder, path: Path | str, **metadata: Any) -> Path:
    """Write the encoder to one safetensors file, atomically; `metadata` (plain values) goes into its header.

    `scale={"uint8": 255.0, ...}` overrides what the readers divide by. Returns the path.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    header = {KEY: json.dumps(describe(encoder, **metadata))}
    write_atomically(path, safetensors.torch.save(_unshared(tensors), header))
    return path


def load_encoder(path: Path | str) -> ImageEncoder:
    """The encoder of a file that `save_encoder` wrote, in evaluation mode, on the CPU; `metadata` holds its header.

    Raises DataError where the file is missing, truncated, or not one of nearfar's.
    """
    path = Path(path)
    header, tensors = _read(path)
    if KEY not in header:
        raise DataError(
            "this safetensors file is not a nearfar encoder",
            where=path,
            fix="Give weights of another origin as encoder.weights instead.",
        )
    try:
        encoder = _rebuild(json.loads(header[KEY]))
        encoder.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the encoder cannot be rebuilt: {str(error).splitlines()[0]}",
            where=path,
            fix="Load it with the nearfar version that wrote it.",
        ) from error
    return encoder.eval()


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name beside `path`, fsync, rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies where two names share memory, which safetensors refuses."""
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.data_ptr() in seen:
            tensors[name] = value.clone()
        seen.add(value.data_ptr())
    return tensors


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError("there is no such encoder file", where=path) from None
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(
            f"the encoder file cannot be read, it is damaged or incomplete: {error}",
            where=path,
            fix="Export it again from its run.",
        ) from error


def _rebuild(description: dict[str, Any]) -> ImageEncoder:
    names = tuple(description["channels"]["names"])
    modalities = {name: tuple(span) for name, span in description["channels"]["modalities"].items()}
    encoder = build_encoder(EncoderConfig(**description["config"]), Channels(names, modalities))
    for key, value in json.loads(json.dumps(encoder.description())).items():
        if description[key] != value:
            raise ValueError(f"its {key} were {description[key]}, and are {value} here")
    encoder.metadata = description
    return encoder
