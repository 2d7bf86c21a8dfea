"""From captions to token ids: words, bytes, CLIP's byte pairs, or the tokenizer of a Hugging Face folder.

All of them work offline. A tokenizer's `state` is plain data for a checkpoint and carries a hash of everything that ids
depend on; `tokenizer_from_state` refuses to go on with another one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from nearfar.errors import ConfigError, DataError, did_you_mean, missing_extra

PAD, START, UNKNOWN = 0, 1, 2
State = dict[str, Any]


class Tokenizer(Protocol):
    """What a text encoder needs of a tokenizer.

    `kind`; `vocabulary`, the number of ids; `length`, the tokens a caption has at most; `hash`, of all that ids depend
    on; `state()`, plain data from which `tokenizer_from_state` makes the same one.
    """

    @property
    def kind(self) -> str: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def hash(self) -> str: ...
    def state(self) -> State: ...
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """B texts -> ids int64 [B, L] and mask bool [B, L], True where a token is; L is that of the longest here.

        Every row has at least one token, an empty caption too. Raises DataError for anything but texts.
        """
        ...


class WordTokenizer:
    """Words, numbers and single punctuation marks of the captions it is built from, in lower case (Unicode NFKC).

    Ids: 0 padding, 1 start, 2 every other word, then `words`. `vocabulary` is the size of the table, which may have
    room left: a text encoder then fits whatever words follow.
    """

    kind = "word"

    def __init__(self, words: Sequence[str] = (), *, vocabulary: int = 1024, length: int = 117) -> None:
        _at_least(UNKNOWN + 1, "vocabulary", vocabulary)
        _at_least(1, "length", length)
        if len(words) + UNKNOWN + 1 > vocabulary or len(set(words)) < len(words):
            room = vocabulary - UNKNOWN - 1
            raise ConfigError(
                "words do not fit the table", found=f"{len(words)} words", expected=f"{room} different ones"
            )
        self.words, self.vocabulary, self.length = tuple(words), vocabulary, length
        self._ids = {word: i for i, word in enumerate(self.words, UNKNOWN + 1)}

    @classmethod
    def build(cls, captions: Iterable[str], size: int = 1024, length: int = 117) -> WordTokenizer:
        """The most frequent words of the captions (ties by alphabet) in a table of `size` rows."""
        counts = Counter(word for caption in _texts(list(captions)) for word in _words(caption))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: max(0, size - UNKNOWN - 1)], vocabulary=size, length=length)

    @cached_property
    def hash(self) -> str:
        return _hash(self.kind, self.vocabulary, self.length, *self.words)

    def state(self) -> State:
        sizes = {"vocabulary": self.vocabulary, "length": self.length}
        return {"kind": self.kind, "hash": self.hash, "words": list(self.words), **sizes}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = ([START, *(self._ids.get(word, UNKNOWN) for word in _words(text))] for text in _texts(texts))
        return _padded([row[: self.length] for row in rows])


class ByteTokenizer:
    """UTF-8 bytes, without any vocabulary. Ids: 0 padding, 1 start, then byte + 2."""

    kind, vocabulary = "byte", 258

    def __init__(self, *, length: int = 117) -> None:
        _at_least(1, "length", length)
        self.length = length

    @cached_property
    def hash(self) -> str:
        return _hash(self.kind, self.length)

    def state(self) -> State:
        return {"kind": self.kind, "hash": self.hash, "length": self.length}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = ([START, *(byte + 2 for byte in text.encode("utf-8", "replace"))] for text in _texts(texts))
        return _padded([row[: self.length] for row in rows])


class ClipTokenizer:
    """CLIP's byte pairs (Radford et al. 2021), from the vocabulary that comes with open_clip: 49,408 ids.

    Start 49406, end 49407; the end stays where a long caption is cut. clean: how open_clip cleans a text.
    Raises ConfigError where open_clip is not installed.
    """

    kind = "clip"

    def __init__(self, *, length: int = 77, clean: str = "lower") -> None:
        _at_least(2, "length", length)
        self._module = optional("open_clip.tokenizer", "the tokenizer 'clip'", "open_clip_torch")
        self._tokenizer = self._module.SimpleTokenizer(context_length=length, clean=clean)
        self.length, self.clean, self.vocabulary = length, clean, int(self._tokenizer.vocab_size)

    @cached_property
    def hash(self) -> str:
        content = hashlib.sha256(Path(self._module.default_bpe()).read_bytes()).hexdigest()
        return _hash(self.kind, self.length, self.clean, content)

    def state(self) -> State:
        return {"kind": self.kind, "hash": self.hash, "length": self.length, "clean": self.clean}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        first, last, room = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id, self.length - 2
        return _padded([[first, *self._tokenizer.encode(text)[:room], last] for text in _texts(texts)])


class HuggingFaceTokenizer:
    """The tokenizer that a local folder holds, as transformers reads it. Nothing is downloaded or executed.

    Its hash is that of the folder's tokenizer files. Raises ConfigError for a folder without a tokenizer, or where
    transformers, or what this tokenizer needs beside it, is not installed.
    """

    kind = "huggingface"

    def __init__(self, path: Path, *, length: int = 117) -> None:
        _at_least(1, "length", length)
        self.path = existing_folder(path)
        transformers = optional("transformers", "the tokenizer 'huggingface'", "transformers")
        self._tokenizer = from_folder(transformers.AutoTokenizer, self.path)
        self._tokenizer.padding_side = self._tokenizer.truncation_side = "right"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self.length, self.vocabulary = min(length, int(self._tokenizer.model_max_length)), len(self._tokenizer)

    @cached_property
    def hash(self) -> str:
        files = sorted(file for pattern in _TOKENIZER_FILES for file in self.path.glob(pattern))
        contents = (f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)
        return _hash(self.kind, self.length, *contents)

    def state(self) -> State:
        return {"kind": self.kind, "hash": self.hash, "length": self.length, "path": str(self.path)}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = self._tokenizer(_texts(texts), truncation=True, max_length=self.length)["input_ids"]
        pad = self._tokenizer.pad_token_id or 0
        return _padded([row or [pad] for row in rows], pad)


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "merges.txt", "added_tokens.json", "*.model")


def tokenizer_from_state(state: Mapping[str, Any], path: Path | None = None) -> Tokenizer:
    """The tokenizer whose `state()` this is. path: where its folder lies now, where it has one.

    Raises ConfigError for an unknown kind, a state without what its kind needs, and where files of another content
    lie under the path (or another open_clip is installed), so that ids would mean other tokens.
    """
    makers: dict[str, Callable[[], Tokenizer]] = {
        "word": lambda: WordTokenizer(state["words"], vocabulary=state["vocabulary"], length=state["length"]),
        "byte": lambda: ByteTokenizer(length=state["length"]),
        "clip": lambda: ClipTokenizer(length=state["length"], clean=state["clean"]),
        "huggingface": lambda: HuggingFaceTokenizer(path or Path(state["path"]), length=state["length"]),
    }
    kind = state.get("kind")
    if kind not in makers:
        expected = ", ".join(makers)
        raise ConfigError(f"unknown tokenizer {kind!r}", expected=expected, fix=did_you_mean(kind, makers, quote="'"))
    try:
        made, saved = makers[str(kind)](), str(state["hash"])
    except KeyError as error:
        raise ConfigError(f"the saved tokenizer {kind!r} is not whole", expected=f"{error.args[0]!r}") from None
    same_tokenizer(made.hash, saved, str(kind))
    return made


def same_tokenizer(found: str, expected: str, kind: str) -> None:
    """Raise ConfigError unless the tokenizer at hand has the hash of the one that the weights were learned with."""
    if found != expected:
        raise ConfigError(
            "the weights were learned with another tokenizer",
            where=f"tokenizer {kind!r}",
            found=f"hash {found[:12]}",
            expected=f"hash {expected[:12]}",
            fix="Use the files, or the version of the library, that the run was trained with.",
        )


def optional(module: str, what: str, package: str) -> Any:
    """An optional module, or the one line that names the extra it comes with."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise missing_extra(what, package, "text") from None


