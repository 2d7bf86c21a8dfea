"""Reading short questions: two small networks that learn from the questions alone, or a local pretrained model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nearfar.config import TextConfig
from nearfar.encoders.text import build_text
from nearfar.errors import ConfigError

Kind = Literal["bag", "gru", "open_clip", "huggingface"]
UNKNOWN = 1
"""number of a word that training did not have; 0 fills up"""
LONGEST = 40  # words of a question that are read


def words_of(question: str) -> list[str]:
    """Lower-case words."""
    return re.findall(r"[a-z0-9']+", question.lower())[:LONGEST]


class Vocabulary:
    """Words of training questions, and for `pairs` also neighbouring pairs of words, by number from 2.

    Words that occur once are unknown ones: what stands for them is then learnt.
    """

    def __init__(self, questions: Sequence[str], pairs: bool) -> None:
        self.pairs = pairs
        counts = Counter(unit for question in questions for unit in self._units(question))
        self.numbers = {unit: i for i, unit in enumerate(sorted(u for u, n in counts.items() if n > 1), start=2)}

    def __len__(self) -> int:
        return len(self.numbers) + 2

    def __call__(self, questions: Sequence[str]) -> Tensor:
        """Questions as int64 [n, longest], filled up with 0 at the end; at least one column."""
        rows = [[self.numbers.get(unit, UNKNOWN) for unit in self._units(question)] for question in questions]
        width = max([1, *map(len, rows)])
        return torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.int64).reshape(-1, width)

    def _units(self, question: str) -> list[str]:
        words = words_of(question)
        return words + [f"{a} {b}" for a, b in pairwise(words)] if self.pairs else words


class BagReader(nn.Module):
    """Tokens [n, L] -> [n, width]: the mean of the embeddings of words and pairs of words."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(tokens, width, mode="mean", padding_idx=0)

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.embedding(tokens))


class GruReader(nn.Module):
    """Tokens [n, L] -> [n, width]: the state of a gated recurrent network (Cho et al. 2014) at the last word."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width // 2, padding_idx=0)
        self.gru = nn.GRU(width // 2, width, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.gru(self.embedding(tokens))
        last = (tokens > 0).sum(1).clamp(min=1) - 1
        return cast(Tensor, states[torch.arange(len(tokens)), last])


class Pretrained:
    """Questions -> features [n, D] of a text model that learns nothing here; equal questions are read once."""

    def __init__(self, config: TextConfig) -> None:
        self.tokenizer, self.encoder = build_text(config)
        self.encoder.eval()

    @torch.no_grad()
    def __call__(self, questions: Sequence[str]) -> Tensor:
        place = {question: i for i, question in enumerate(dict.fromkeys(questions))}
        texts = list(place)
        parts = [self.encoder(*self.tokenizer(texts[i : i + 64])).float() for i in range(0, len(texts), 64)]
        return torch.cat(parts)[[place[question] for question in questions]]

    @property
    def width(self) -> int:
        """D."""
        return cast(int, self.encoder.feature_dim)


Reader = BagReader | GruReader | nn.Linear
READERS: dict[str, type[BagReader] | type[GruReader]] = {"bag": BagReader, "gru": GruReader}


def make_reader(
    kind: Kind, questions: Sequence[str], width: int, path: Path | None = None
) -> tuple[Vocabulary | Pretrained, Reader]:
    """What makes numbers of questions, and an untrained reader of those numbers.

    bag and gru learn from the `questions`; open_clip and huggingface are models in the folder `path`, frozen, with one
    layer on their features. Raises ConfigError for an unknown kind, or a model without a path or a package.
    """
    if kind in READERS:
        vocabulary = Vocabulary(questions, pairs=kind == "bag")
        return vocabulary, READERS[kind](len(vocabulary), width)
    if kind not in ("open_clip", "huggingface"):
        expected = "bag | gru | open_clip | huggingface"
        raise ConfigError("unknown reader of questions", where="eval.text", found=kind, expected=expected)
    model = Pretrained(TextConfig(kind=kind, path=path))
    return model, nn.Linear(model.width, width)
