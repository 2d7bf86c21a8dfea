"""Subgroup tables and gap tests: what they count, what they leave out, and whether they cry wolf."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import roc
from nearfar.evaluate.binary import Metric
from nearfar.evaluate.clustered import clinical_metrics, clustered_intervals
from nearfar.evaluate.subgroups import binned, gap, holm, subgroup_table

AUC: dict[str, Metric] = {"roc_auc": roc.weighted_roc_auc}


def study(seed: int, worse: float = 0.0, patients: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Labels, scores, patients and centres; in centre C the classes lie `worse` closer."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), 3)
    centre = np.array(["A", "B", "C"])[who % 3]
    labels = (rng.random(len(who)) < 0.5).astype(int)
    apart = np.where(centre == "C", 1.6 - worse, 1.6)
    scores = labels * apart + 0.8 * rng.normal(size=patients)[who] + 0.6 * rng.normal(size=len(who))
    return labels, scores, who, centre.tolist()


def test_rows_are_the_measures_of_their_samples() -> None:
    labels, scores, who, centre = study(0)
    p = 1 / (1 + np.exp(-scores))
    table = subgroup_table({"centre": centre}, clinical_metrics(0.5), labels, p, clusters=who, resamples=50)
    assert [(g.column, g.value) for g in table] == [("all", "all"), ("centre", "A"), ("centre", "B"), ("centre", "C")]
    for group in table[1:]:
        part = np.array(centre) == group.value
        assert (group.samples, group.patients, group.positives) == (90, 30, labels[part].sum())
        alone = clustered_intervals(clinical_metrics(0.5), labels[part], p[part], clusters=who[part], resamples=0)
        for name, found in group.measures.items():
            if name != "ece_mass":
                assert found["value"] == pytest.approx(alone[name]["value"], abs=1e-9), name
            assert found["low"] <= found["high"]
        assert group.measures["roc_auc"] == roc.auc_interval(labels[part], p[part], clusters=who[part])
    assert table[0].samples == 270


def test_small_groups_are_listed_but_not_measured_and_one_class_says_so() -> None:
    labels, scores, _, _ = study(1)
    view = np.array(["head"] * 270, dtype=object)
    view[:19], view[19:45] = "nt", ""
    labels[19:45] = 1
    table = subgroup_table({"view": view.tolist()}, clinical_metrics(0.5), labels, scores * 0.1 + 0.4, resamples=20)
    rows = {group.value: group for group in table[1:]}
    assert list(rows) == ["head", "nt", "unknown"]
    assert (rows["nt"].samples, rows["nt"].note) == (19, "fewer than 20 samples")
    assert np.isnan(list(rows["nt"].measures["accuracy"].values())).all()
    assert rows["unknown"].note == "every label is 1"
    assert np.isnan(rows["unknown"].measures["roc_auc"]["value"])
    assert np.isfinite(rows["unknown"].measures["sensitivity"]["value"])
    flat = rows["nt"].row()
    assert list(flat)[:8] == [
        "column", "value", "samples", "patients", "positives", "roc_auc", "roc_auc_low", "roc_auc_high",
    ]  # fmt: skip
    assert flat["note"] == "fewer than 20 samples"


def test_a_real_gap_is_found() -> None:
    labels, scores, who, centre = study(2, worse=1.4)
    found = gap(centre, roc.weighted_roc_auc, labels, scores, column="centre", measure="roc_auc", clusters=who)
    assert found is not None
    assert (found.lowest, found.groups) == ("C", 3)
    assert found.p < 0.01
    assert found.difference["low"] > 0
    parts = [np.array(centre) == name for name in (found.highest, "C")]
    expected = roc.roc_auc(labels[parts[0]], scores[parts[0]]) - roc.roc_auc(labels[parts[1]], scores[parts[1]])
    assert found.difference["value"] == pytest.approx(expected)


def test_equal_groups_are_called_unequal_about_as_often_as_promised() -> None:
    rounds, alarms = 60, 0
    for seed in range(rounds):
        labels, scores, who, centre = study(100 + seed)
        found = gap(centre, roc.weighted_roc_auc, labels, scores, clusters=who, resamples=200)
        assert found is not None
        alarms += found.p < 0.05
    assert alarms / rounds < 0.15


def test_gaps_need_two_groups_that_can_be_measured() -> None:
    labels, scores, who, centre = study(3)
    assert gap(["A"] * 270, roc.weighted_roc_auc, labels, scores) is None
    assert gap(["A"] * 255 + ["B"] * 15, roc.weighted_roc_auc, labels, scores) is None
    assert gap(["A"] * 240 + [""] * 30, roc.weighted_roc_auc, labels, scores) is None
    constant = gap(centre, roc.weighted_roc_auc, labels, np.zeros(270), clusters=who, resamples=50)
    assert constant is not None
    assert np.isnan(constant.p)
    assert constant.difference["value"] == 0


def test_ages_are_read_and_sorted() -> None:
    ages = ["10.9", "11", "12+3", "12w6d", "13 weeks 0 days", "14.5", "", "n/a", "11+7"]
    expected = ["<11", "11 to <12", "12 to <13", "12 to <13", "13 to <14", ">=14", "unknown", "unknown", "unknown"]
    assert binned(ages, [11, 12, 13, 14]) == expected
    assert binned(["3"], [2], "weeks") == [">=2 weeks"]
    for edges in ([], [2, 2], [3, 1]):
        with pytest.raises(ConfigError, match="rise"):
            binned(ages, edges)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04, 0.03, 0.9]), [0.04, np.nan, 0.09, 0.09, 0.9])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_only_raises_and_keeps_the_order(p: list[float]) -> None:
    found = holm(p)
    assert ((found >= np.array(p)) & (found <= 1)).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_bad_columns_are_refused() -> None:
    labels, scores, _, centre = study(4)
    with pytest.raises(ShapeError, match="column 'centre'"):
        subgroup_table({"centre": centre[:-1]}, AUC, labels, scores)
    with pytest.raises(DataError, match="binned"):
        subgroup_table({"age": [12.0] * 270}, AUC, labels, scores)  # type: ignore[list-item]
