"""Adapters: text models of open_clip and transformers from local folders as (ids, mask) -> features.

Neither library is imported before a model of it is built, and nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.encoders.text_pooling import Pool, check_tokens, pooled
from nearfar.encoders.tokenizers import (
    ClipTokenizer,
    HuggingFaceTokenizer,
    Tokenizer,
    existing_folder,
    from_folder,
    optional,
)
from nearfar.errors import ConfigError


def unwrap(output: Any, *names: str) -> Tensor:
    """The tensor that a model of transformers returns: itself, or the first of the named parts that is there.

    Versions differ: `get_text_features` gave a tensor in 4 and gives an object in 5.
    Raises ConfigError where no named part is there.
    """
    if isinstance(output, Tensor):
        return output
    for name in names:
        part = getattr(output, name, None)
        if isinstance(part, Tensor):
            return part
    raise ConfigError(
        "the model returns nothing that is known", found=type(output).__name__, expected=" or ".join(names)
    )


class HuggingFaceText(nn.Module):
    """A text model of transformers: ids, mask [B, L] -> [B, feature_dim], pooled over its last hidden states.

    CLIP's text model pools and projects itself. A causal model (BioGPT, GPT-2) needs pool "last" or "mean": its first
    token has seen nothing. Attributes: `feature_dim`, `length`.
    """

    def __init__(self, model: nn.Module, feature_dim: int, length: int, pool: Pool) -> None:
        super().__init__()
        self.model, self.feature_dim, self.length, self.pool = model, feature_dim, length, pool

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids int64 [B, L], mask bool [B, L] -> [B, feature_dim]."""
        check_tokens(ids, mask, self.length)
        output = unwrap(self.model(input_ids=ids, attention_mask=mask.long()), "text_embeds", "last_hidden_state")
        return output if output.dim() == 2 else pooled(output, mask, self.pool)


class OpenClipText(nn.Module):
    """The text tower of an open_clip model: ids, mask [B, L] -> [B, feature_dim], pooled and projected as it does.

    Attributes: `feature_dim`, `length`.
    """

    def __init__(self, model: nn.Module, feature_dim: int, length: int) -> None:
        super().__init__()
        self.model, self.feature_dim, self.length = model, feature_dim, length

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids int64 [B, L], mask bool [B, L] -> [B, feature_dim]."""
        check_tokens(ids, mask, self.length)
        # Its causal mask, and some poolings, are for rows of full length.
        ids = F.pad(ids, (0, self.length - ids.shape[1]), value=cast(int, self.model.pad_id))
        return cast(Tensor, self.model(ids))


def huggingface_text(path: Path | None, length: int, pool: Pool) -> tuple[Tokenizer, nn.Module]:
    """Tokenizer and encoder of a folder written by `save_pretrained`; `length` is cut to what the model can read.

    Raises ConfigError where transformers is not installed, for a folder it cannot read, and where weights are missing.
    """
    folder = existing_folder(path)
    transformers = optional("transformers", "the text encoder 'huggingface'", "transformers")
    config = from_folder(transformers.AutoConfig, folder)
    text = config.get_text_config()
    places = getattr(text, "max_position_embeddings", None) or length
    tokenizer = HuggingFaceTokenizer(folder, length=min(length, places))
    clip = config.model_type in ("clip", "clip_text_model")
    if clip:  # of a whole CLIP the width is in the outer configuration alone
        text.projection_dim = config.projection_dim
    auto = transformers.CLIPTextModelWithProjection if clip else transformers.AutoModel
    model, report = from_folder(auto, folder, config=text if clip else config, output_loading_info=True)
    missing = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        found = f"{len(missing)} missing, such as {sorted(missing)[0]}"
        raise ConfigError("the folder's weights are not those of its config.json", where=folder, found=found)
    model = model.get_encoder() if config.is_encoder_decoder else model
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # a layer behind the first token, which is not read
    if tokenizer.vocabulary > model.get_input_embeddings().num_embeddings:
        found = f"{tokenizer.vocabulary} tokens, {model.get_input_embeddings().num_embeddings} embeddings"
        raise ConfigError("the folder's tokenizer is of another model", where=folder, found=found)
    width = text.projection_dim if clip else getattr(text, "hidden_size", None) or text.d_model
    return tokenizer, HuggingFaceText(model, int(width), tokenizer.length, pool)


def open_clip_text(path: Path | None, length: int) -> tuple[Tokenizer, nn.Module]:
    """Tokenizer and text tower of a folder with open_clip_config.json and weights (FetalCLIP, LAION, OpenAI format).

    Raises ConfigError where open_clip is not installed, for a folder it cannot read, without weights, or with a
    tokenizer that is not CLIP's.
    """
    folder = existing_folder(path)
    open_clip = optional("open_clip", "the text encoder 'open_clip'", "open_clip_torch")
    text = _open_clip_config(folder)
    try:
        model = open_clip.create_model(
            f"local-dir:{folder.resolve()}", force_custom_text=True, pretrained_text=False, require_pretrained=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"open_clip cannot read this folder: {reason[:200]}", where=folder) from None
    tower, context = model.text, int(model.text.context_length)
    tokenizer = ClipTokenizer(length=min(length, context), clean=text.get("tokenizer_kwargs", {}).get("clean", "lower"))
    if tower.vocab_size != tokenizer.vocabulary:
        found = f"{tower.vocab_size} embeddings, {tokenizer.vocabulary} tokens"
        raise ConfigError("the model's vocabulary is not CLIP's", where=folder, found=found)
    with torch.no_grad():
        width = tower.eval()(torch.zeros(1, context, dtype=torch.int64)).shape[1]
    return tokenizer, OpenClipText(tower.train(), width, context)


def _open_clip_config(folder: Path) -> dict[str, Any]:
    file = folder / "open_clip_config.json"
    try:
        text: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"not the configuration of an open_clip model: {error!r}"[:200], where=file) from None
    for name in ("hf_model_name", "hf_tokenizer_name"):
        if text.get(name):
            fix = "Save its text model with transformers and use text.kind 'huggingface'."
            raise ConfigError("the model's text encoder is not open_clip's own", where=file, found=text[name], fix=fix)
    return text
