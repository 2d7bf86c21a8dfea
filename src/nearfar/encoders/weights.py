"""Pretrained weights from a local file into a backbone; nothing is ever downloaded."""

from __future__ import annotations

import pickle
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from nearfar.errors import ConfigError, DataError

PREFIXES = ("module.", "body.model.", "encoder.body.model.", "backbone.", "model.")
"""wrappers whose names stand before the backbone's own in files written by DDP, nearfar and others"""


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a .safetensors or torch file, adapting the first convolution and the position embedding.

    Classifier weights and other surplus entries are ignored; every entry of the model must be in the file.

    Raises DataError where the file is missing or unreadable, ConfigError where it belongs to another model.
    """
    state = _adapted(_without_prefix(read_tensors(path)), model)
    wanted = model.state_dict()
    wrong = [name for name, value in wanted.items() if name not in state or state[name].shape != value.shape]
    if wrong:
        raise ConfigError(
            "these weights belong to another model",
            where=path,
            found=f"{len(wrong)} of {len(wanted)} entries missing or of another shape, first {wrong[0]}",
            fix="Choose the encoder.name and encoder.options that the weights were made with.",
        )
    model.load_state_dict({name: state[name] for name in wanted})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch checkpoint (also below "state_dict" or "model")."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(
            "there is no such weights file", where=path, fix="Set encoder.weights to a local file."
        ) from None
    except (OSError, RuntimeError, EOFError, safetensors.SafetensorError, pickle.UnpicklingError) as error:
        raise DataError(f"the weights cannot be read: {str(error).splitlines()[0]}", where=path) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise DataError("the file holds no named tensors", where=path, expected="a state_dict")
    return tensors


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        inside = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
        if inside:
            state = inside
    return state


def _adapted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` with input convolution and position embedding brought to the shapes that `model` has."""
    state = dict(state)
    for name, value in model.state_dict().items():
        given = state.get(name)
        if given is None or given.shape == value.shape:
            continue
        if name == "pos_embed" and given.ndim == 3:
            grid = model.patch_embed.grid_size  # type: ignore[union-attr]
            prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
            state[name] = resample_abs_pos_embed(given, list(grid), num_prefix_tokens=prefix)  # type: ignore[arg-type]
        elif given.ndim == 4 and (given.shape[0], *given.shape[2:]) == (value.shape[0], *value.shape[2:]):
            state[name] = adapt_channels(given, value.shape[1])
    return state


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight [O, I, k, k] for another number of input channels [O, channels, k, k].

    More channels repeat the known ones in turn, fewer take their mean; both are scaled so that a grey image excites
    the filters about as strongly as before (exactly, where the number is a multiple of the known one or smaller).
    """
    known = weight.shape[1]
    if channels < known:
        return weight.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
    repeats = -(-channels // known)
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * known / channels
