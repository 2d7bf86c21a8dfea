"""Text encoders: the small transformer, and tiny random models of open_clip and transformers from local folders."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nearfar.config import TextConfig
from nearfar.encoders.lora import add_lora
from nearfar.encoders.text import TextEncoder, build_text, tokenizer_from_state
from nearfar.encoders.text_models import HuggingFaceText, unwrap
from nearfar.encoders.text_pooling import pooled
from nearfar.errors import ConfigError, ShapeError

SMALL = TextConfig(dim=16, heads=2, layers=2, length=12, vocabulary=40)
CAPTIONS = ["fetal head", "head", "fetal head abdomen abdomen head fetal"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refused(*_: Any) -> None:
        raise AssertionError("a text model reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    yield


def features(config: TextConfig, captions: list[str] = CAPTIONS) -> tuple[nn.Module, Tensor]:
    tokenizer, encoder = build_text(config, captions)
    with torch.no_grad():
        return encoder, encoder.eval()(*tokenizer(captions))


def check_features(config: TextConfig, width: int, tolerance: float = 1e-5) -> nn.Module:
    """A caption's features are of the promised width, differ between captions, and do not depend on padding."""
    tokenizer, encoder = build_text(config, CAPTIONS)
    encoder.eval()
    with torch.no_grad():
        together = encoder(*tokenizer(CAPTIONS))
        alone = torch.cat([encoder(*tokenizer([caption])) for caption in CAPTIONS])
    assert together.shape == (3, width) and encoder.feature_dim == width
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    assert torch.pdist(together).min() > 1e-3
    out = encoder.train()(*tokenizer([*CAPTIONS, ""]))
    out.square().sum().backward()
    assert out.isfinite().all() and any(p.grad is not None and p.grad.any() for p in encoder.parameters())
    return encoder


@pytest.mark.parametrize("kind", ["word", "byte"])
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_small_encoders(kind: Any, pool: Any) -> None:
    check_features(replace(SMALL, kind=kind, pool=pool, length=40), 16)


def test_small_encoder_of_clips_byte_pairs() -> None:
    pytest.importorskip("open_clip")
    encoder = check_features(replace(SMALL, kind="clip"), 16)
    assert encoder.vocabulary == 49408


def test_the_encoder_of_words_fits_a_vocabulary_that_follows() -> None:
    tokenizer, encoder = build_text(SMALL, CAPTIONS)
    early, other = build_text(SMALL)
    assert early.hash != tokenizer.hash and early(["head"])[0].tolist() == [[1, 2]]
    other.load_state_dict(encoder.state_dict())
    restored = tokenizer_from_state(tokenizer.state())
    ids, mask = restored(CAPTIONS)
    torch.testing.assert_close(other.eval()(ids, mask), encoder.eval()(ids, mask))


def test_pooling() -> None:
    tokens = torch.arange(24.0).reshape(2, 4, 3)
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    torch.testing.assert_close(pooled(tokens, mask, "last"), torch.stack([tokens[0, 1], tokens[1, 3]]))
    torch.testing.assert_close(pooled(tokens, mask, "mean"), torch.stack([tokens[0, :2].mean(0), tokens[1].mean(0)]))
    # Padding on the left: the last token is still the last one that is there.
    torch.testing.assert_close(pooled(tokens, ~mask | mask[1:], "last")[0], tokens[0, 3])


