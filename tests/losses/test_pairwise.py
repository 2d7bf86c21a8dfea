"""Alignment of several modalities: the independent numbers, missing rows, and wrong use. More is in the contracts."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import PairwiseInfoNCE, clip_loss, pairwise_info_nce

NAMES = ("image", "text", "boxes")
PUBLISHED = {("image", "text"): 0.06, ("image", "boxes"): 0.04, ("text", "boxes"): 0.04}


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((golden_dir / "spatialclip" / "infonce.json").read_text(encoding="utf-8"))
    return case


def modalities(golden: dict[str, Any]) -> dict[str, Tensor]:
    keys = ("image_raw", "text_raw", "spatial_raw")
    return {name: torch.tensor(golden[key], dtype=torch.float64) for name, key in zip(NAMES, keys, strict=True)}


def drawn(rows: int = 6) -> dict[str, Tensor]:
    return {name: torch.randn(rows, 4, dtype=torch.float64) for name in NAMES}


def value(loss: Tensor, expected: float) -> None:
    assert loss.item() == pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize("case", ["init_log(1/0.07)", "log_100_clamped_to_50", "log_0.5_clamped_to_1"])
def test_pairs_and_their_sums(golden: dict[str, Any], case: str) -> None:
    z, known = modalities(golden), golden["cases"][case]
    loss, parts = pairwise_info_nce(z, scale=known["scale"])
    value(loss, known["unweighted_total"])
    for part, name in (("image-text", "image_text"), ("image-boxes", "image_spatial"), ("text-boxes", "text_spatial")):
        value(parts[part], known[name]["symmetric"])
    value(pairwise_info_nce(z, scale=known["scale"], weights=PUBLISHED)[0], known["weighted_0.06_0.04_0.04"])


@pytest.mark.parametrize("case", ["init_log(1/0.07)", "log_100_clamped_to_50", "log_0.5_clamped_to_1"])
def test_the_learned_scale_stays_in_its_limits(golden: dict[str, Any], case: str) -> None:
    known = golden["cases"][case]
    module = PairwiseInfoNCE(PUBLISHED).double()
    with torch.no_grad():
        module.log_scale.fill_(known["logit_scale_param"])
    loss, _ = module(modalities(golden))
    value(loss, known["weighted_0.06_0.04_0.04"])
    loss.backward()
    assert module.log_scale.grad is not None and module.log_scale.grad != 0


def test_equal_captions_are_several_positives(golden: dict[str, Any]) -> None:
    known = golden["multi_positive"]
    z, groups = modalities(golden), {"text": torch.tensor(known["groups"])}
    _, parts = pairwise_info_nce(z, scale=known["scale"], groups=groups)
    value(parts["image-text"], known["image_text"]["symmetric"])
    value(parts["image-boxes"], golden["cases"]["init_log(1/0.07)"]["image_spatial"]["symmetric"])


def test_equal_embeddings_are_chance(golden: dict[str, Any]) -> None:
    same = torch.ones(4, 3, dtype=torch.float64)
    value(pairwise_info_nce({"a": same, "b": same}, scale=9.0)[0], golden["identical_rows_batch4"]["value"])


def test_one_group_for_all_modalities_is_the_supervised_form() -> None:
    z, labels = drawn(), torch.tensor([0, 1, 0, -1, 1, -1])
    grouped = pairwise_info_nce(z, scale=5.0, groups=dict.fromkeys(NAMES, labels))[0]
    torch.testing.assert_close(grouped, pairwise_info_nce(z, scale=5.0, labels=labels)[0])


def test_a_missing_modality_is_not_seen() -> None:
    z = drawn()
    present = torch.ones(6, 3, dtype=torch.bool)
    present[[1, 4], 1] = False
    broken = {
        name: rows.masked_fill(~present[:, k, None], math.nan).requires_grad_()
        for k, (name, rows) in enumerate(z.items())
    }
    loss, parts = pairwise_info_nce(broken, scale=5.0, present=present)
    rows = present[:, 1]
    torch.testing.assert_close(parts["image-text"], clip_loss(z["image"][rows], z["text"][rows], scale=5.0))
    torch.testing.assert_close(parts["image-boxes"], clip_loss(z["image"], z["boxes"], scale=5.0))
    loss.backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in broken.values())
    assert not broken["text"].grad[~rows].any()  # type: ignore[index]


def test_a_pair_that_no_row_has_is_a_zero_with_a_graph() -> None:
    z = {name: rows.requires_grad_() for name, rows in drawn().items()}
    present = torch.tensor([[True, False, True]]).expand(6, 3)
    module = PairwiseInfoNCE({("image", "text"): 1.0}).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, parts = module(z, present=present)
    loss.backward()
    assert loss == 0 and parts["image-text"] == 0
    assert all(p.grad is not None and not p.grad.any() for p in (*z.values(), module.log_scale))


def test_pairs_without_weight_are_not_computed() -> None:
    z = drawn()
    loss, parts = pairwise_info_nce(z, scale=5.0, weights={("text", "image"): 2.0, ("text", "boxes"): 0.0})
    assert list(parts) == ["image-text"]
    torch.testing.assert_close(loss, 2 * parts["image-text"])
    none, parts = pairwise_info_nce({k: v.requires_grad_() for k, v in z.items()}, scale=5.0, weights={})
    assert none == 0 and none.requires_grad and not parts


def test_wrong_use() -> None:
    z, ids = drawn(), torch.arange(6)
    faults: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"weights": {("image", "txt"): 1.0}}, ConfigError, "Did you mean 'text'"),
        ({"weights": {("text", "text"): 1.0}}, ConfigError, "itself"),
        ({"weights": {("image", "text"): 1.0, ("text", "image"): 1.0}}, ConfigError, "one weight"),
        ({"weights": {("image", "text"): -1.0}}, ConfigError, "image-text.*-1"),
        ({"groups": {"box": ids}}, ConfigError, "Did you mean 'boxes'"),
        ({"groups": {"text": ids[:5]}}, ShapeError, r"text.*\(5,\).*\(6,\)"),
        ({"groups": {"text": ids, "image": ids.clone()}}, ConfigError, "image, text"),
        ({"groups": {"text": ids}, "labels": ids}, ConfigError, "Pass one"),
        ({"labels": ids[:5]}, ShapeError, r"labels.*\(5,\)"),
        ({"present": torch.ones(6, 2, dtype=torch.bool)}, ShapeError, r"\(6, 2\).*\(6, 3\)"),
        ({"present": torch.ones(6, 3)}, ShapeError, "float32"),
    ]
    for options, kind, message in faults:
        with pytest.raises(kind, match=message):
            pairwise_info_nce(z, scale=5.0, **options)
    with pytest.raises(ShapeError, match=r"image \(6, 4\), text \(5, 4\)"):
        pairwise_info_nce({**z, "text": z["text"][:5]}, scale=5.0)
    with pytest.raises(ConfigError, match="two modalities"):
        pairwise_info_nce({"image": z["image"]}, scale=5.0)
    with pytest.raises(ConfigError, match="limits"):
        PairwiseInfoNCE(smallest=5.0, largest=1.0)
