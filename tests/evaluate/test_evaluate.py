"""The tasks of a run: chosen, left out with a reason, written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.evaluate import TASKS, evaluate
from nearfar.train.run import Run


def with_tasks(run: Run, *tasks: str) -> Any:
    return replace(run.config.eval, tasks=tasks)


def numbers(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in numbers(value)]
    return [tree] if isinstance(tree, float | int) else []


@pytest.mark.parametrize("encoder", ["nano_cnn", "nano_vit"])
def test_all_that_the_data_allow_is_measured_and_written(make_run: Callable[..., Run], encoder: str) -> None:
    run = make_run(encoder=encoder)
    found = evaluate(run)
    assert set(found) - {"skipped"} | set(found["skipped"]) == set(TASKS)
    assert {"classify", "retrieve", "health", "noise", "opinions", "attention"} <= set(found)
    assert run.metrics == json.loads(json.dumps(found)), "metrics.json holds what was returned"
    assert np.isfinite(numbers(found)).all()
    written = {path.name for path in run.arrays.iterdir()}
    assert written >= {f"{name}.npz" for name in ("embeddings", "thumbnails", "samples", "opinions", "attention")}
    with np.load(run.arrays / "thumbnails.npz") as small, np.load(run.arrays / "embeddings.npz") as rows:
        assert small["id"].tolist() == rows["id"].tolist()


def test_an_unknown_task_stops_before_anything_runs(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"unknown evaluation task 'clasify'. Did you mean 'classify'\?"):
        evaluate(run, with_tasks(run, "health", "clasify"))
    with pytest.raises(ConfigError, match="Known: classify, "):
        evaluate(run, with_tasks(run, "zzz"))
    assert run.metrics == {}


def test_one_task_that_cannot_be_done_leaves_the_others(run: Run) -> None:
    two = run.dataset("test").subset([0, 1])
    lone = replace(run.config.eval, tasks=("health", "classify"))
    two.labels[:] = -1
    found = evaluate(run, lone, two)
    assert found["health"]["samples"] == 2 and "classify" not in found
    assert "no labelled sample in the test split" in found["skipped"]["classify"]
    assert run.metrics["skipped"] == found["skipped"]


def test_a_task_done_later_is_no_longer_skipped_and_others_stay(run: Run) -> None:
    run.update_metrics("skipped", {"retrieve": "old reason", "anomaly": "no normal class"})
    evaluate(run, with_tasks(run, "retrieve"))
    assert run.metrics["skipped"] == {"anomaly": "no normal class"} and "retrieve" in run.metrics


def test_data_that_the_encoder_cannot_see_stop_everything(run: Run) -> None:
    other = run.dataset("test")
    other.channels = replace(other.channels, names=("x",) * len(other.channels))
    with pytest.raises(DataError, match="other channels than the encoder"):
        evaluate(run, with_tasks(run, "health"), other)