def biogpt(folder: Path, **options: Any) -> Path:
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "fetal", "head", "abdomen"])}
    backend = library.Tokenizer(library.models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    backend.post_processor = library.processors.TemplateProcessing("</s> $A", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    ).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BioGptConfig(**({"vocab_size": 20, **sizes, "max_position_embeddings": 64} | options))
    transformers.BioGptModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_biogpt(tmp_path: Path, pool: Any) -> None:
    encoder = check_features(replace(SMALL, kind="huggingface", path=biogpt(tmp_path), pool=pool, length=117), 32)
    assert encoder.length == 64  # what the model has positions for


def test_the_last_token_of_a_causal_model_has_seen_the_caption_and_the_first_has_not(tmp_path: Path) -> None:
    tokenizer, encoder = build_text(TextConfig(kind="huggingface", path=biogpt(tmp_path), pool="last"))
    with torch.no_grad():
        ids, mask = tokenizer(["head head abdomen", "fetal head abdomen"])
        hidden = encoder.eval().model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(encoder(ids, mask), hidden[:, -1])
    assert torch.equal(hidden[0, 0], hidden[1, 0])


def test_a_bidirectional_model_without_its_pooler(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    biogpt(tmp_path)  # for its tokenizer
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path)
    encoder = check_features(TextConfig(kind="huggingface", path=tmp_path), 32)
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


def test_clip_of_transformers_keeps_its_text_alone(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    biogpt(tmp_path)
    both = {"intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision = {"hidden_size": 32, "image_size": 32, "patch_size": 16, **both}
    text = {"vocab_size": 20, "hidden_size": 24, "max_position_embeddings": 16, **both}
    special = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    config = transformers.CLIPConfig(projection_dim=48, vision_config=vision, text_config={**text, **special})
    whole = transformers.CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    tokenizer, encoder = build_text(TextConfig(kind="huggingface", path=tmp_path, length=10))
    ids, mask = tokenizer(CAPTIONS)
    with torch.no_grad():
        expected = unwrap(whole.get_text_features(input_ids=ids, attention_mask=mask.long()), "pooler_output")
        torch.testing.assert_close(encoder.eval()(ids, mask), expected)
    assert encoder.feature_dim == 48 and not [name for name, _ in encoder.named_parameters() if "vision" in name]


def open_clip_folder(folder: Path, **text: Any) -> tuple[Path, Any]:
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    sizes = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": {**sizes, **text}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
    model = open_clip.CLIP(**config).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder, model


def test_open_clip(tmp_path: Path) -> None:
    folder, whole = open_clip_folder(tmp_path)
    encoder = check_features(TextConfig(kind="open_clip", path=folder), 24)
    tokenizer, _ = build_text(TextConfig(kind="open_clip", path=folder))
    ids, mask = tokenizer(CAPTIONS)
    assert tokenizer.length == 20 and tokenizer.kind == "clip"
    with torch.no_grad():
        expected = whole.encode_text(torch.nn.functional.pad(ids, (0, 20 - ids.shape[1])))
        torch.testing.assert_close(encoder.eval()(ids, mask), expected, rtol=1e-4, atol=1e-5)
    assert not [name for name, _ in encoder.named_parameters() if "visual" in name]


def test_open_clip_that_reads_the_last_place_sees_full_rows(tmp_path: Path) -> None:
    folder, whole = open_clip_folder(tmp_path, pool_type="last", no_causal_mask=True)
    tokenizer, encoder = build_text(TextConfig(kind="open_clip", path=folder))
    ids, mask = tokenizer(CAPTIONS)
    full = torch.nn.functional.pad(ids, (0, 20 - ids.shape[1]))
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(ids, mask), whole.encode_text(full), rtol=1e-4, atol=1e-5)


def test_adapters_start_as_nothing_and_alone_learn(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plain = TextConfig(kind="huggingface", path=biogpt(tmp_path), lora_rank=2)
    encoder, expected = features(replace(plain, lora=("q_proj", "v_proj")))
    torch.testing.assert_close(expected, features(plain)[1])
    learning = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert len(learning) == 8 and all("lora_" in name and ("q_proj" in name or "v_proj" in name) for name in learning)
    before = expected.clone()
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if "lora_B" in name:
                p.fill_(0.1)
        tokenizer, _ = build_text(plain)
        assert (encoder(*tokenizer(CAPTIONS)) - before).abs().max() > 1e-3


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner[0](x, x, x)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: TextEncoder(20, 8, 2, 2, 8), "qkv"), (lambda: TextEncoder(20, 8, 2, 2, 8), "mlp.3"), (Attends, "0")],
)
def test_adapters_work_in_evaluation_as_in_training(make: Any, name: str) -> None:
    pytest.importorskip("peft")
    module = make().eval()
    ids, mask = torch.randint(20, (3, 5)), torch.ones(3, 5, dtype=torch.bool)
    inputs = (ids, mask) if isinstance(module, TextEncoder) else (torch.randn(3, 5, 8),)
    with torch.no_grad():
        plain = module(*inputs)
        assert add_lora(module, [name], rank=2)
        torch.testing.assert_close(module.eval()(*inputs), plain)
        for key, p in module.named_parameters():
            if "lora_B" in key:
                p.copy_(torch.randn_like(p))
        changed = module(*inputs)
    assert (changed - plain).abs().max() > 1e-2
    learning = module(*inputs)
    torch.testing.assert_close(learning, changed)
    assert learning.requires_grad


