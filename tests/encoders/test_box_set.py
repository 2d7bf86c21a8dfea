"""The box-set encoder: golden weights, order, padding, dropping, the empty set, and what the published one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.encoders.boxes import BoxSetEncoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.boxes import trim

CLASSES = 14


def sets(counts: list[int], width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Objects [B, width, 5] in float64 and labels [B, width], `counts` of them real."""
    random = torch.Generator().manual_seed(seed)
    objects = torch.rand(len(counts), width, 5, generator=random, dtype=torch.float64) * 0.5
    labels = torch.randint(CLASSES, (len(counts), width), generator=random)
    real = torch.arange(width) < torch.tensor(counts)[:, None]
    return objects * real[..., None], torch.where(real, labels, -1)


def encoder(**options: Any) -> BoxSetEncoder:
    torch.manual_seed(0)
    model = BoxSetEncoder(CLASSES, 16, **options).double().eval()
    for parameter in model.parameters():  # so that no part is silent at the start
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def test_the_golden_encoder(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "spatialclip" / "spatial_encoder_eval.npz")
    model = BoxSetEncoder(CLASSES, 16, 4, 2, variant="reference").double().eval()
    weights = {key.removeprefix("w."): torch.from_numpy(golden[key]) for key in golden.files if key.startswith("w.")}
    model.body.load_state_dict(weights)
    objects = torch.from_numpy(np.concatenate([golden["boxes"], golden["confidences"][..., None]], -1))
    labels = torch.from_numpy(np.where(golden["padding_mask"], -1, golden["labels"]))
    torch.testing.assert_close(model(objects, labels), torch.from_numpy(golden["embedding"]), rtol=0, atol=1e-10)


def test_the_published_size() -> None:
    with torch.device("meta"):
        model = BoxSetEncoder(CLASSES, 768, 8, 2, variant="reference", feedforward=2048)
    assert sum(p.numel() for p in model.parameters()) == 12_222_208


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 100), st.booleans())
@settings(max_examples=20, deadline=None)
def test_order_and_padding_are_nothing(counts: list[int], seed: int, related: bool) -> None:
    model = encoder(relations=related)
    objects, labels = sets(counts, 6, seed)
    expected = model(objects, labels)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(model(objects[:, order], labels[:, order]), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(model(*trim(objects, labels)), expected, rtol=0, atol=1e-9)
    garbage, none = torch.rand(len(counts), 3, 5, dtype=torch.float64), torch.full((len(counts), 3), -1)
    padded = model(torch.cat([objects, garbage], 1), torch.cat([labels, none], 1))
    torch.testing.assert_close(padded, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_an_empty_set_is_the_learned_token_alone(training: bool) -> None:
    model = encoder().train(training)
    objects, labels = sets([0, 3, 0], 4)
    result = model(objects, labels)
    alone = model(objects[:1, :0], labels[:1, :0])
    torch.testing.assert_close(result[[0, 2]], alone.expand(2, -1), rtol=0, atol=1e-12)
    assert not torch.allclose(result[1], alone[0])


def test_everything_that_is_known_of_an_object_counts() -> None:
    model = encoder()
    objects, labels = sets([4], 4)
    before = model(objects, labels)
    for column in range(5):
        moved = objects.clone()
        moved[0, 2, column] += 0.1
        assert (model(moved, labels) - before).abs().max() > 1e-4, column
    renamed = labels.clone()
    renamed[0, 2] = (labels[0, 2] + 1) % CLASSES
    assert (model(objects, renamed) - before).abs().max() > 1e-4


def test_relations_change_the_result() -> None:
    model = encoder()
    objects, labels = sets([4], 4)
    before = model(objects, labels)
    assert model.body.relations is not None
    model.body.relations = None  # type: ignore[assignment]
    assert (model(objects, labels) - before).abs().max() > 1e-4


def test_a_dropped_object_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder(drop=0.5).train()
    objects, labels = sets([4], 4)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.tensor([[0.9, 0.1, 0.7, 0.2]]))
    dropped = model(objects, labels)
    torch.testing.assert_close(dropped, model.eval()(objects[:, [0, 2]], labels[:, [0, 2]]), rtol=0, atol=1e-12)


def test_dropping_is_of_training_alone_and_of_its_share() -> None:
    model = encoder(drop=0.3)
    objects, labels = sets([1] * 2000, 1)
    present = model(objects, labels)
    torch.testing.assert_close(model(objects, labels), present, rtol=0, atol=0)
    changed = (model.train()(objects, labels) - present).abs().amax(-1) > 1e-9
    assert float(changed.double().mean()) == pytest.approx(0.3, abs=0.04)
    still = encoder(drop=0.0)
    torch.testing.assert_close(still.train()(objects[:9], labels[:9]), still.eval()(objects[:9], labels[:9]))


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_every_weight_learns_and_gradients_are_finite(variant: Any) -> None:
    model = BoxSetEncoder(CLASSES, 16, variant=variant, drop=0.0).double().eval()
    objects, labels = sets([5, 1, 0, 3], 6)
    objects[0, 0] = torch.tensor([0.4, 0.4, 0.2, 0.2, 0.9])  # at the centre of the canvas
    objects[0, 1] = torch.tensor([0.45, 0.45, 0.1, 0.1, 0.9])  # and another one there
    objects[0, 2, 2] = 0.0
    objects.requires_grad_()
    (model(objects, labels) * torch.randn(4, 16, dtype=torch.float64)).sum().backward()
    for name, value in (*model.named_parameters(), ("objects", objects)):
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.any(), name


def test_reduced_precision() -> None:
    objects, labels = sets([3, 0], 4)
    for related in (True, False):
        model = BoxSetEncoder(CLASSES, 16, relations=related)
        exact = model.eval()(objects.float(), labels)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(objects.float(), labels)
        torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.1)


