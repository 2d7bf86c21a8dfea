"""Text encoders: a small transformer for offline use, and models of open_clip and transformers from local folders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.config import TextConfig
from nearfar.encoders.lora import add_lora
from nearfar.encoders.text_models import huggingface_text, open_clip_text
from nearfar.encoders.text_pooling import Pool, check_tokens, pooled, pooling
from nearfar.encoders.tokenizers import (
    ByteTokenizer,
    ClipTokenizer,
    HuggingFaceTokenizer,
    Tokenizer,
    WordTokenizer,
    tokenizer_from_state,
)
from nearfar.errors import ConfigError, did_you_mean

__all__ = [
    "ByteTokenizer",
    "ClipTokenizer",
    "HuggingFaceTokenizer",
    "TextEncoder",
    "Tokenizer",
    "WordTokenizer",
    "build_text",
    "tokenizer_from_state",
]

Kind = Literal["word", "byte", "clip", "open_clip", "huggingface"]


class _Block(nn.Module):
    """Attention and perceptron, each behind a norm.

    Not nn.TransformerEncoderLayer: in evaluation that one reads weights past the adapters on its layers.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, dim], mask bool [B, L] -> [B, L, dim]."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None], dropout_p=dropout)
        x = x + self.drop(self.proj(seen.transpose(1, 2).flatten(2)))
        return cast(Tensor, x + self.drop(self.mlp(self.norm2(x))))


class TextEncoder(nn.Module):
    """A small transformer (pre-norm, GELU, bidirectional, learned positions): ids and mask [B, L] -> [B, dim].

    Padding is never attended to and never pooled, so a caption's features do not depend on its batch.
    pool: "mean" over the tokens, or the "last" token.
    Raises ConfigError for sizes that do not fit, ShapeError for rows longer than `length`.

    Attributes: `feature_dim` = dim, `vocabulary`, `length`.
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int = 64,
        heads: int = 4,
        layers: int = 2,
        length: int = 117,
        *,
        pool: Pool = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(vocabulary, dim, heads, layers, length) < 1 or dim % heads:
            raise ConfigError(
                "a text encoder cannot be built with these sizes",
                where="text",
                found=f"vocabulary {vocabulary}, dim {dim}, heads {heads}, layers {layers}, length {length}",
                expected="all of them 1 or more, and dim a multiple of heads",
            )
        self.pool, self.feature_dim, self.vocabulary, self.length = pooling(pool), dim, vocabulary, length
        self.token = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.empty(length, dim))
        for table in (self.token.weight, self.position):
            nn.init.normal_(table, std=0.02)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids int64 [B, L], mask bool [B, L] (True: a token) -> [B, dim]."""
        check_tokens(ids, mask, self.length)
        x = self.token(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return pooled(self.norm(x), mask, self.pool)


def build_text(config: TextConfig, captions: Iterable[str] | None = None) -> tuple[Tokenizer, nn.Module]:
    """The tokenizer and the encoder (ids [B, L], mask [B, L]) -> [B, encoder.feature_dim] of a configuration.

    captions: of the training data, from which kind "word" takes its vocabulary. Without them it has none yet, every
    word being unknown: for weights whose tokenizer follows from their checkpoint (`tokenizer_from_state`). The encoder
    is the same either way, because its table has `config.vocabulary` rows.
    Raises ConfigError for an unknown kind, a folder that holds no such model, or an extra that is not installed.
    """
    if config.kind not in get_args(Kind):
        fix = did_you_mean(config.kind, get_args(Kind), quote="'")
        raise ConfigError("unknown kind of text encoder", where="text.kind", found=config.kind, fix=fix)
    tokenizer, encoder = _model(config) if config.kind in ("open_clip", "huggingface") else _small(config, captions)
    if config.lora:
        add_lora(encoder, config.lora, config.lora_rank, config.lora_alpha)
    return tokenizer, encoder


def _small(config: TextConfig, captions: Iterable[str] | None) -> tuple[Tokenizer, nn.Module]:
    tokenizer: Tokenizer
    if config.kind == "word":
        tokenizer = WordTokenizer.build(captions or (), config.vocabulary, config.length)
    elif config.kind == "byte":
        tokenizer = ByteTokenizer(length=config.length)
    else:
        tokenizer = ClipTokenizer(length=config.length)
    sizes = (tokenizer.vocabulary, config.dim, config.heads, config.layers, config.length)
    return tokenizer, TextEncoder(*sizes, pool=config.pool)


def _model(config: TextConfig) -> tuple[Tokenizer, nn.Module]:
    if config.kind == "open_clip":
        return open_clip_text(config.path, config.length)
    return huggingface_text(config.path, config.length, pooling(config.pool))