def test_adapters_on_layers_that_would_not_use_them_are_refused() -> None:
    pytest.importorskip("peft")
    encoder = TextEncoder(20, 16, 2, 2, 8)
    assert add_lora(encoder, ["proj"], rank=2) == ["blocks.0.proj", "blocks.1.proj"]
    with pytest.raises(ConfigError, match=r"passed over.*Name the attention: '0'"):
        add_lora(Attends(), ["out_proj"])
    with pytest.raises(ConfigError, match="in evaluation an adapter"):
        add_lora(nn.Sequential(nn.TransformerEncoderLayer(8, 2)), ["linear1"])
    with pytest.raises(ConfigError, match="Did you mean 'proj'"):
        add_lora(TextEncoder(20, 16, 2, 1, 8), ["prj"])
    with pytest.raises(ConfigError, match="no adapter fits"):
        add_lora(TextEncoder(20, 16, 2, 1, 8), ["norm1"])
    with pytest.raises(ConfigError, match="rank 0"):
        add_lora(encoder, ["proj"], rank=0)


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'huggingface'"):
        build_text(replace(SMALL, kind="hugingface"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="multiple of heads"):
        build_text(replace(SMALL, heads=3))
    with pytest.raises(ConfigError, match="mean or last"):
        build_text(replace(SMALL, pool="first"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"text\.path.*nothing is downloaded"):
        build_text(TextConfig(kind="huggingface", path=Path("microsoft/biogpt")))
    with pytest.raises(ConfigError, match=r"text\.path.*none"):
        build_text(TextConfig(kind="open_clip"))
    encoder = TextEncoder(20, 16, 2, 1, 8)
    with pytest.raises(ShapeError, match=r"\(2, 9\).*at most 8"):
        encoder(torch.zeros(2, 9, dtype=torch.int64), torch.ones(2, 9, dtype=torch.bool))
    with pytest.raises(ShapeError, match="float32"):
        encoder(torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4))


def test_folders_that_hold_another_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    hf = TextConfig(kind="huggingface", path=tmp_path)
    with pytest.raises(ConfigError, match="cannot read this folder"):
        build_text(hf)
    biogpt(tmp_path, vocab_size=5)
    with pytest.raises(ConfigError, match="7 tokens, 5 embeddings"):
        build_text(hf)
    biogpt(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**saved, "num_hidden_layers": 3}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"missing, such as layers\.2"):
        build_text(hf)


def test_folders_that_are_not_open_clips(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    config = TextConfig(kind="open_clip", path=tmp_path)
    with pytest.raises(ConfigError, match=r"open_clip_config\.json"):
        build_text(config)
    open_clip_folder(tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match="open_clip cannot read"):
        build_text(config)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"text_cfg": {"hf_model_name": "bert"}}}')
    with pytest.raises(ConfigError, match=r"bert.*'huggingface'"):
        build_text(config)


def test_outputs_of_models_are_unwrapped() -> None:
    class Known:
        pooler_output = torch.ones(2)

    assert torch.equal(unwrap(torch.ones(2)), torch.ones(2)) and torch.equal(
        unwrap(Known(), "pooler_output"), torch.ones(2)
    )
    with pytest.raises(ConfigError, match=r"Known.*text_embeds or last_hidden_state"):
        unwrap(Known(), "text_embeds", "last_hidden_state")
    with pytest.raises(ConfigError, match="tuple"):
        HuggingFaceText(_Tuple(), 4, 4, "mean")(torch.zeros(1, 2).long(), torch.ones(1, 2, dtype=torch.bool))


class _Tuple(nn.Module):
    def forward(self, **_: Tensor) -> tuple[int]:
        return (1,)
