"""Low-rank adapters on chosen layers of any encoder (Hu et al. 2022, LoRA), by peft."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nearfar.encoders.tokenizers import optional
from nearfar.errors import ConfigError, did_you_mean


def add_lora(module: nn.Module, names: Sequence[str], rank: int = 8, alpha: float = 16.0) -> list[str]:
    """Add B A alpha / rank to the weight of every layer whose name is, or ends in a dot and, one of `names`; in place.

    B starts at zero, so the module computes what it did. The adapters learn, everything else of the module is frozen.
    Returns the full names of the layers. Layers are linear, convolutions, embeddings, or nn.MultiheadAttention whole.

    Raises ConfigError where peft is not installed, a name matches nothing, a layer is of another kind, or it is the
    output of an nn.MultiheadAttention or in an nn.TransformerEncoderLayer, which read weights past an adapter.
    """
    if rank < 1 or not alpha > 0 or not names:
        what = "low-rank adapters need layers, a rank and a scale"
        raise ConfigError(what, where="lora", found=f"names {tuple(names)}, rank {rank}, alpha {alpha}")
    layers = [layer for name in names for layer in _matching(module, name)]
    peft = optional("peft", "low-rank adapters", "peft")
    options = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(dict.fromkeys(layers)))
    try:
        peft.inject_adapter_in_model(options, module)
    except ValueError as error:
        reason = str(error).split(". ")[0]
        raise ConfigError(
            f"no adapter fits these layers: {reason[:200]}", where="lora", found=", ".join(names)
        ) from None
    return list(dict.fromkeys(layers))


def _matching(module: nn.Module, name: str) -> list[str]:
    parts = dict(module.named_modules())
    found = [full for full in parts if full == name or full.endswith(f".{name}")]
    if not found or not name:
        ends = {full.rpartition(".")[2] for full, part in parts.items() if isinstance(part, nn.Linear)}
        fix = did_you_mean(name, sorted(ends), f"Known: {', '.join(sorted(ends)[:20])}.", quote="'")
        raise ConfigError("no layer has this name", where="lora", found=name, fix=fix)
    for full in found:
        _check(parts, full)
    return found


def _check(parts: dict[str, nn.Module], full: str) -> None:
    """Refuse layers whose weights PyTorch reads itself, without calling the layer that an adapter replaces."""
    steps = full.split(".")
    for i in range(len(steps)):
        outer = ".".join(steps[:i])
        if isinstance(parts[outer], nn.TransformerEncoderLayer):
            fix = "Adapt layers of another kind of block."
            raise ConfigError("in evaluation an adapter here would be passed over", where="lora", found=full, fix=fix)
    if isinstance(parts[outer], nn.MultiheadAttention):
        fix = f"Name the attention: {steps[-2]!r}."
        raise ConfigError("an adapter on this layer would be passed over", where="lora", found=full, fix=fix)
