"""What reads questions: learnt on them, or a frozen model from a local folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nearfar.errors import ConfigError
from nearfar.evaluate.question_text import Pretrained, make_reader

QUESTIONS = ["is the head in the box", "is the head on the box", "is the head in the box"]


def bert(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "is", "the", "head", "in", "on", "box"])}
    backend = library.Tokenizer(library.models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["bag", "gru"])
def test_small_readers(kind: str) -> None:
    words, reader = make_reader(kind, QUESTIONS, 8)  # type: ignore[arg-type]
    read = reader(words(QUESTIONS))
    assert read.shape == (3, 8) and torch.equal(read[0], read[2]) and not torch.equal(read[0], read[1])


def test_a_pretrained_model_reads_and_stays_as_it_is(tmp_path: Path) -> None:
    words, reader = make_reader("huggingface", [], 8, bert(tmp_path))
    assert isinstance(words, Pretrained)
    features = words(QUESTIONS)
    assert features.shape == (3, 16) and not features.requires_grad
    assert torch.equal(features[0], features[2]) and not torch.equal(features[0], features[1])
    torch.testing.assert_close(features[1:2], words(QUESTIONS[1:2]))
    assert reader(features).shape == (3, 8)
    assert [name for name, _ in reader.named_parameters()] == ["weight", "bias"]


def test_an_unknown_reader_and_a_model_without_a_path_are_named() -> None:
    with pytest.raises(ConfigError, match=r"eval\.text"):
        make_reader("bert", QUESTIONS, 8)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="path"):
        make_reader("huggingface", QUESTIONS, 8)