def existing_folder(path: Path | None) -> Path:
    """Raise ConfigError where there is none: a name there would be looked up on the internet."""
    if path is None or not Path(path).is_dir():
        fix = "Name a local folder; nothing is downloaded."
        raise ConfigError("there is no such folder of a text model", where="text.path", found=path or "none", fix=fix)
    return Path(path)


def from_folder(auto: Any, path: Path, **options: Any) -> Any:
    """`from_pretrained` of one of transformers' Auto classes; what it raises becomes one line."""
    try:
        return auto.from_pretrained(str(path), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"transformers cannot read this folder: {reason[:200]}", where=path) from None


def _words(text: str) -> list[str]:
    # Letters, digits and marks apart, so that "1.8" and "12+3" are made of words that other captions have too.
    return re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", unicodedata.normalize("NFKC", text).lower())


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or any(not isinstance(text, str) for text in texts):
        wrong = texts if isinstance(texts, str) else next(text for text in texts if not isinstance(text, str))
        raise DataError("captions are a list of texts", found=repr(wrong)[:60])
    return list(texts)


def _padded(rows: Sequence[Sequence[int]], pad: int = PAD) -> tuple[Tensor, Tensor]:
    longest = max((len(row) for row in rows), default=1)
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], dtype=torch.int64)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return ids.reshape(len(rows), longest), torch.arange(longest) < lengths[:, None]


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def _at_least(least: int, name: str, number: int) -> None:
    if number < least:
        what = f"too small a {name} of a tokenizer"
        raise ConfigError(what, where=f"text.{name}", found=number, expected=f"{least} or more")
