"""Tokenizers: the known ids, what is cut and padded, and state that only the same tokenizer takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.encoders import tokenizers
from nearfar.encoders.tokenizers import (
    ByteTokenizer,
    ClipTokenizer,
    HuggingFaceTokenizer,
    WordTokenizer,
    tokenizer_from_state,
)
from nearfar.errors import ConfigError, DataError

CAPTIONS = ["Fetal head, GA 12+3.", "Fetal abdomen; GA 13+0.", "fetal head"]


def rows(tokens: tuple[Tensor, Tensor]) -> list[list[int]]:
    ids, mask = tokens
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool and ids.shape == mask.shape
    return [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]


def test_words_by_frequency() -> None:
    tokenizer = WordTokenizer.build(CAPTIONS, 32)
    assert tokenizer.words[:5] == ("fetal", "+", ".", "ga", "head")
    fetal, head = (3 + tokenizer.words.index(word) for word in ("fetal", "head"))
    assert rows(tokenizer(["FETAL head", "head spleen", ""])) == [[1, fetal, head], [1, head, 2], [1]]
    assert WordTokenizer.build(reversed(CAPTIONS), 32).hash == tokenizer.hash


def test_the_table_of_words_has_a_fixed_size() -> None:
    small = WordTokenizer.build(CAPTIONS, 5)
    assert small.words == ("fetal", "+") and small.vocabulary == 5
    assert max(max(row) for row in rows(small(CAPTIONS))) == 4
    assert WordTokenizer.build([], 5).words == () and rows(WordTokenizer(vocabulary=5)(["head"])) == [[1, 2]]


def test_numbers_are_made_of_known_parts_and_forms_of_one_sign_are_equal() -> None:
    tokenizer = WordTokenizer.build(["1.8 mm 12 \u00b5m"], 32)
    assert 2 not in rows(tokenizer(["12.8", "\u03bcm"]))[0] and rows(tokenizer(["\u03bcm"])) == rows(
        tokenizer(["\u00b5m"])
    )


def test_bytes() -> None:
    assert rows(ByteTokenizer(length=4)(["ab", "\u00e9", "", "abcdef"])) == [
        [1, 99, 100],
        [1, 0xC3 + 2, 0xA9 + 2],
        [1],
        [1, 99, 100, 101],
    ]


@pytest.mark.parametrize("make", [lambda: WordTokenizer.build(CAPTIONS, 32, 6), lambda: ByteTokenizer(length=6)])
def test_rows_are_padded_to_the_longest_and_cut(make: Any) -> None:
    tokenizer = make()
    ids, mask = tokenizer(["head", "fetal head fetal head fetal head"])
    assert ids.shape == (2, 6) and mask[1].all() and not ids[0][~mask[0]].any()
    assert tokenizer(["a"])[0].shape[1] == 2 and tokenizer([])[0].shape == (0, 1)


@pytest.mark.parametrize("case", range(5))
def test_byte_pairs_of_clip(golden_dir: Path, case: int) -> None:
    pytest.importorskip("open_clip")
    known = json.loads((golden_dir / "spatialclip" / "tokenizer.json").read_text(encoding="utf-8"))
    assert rows(ClipTokenizer()([known["captions"][case]])) == [known["ids_ctx77"][case]]


def test_clip_keeps_the_end_of_a_long_caption(golden_dir: Path) -> None:
    pytest.importorskip("open_clip")
    known = json.loads((golden_dir / "spatialclip" / "tokenizer.json").read_text(encoding="utf-8"))
    cut = known["truncation"]
    ids, mask = ClipTokenizer(length=cut["context"])([cut["text"], "!"])
    assert ids[0, -1] == cut["last_id"] and (ids[0] != 0).sum() == cut["n_nonzero"]
    assert mask[0].all() and mask[1].sum() == 3 and ids[1, [0, 2]].tolist() == [known["sot"], known["eot"]]


def folder_with_words(folder: Path, words: str = "fetal head abdomen") -> Path:
    """A tokenizer of transformers over these words, without any download."""
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("tokenizers")
    ids = {word: i for i, word in enumerate(["</s>", "<pad>", "<unk>", *words.split()])}
    backend = library.Tokenizer(library.models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", padding_side="left"
    ).save_pretrained(folder)
    return folder


def test_the_tokenizer_of_a_folder(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(folder_with_words(tmp_path), length=3)
    ids, mask = tokenizer(["head", "fetal fetal head head", ""])
    assert ids.tolist() == [[4, 1, 1], [3, 3, 4], [1, 1, 1]]
    assert mask.tolist() == [[True, False, False], [True] * 3, [True, False, False]]


@pytest.mark.parametrize("kind", ["word", "byte", "clip", "huggingface"])
def test_state_is_plain_and_makes_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    if kind == "clip":
        pytest.importorskip("open_clip")
    made = {
        "word": lambda: WordTokenizer.build(CAPTIONS, 32, 9),
        "byte": lambda: ByteTokenizer(length=9),
        "clip": lambda: ClipTokenizer(length=9),
        "huggingface": lambda: HuggingFaceTokenizer(folder_with_words(tmp_path), length=9),
    }[kind]()
    state = json.loads(json.dumps(made.state()))
    again = tokenizer_from_state(state)
    assert (again.kind, again.hash, again.length, again.vocabulary) == (kind, made.hash, 9, made.vocabulary)
    assert rows(again(CAPTIONS)) == rows(made(CAPTIONS))
    with pytest.raises(ConfigError, match=r"another tokenizer.*hash 0000"):
        tokenizer_from_state({**state, "hash": "0" * 64})
    with pytest.raises(ConfigError, match="another tokenizer"):
        tokenizer_from_state({**state, "length": 8})


def test_a_changed_folder_is_refused_and_a_moved_one_is_not(tmp_path: Path) -> None:
    state = HuggingFaceTokenizer(folder_with_words(tmp_path / "a")).state()
    (tmp_path / "a").rename(tmp_path / "b")
    assert tokenizer_from_state(state, tmp_path / "b").hash == state["hash"]
    with pytest.raises(ConfigError, match="no such folder"):
        tokenizer_from_state(state)
    folder_with_words(tmp_path / "b", "head fetal abdomen")
    with pytest.raises(ConfigError, match="another tokenizer"):
        tokenizer_from_state(state, tmp_path / "b")


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'word'"):
        tokenizer_from_state({"kind": "words"})
    with pytest.raises(ConfigError, match=r"not whole.*'length'"):
        tokenizer_from_state({"kind": "byte", "hash": ""})
    with pytest.raises(ConfigError, match=r"text\.vocabulary.*found 2.*3 or more"):
        WordTokenizer.build(CAPTIONS, 2)
    with pytest.raises(ConfigError, match=r"text\.length"):
        ByteTokenizer(length=0)
    with pytest.raises(ConfigError, match="do not fit the table"):
        WordTokenizer(["a", "b"], vocabulary=4)
    for wrong in ("head", ["head", None]):
        with pytest.raises(DataError, match="list of texts"):
            ByteTokenizer()(wrong)  # type: ignore[arg-type]
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="transformers cannot read this folder") as caught:
        HuggingFaceTokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", ["open_clip.tokenizer", "transformers", "peft"])
def test_a_missing_library_is_one_line_with_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=re.escape("x needs y: pip install 'nearfar[text]'")):
        tokenizers.optional(module, "x", "y")


@pytest.mark.slow
def test_nothing_optional_is_imported_with_the_package() -> None:
    optional = "{'open_clip', 'transformers', 'peft'}"
    code = f"import sys, nearfar.encoders.text; print(sorted({optional} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