def test_the_state_is_restored() -> None:
    objects, labels = sets([3, 2], 4)
    model, other = encoder(), BoxSetEncoder(CLASSES, 16).double().eval()
    other.load_state_dict(model.state_dict())
    assert other(objects, labels).equal(model(objects, labels))


def test_the_published_code_forgets_what_it_is_unsure_of() -> None:
    """In training, boxes under a confidence of 0.5 are all one: zero vectors, still attended."""
    model = BoxSetEncoder(CLASSES, 16, variant="reference").double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    first, second = sets([4], 4, seed=1), sets([4], 4, seed=2)  # confidences are under 0.5
    results = []
    for objects, labels in (first, second):
        torch.manual_seed(0)
        results.append(model(objects, labels))
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    model.eval()
    assert (model(*first) - model(*second)).abs().max() > 1e-4


def test_the_published_code_reads_another_token_in_training() -> None:
    model = encoder(variant="reference", drop=0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    objects, labels = sets([4], 4)
    objects[..., 4] = 0.9
    same, expected = 0, model(objects, labels)
    model.train()
    for _ in range(200):
        same += bool((model(objects, labels) - expected).abs().max() < 1e-9)
    assert same / 200 == pytest.approx(1 / 5, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes"),
        ({"classes": 3, "dim": 10, "heads": 4}, "heads do not divide dim"),
        ({"classes": 3, "layers": 1}, "relations need two layers"),
        ({"classes": 3, "layers": 0, "relations": False}, "layers"),
        ({"classes": 3, "drop": 1.0}, "drop"),
        ({"classes": 3, "variant": "published"}, "default or reference"),
        ({"classes": 3, "dim": 6, "heads": 2, "variant": "reference"}, "multiple of 4"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BoxSetEncoder(**options)


def test_wrong_input_is_named() -> None:
    model = encoder()
    objects, labels = sets([3], 4)
    with pytest.raises(ShapeError, match=r"objects \(1, 4, 4\), labels \(1, 4\)"):
        model(objects[..., :4], labels)
    with pytest.raises(ShapeError, match=r"\[B, M\]"):
        model(objects, labels[:, :3])
    with pytest.raises(DataError, match=r"label 14, expected under 14"):
        model(objects, labels.clamp(min=14))
    objects[0, 1, 2] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        model(objects, labels)


def test_one_layer_without_relations() -> None:
    objects, labels = sets([3, 0], 4)
    assert encoder(layers=1, relations=False)(objects, labels).shape == (2, 16)


def test_standardised_features_do_not_depend_on_the_units_of_the_data() -> None:
    """Every feature has mean 0 and deviation 1 over the objects given, and the numbers are saved."""
    torch.manual_seed(0)
    objects, labels = torch.rand(40, 6, 5) * 0.4, torch.randint(-1, 3, (40, 6))
    encoder = BoxSetEncoder(3, 16).eval()
    before = encoder(objects, labels)
    encoder.standardise(objects, labels)
    assert not torch.allclose(encoder(objects, labels), before)
    seen: list[torch.Tensor] = []
    encoder.body.geometry.register_forward_hook(lambda _m, given, _out: seen.append(given[0]))
    encoder(objects, labels)
    features = seen[0][labels >= 0]
    torch.testing.assert_close(features.mean(0), torch.zeros(13), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(13), atol=1e-4, rtol=0)
    other = BoxSetEncoder(3, 16).eval()
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(objects, labels), encoder(objects, labels))


def test_a_constant_feature_and_a_set_without_objects_do_no_harm() -> None:
    objects = torch.full((4, 2, 5), 0.25)
    encoder = BoxSetEncoder(3, 16).eval()
    encoder.standardise(objects, torch.zeros(4, 2, dtype=torch.int64))
    assert encoder(objects, torch.zeros(4, 2, dtype=torch.int64)).isfinite().all()
    encoder.standardise(objects, torch.full((4, 2), -1))
    assert encoder(objects, torch.full((4, 2), -1)).isfinite().all()
