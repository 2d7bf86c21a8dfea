"""Boxes against golden numbers and against what they promise: order, padding, gradients, flips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.spatial.boxes import FEATURES, RELATIONS, flip_objects, geometry, relations, trim

CORNERS = st.floats(0, 0.9).map(lambda x: round(x, 3)) | st.sampled_from([0.0, 0.25, 0.5])
SIDES = st.floats(0, 0.5) | st.sampled_from([0.0, 0.1, 0.25])
OBJECT = st.tuples(CORNERS, CORNERS, SIDES, SIDES, st.floats(0, 1))
OBJECTS = st.lists(OBJECT, min_size=0, max_size=7)


def tensor(rows: list[tuple[float, ...]], pad_to: int = 0) -> tuple[Tensor, Tensor]:
    """Objects [1, M, 5] in float64 and their valid [1, M]."""
    objects = torch.zeros(1, max(len(rows), pad_to), 5, dtype=torch.float64)
    if rows:
        objects[0, : len(rows)] = torch.tensor(rows, dtype=torch.float64)
    return objects, torch.arange(objects.shape[1])[None] < len(rows)


def cases(golden_dir: Path) -> list[dict[str, Any]]:
    golden = json.loads((golden_dir / "spatialclip" / "spatial_features.json").read_text())
    assert tuple(golden["feature_names"]) == FEATURES
    return list(golden["cases"])


def of_case(case: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    rows = [(*box, share) for box, share in zip(case["boxes_xywh"], case["confidences"], strict=True)]
    return *tensor(rows, case["pad_to"] or 0), len(rows)


def test_geometry_equals_the_golden_numbers(golden_dir: Path) -> None:
    for case in cases(golden_dir):
        objects, valid, count = of_case(case)
        found = geometry(objects, valid)[0]
        np.testing.assert_allclose(found[:count], case["masked_features"], atol=1e-9, err_msg=case["name"])
        assert not found[count:].any()


def test_reference_geometry_equals_the_golden_numbers(golden_dir: Path) -> None:
    for case in cases(golden_dir):
        objects, valid, count = of_case(case)
        expected = case.get("reference_features") or case["reference_padded_features"]
        found = geometry(objects, valid, "reference")[0, :count]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9, err_msg=case["name"])


def test_relations_equal_the_golden_numbers(golden_dir: Path) -> None:
    found = 0
    for case in cases(golden_dir):
        if "pairwise_relations" not in case:
            continue
        objects, valid, count = of_case(case)
        result = relations(objects, valid)[0]
        assert result.shape[-1] == len(RELATIONS)
        np.testing.assert_allclose(result[:count, :count], case["pairwise_relations"], atol=1e-9, err_msg=case["name"])
        assert not result[count:].any()
        assert not result[:, count:].any()
        found += 1
    assert found >= 7


@given(OBJECTS, st.integers(1, 5), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_padding_changes_nothing_whatever_it_holds(rows: list[tuple[float, ...]], extra: int, seed: int) -> None:
    objects, valid = tensor(rows)
    padded, hidden = tensor(rows, len(rows) + extra)
    padded[:, len(rows) :] = torch.rand(extra, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(
        geometry(padded, hidden)[:, : len(rows)], geometry(objects, valid), rtol=1e-12, atol=1e-12
    )
    found = relations(padded, hidden)[:, : len(rows), : len(rows)]
    torch.testing.assert_close(found, relations(objects, valid), rtol=1e-12, atol=1e-12)


@given(OBJECTS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_objects_is_nothing(rows: list[tuple[float, ...]], random: Any) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    objects, valid = tensor(rows)
    shuffled = objects[:, order]
    torch.testing.assert_close(geometry(shuffled, valid), geometry(objects, valid)[:, order], rtol=1e-12, atol=1e-12)
    expected = relations(objects, valid)[:, order][:, :, order]
    torch.testing.assert_close(relations(shuffled, valid), expected, rtol=1e-12, atol=1e-12)


def test_equally_near_neighbours_are_averaged() -> None:
    rows = [(0.4, 0.4, 0.2, 0.2, 1.0), (0.1, 0.4, 0.2, 0.2, 1.0), (0.7, 0.4, 0.2, 0.2, 1.0)]
    _, sine, cosine = geometry(*tensor(rows))[0, 0, 9:12]
    assert (float(sine), float(cosine)) == pytest.approx((0, 0), abs=1e-12)


def test_float32_knows_no_angle_where_there_is_none() -> None:
    rows = [(0.4, 0.4, 0.2, 0.2, 1.0), (0.45, 0.45, 0.1, 0.1, 1.0), (0.35, 0.3, 0.3, 0.4, 1.0)]
    objects, valid = tensor(rows)
    single = geometry(objects.float(), valid)
    torch.testing.assert_close(single.double(), geometry(objects, valid), rtol=1e-5, atol=1e-5)
    assert single[0, :, 7:9].tolist() == [[0, 1]] * 3


@given(OBJECTS, st.sampled_from(["default", "reference"]))
@settings(max_examples=30, deadline=None)
def test_gradients_are_finite(rows: list[tuple[float, ...]], variant: Any) -> None:
    objects, valid = tensor([*rows, (0.4, 0.4, 0.2, 0.2, 0.5)], len(rows) + 3)
    objects.requires_grad_()
    (geometry(objects, valid, variant).sum() + relations(objects, valid).sum()).backward()
    assert objects.grad is not None
    assert torch.isfinite(objects.grad).all()


def test_gradients_are_those_of_finite_differences() -> None:
    objects, valid = tensor([(0.1, 0.2, 0.31, 0.12, 0.9), (0.53, 0.3, 0.2, 0.4, 0.6), (0.2, 0.25, 0.36, 0.3, 0.7)], 4)
    objects.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: geometry(x, valid), objects)
    assert torch.autograd.gradcheck(lambda x: relations(x, valid), objects)


def test_a_covered_box_and_its_cover() -> None:
    found = relations(*tensor([(0.4, 0.4, 0.1, 0.1, 1.0), (0.2, 0.2, 0.5, 0.4, 1.0)]))[0]
    iou, covered = RELATIONS.index("iou"), RELATIONS.index("covered")
    assert found[1, 0, covered] == pytest.approx(1)
    assert found[0, 1, covered] == pytest.approx(0.05)
    assert found[0, 1, iou] == pytest.approx(0.05)
    assert found[1, 0, iou] == pytest.approx(0.05)


def test_no_objects_at_all() -> None:
    objects, valid = torch.zeros(2, 0, 5), torch.zeros(2, 0, dtype=torch.bool)
    assert geometry(objects, valid).shape == (2, 0, 13)
    assert geometry(objects, valid, "reference").shape == (2, 0, 13)
    assert relations(objects, valid).shape == (2, 0, 0, 7)


def test_trim_keeps_every_object() -> None:
    objects, labels = torch.rand(3, 8, 5), torch.full((3, 8), -1)
    labels[0, :2], labels[1, 4] = 3, 0
    cut, kept = trim(objects, labels)
    assert cut.equal(objects[:, :5])
    assert kept.equal(labels[:, :5])
    assert trim(objects, torch.full((3, 8), -1))[0].shape == (3, 0, 5)


@given(OBJECTS, st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_flips_are_their_own_inverse_and_leave_padding(rows: list[tuple[float, ...]], left: bool, up: bool) -> None:
    objects, valid = tensor(rows, len(rows) + 2)
    flipped = flip_objects(objects, left, up)
    assert not flipped[~valid].any()
    torch.testing.assert_close(flip_objects(flipped, left, up), objects, rtol=0, atol=1e-12)


def test_boxes_flip_with_the_picture() -> None:
    canvas = torch.zeros(20, 20)
    canvas[4:8, 1:11] = 1
    objects, _ = tensor([(0.05, 0.2, 0.5, 0.2, 1.0)])
    for horizontal, vertical in ((True, False), (False, True), (True, True)):
        axes = [axis for axis, flip in ((1, horizontal), (0, vertical)) if flip]
        rows, columns = canvas.flip(axes).nonzero().unbind(1)
        x, y, w, h, _ = (flip_objects(objects, horizontal, vertical)[0, 0] * 20).tolist()
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (x, y, x + w, y + h) == pytest.approx([float(n) for n in expected])


def test_each_image_has_its_own_flip() -> None:
    objects = tensor([(0.1, 0.2, 0.3, 0.4, 1.0)])[0].repeat(3, 1, 1)
    flipped = flip_objects(objects, torch.tensor([True, False, True]))
    assert flipped[:, 0, 0].tolist() == pytest.approx([0.6, 0.1, 0.6])


def test_flipping_mirrors_the_geometry() -> None:
    objects, valid = tensor([(0.1, 0.2, 0.3, 0.1, 0.9), (0.5, 0.3, 0.2, 0.4, 0.6)])
    plain, flipped = geometry(objects, valid), geometry(flip_objects(objects, True), valid)
    mirrored = [FEATURES.index(name) for name in ("cos_theta", "cos_phi")]
    same = [k for k in range(1, len(FEATURES)) if k not in mirrored]
    torch.testing.assert_close(flipped[..., mirrored], -plain[..., mirrored])
    torch.testing.assert_close(flipped[..., same], plain[..., same])


@pytest.mark.parametrize("function", [geometry, relations])
def test_wrong_shapes_are_named(function: Any) -> None:
    valid = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"\[\.\.\., M, 5\]"):
        function(torch.rand(2, 3, 4), valid)
    with pytest.raises(ShapeError, match=r"\(2, 3\) beside objects \(2, 4, 5\)"):
        function(torch.rand(2, 4, 5), valid)
    with pytest.raises(ShapeError, match="int64"):
        function(torch.zeros(2, 3, 5, dtype=torch.int64), valid)


def test_other_wrong_use_is_named() -> None:
    objects = torch.rand(2, 3, 5)
    with pytest.raises(ConfigError, match="default or reference"):
        geometry(objects, torch.ones(2, 3, dtype=torch.bool), "published")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="one an image"):
        flip_objects(objects, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="one value for each object"):
        trim(objects, torch.zeros(2, 4, dtype=torch.int64))
