"""Measuring a run: `evaluate` runs the tasks that the data allow and writes metrics.json and arrays/ of the run folder.

A task is a file with pure functions on arrays and one function `(run, config, dataset) -> dict`; its name stands in
`TASKS`. None of them is imported before it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from nearfar.errors import ConfigError, NearfarError, did_you_mean

if TYPE_CHECKING:
    from nearfar.config import EvalConfig
    from nearfar.data.dataset import SampleDataset
    from nearfar.train.run import Run

TASKS = {
    "classify": "nearfar.evaluate.classify:classify_task",
    "retrieve": "nearfar.evaluate.retrieve:retrieve_task",
    "anomaly": "nearfar.evaluate.anomaly:anomaly_task",
    "health": "nearfar.evaluate.health:health_task",
    "noise": "nearfar.evaluate.noise_task:noise_task",
    "opinions": "nearfar.evaluate.opinions:opinions_task",
    "attention": "nearfar.evaluate.attention:attention_task",
    "relations": "nearfar.evaluate.relations:relations_task",
    "banners": "nearfar.evaluate.banners:banners_task",
    "vqa": "nearfar.evaluate.vqa:vqa_task",
    "mirrors": "nearfar.evaluate.mirrors:mirrors_task",
    "clinical": "nearfar.evaluate.clinical:clinical_task",
    "landcover": "nearfar.evaluate.landcover:landcover_task",
    "segment": "nearfar.evaluate.segment:segment_task",
    "change": "nearfar.evaluate.change:change_task",
}
DOWNSTREAM = ("landcover", "segment", "change")
"""tasks on data of their own, whose folders EvalConfig names"""
PAIRS = ("relations", "banners", "vqa")
"""tasks on pairs of objects: those of EvalConfig.pairs, or the run's own"""

Task = Callable[["Run", "EvalConfig", "SampleDataset | None"], dict[str, Any]]


def evaluate(run: Run, config: EvalConfig | None = None, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Measure a run; each task's numbers become a section of its metrics.json, and all of them are returned.

    `config`: default the run's own; its `tasks` empty means all. A `dataset` stands in for the run's test split. A task
    that the data do not allow is left out, the others go on, and "skipped" says why by task name. Embeddings and
    pictures of the run's samples are written to arrays/, unless only tasks on other data are asked for.

    Raises ConfigError for an unknown task, DataError where the encoder does not fit the data or gives NaN.
    """
    from nearfar.evaluate.embed import run_embeddings
    from nearfar.evaluate.thumbnails import write_pictures

    config = config if config is not None else run.config.eval
    names = config.tasks or tuple(TASKS)
    for name in names:
        _check(name)
    elsewhere = {*DOWNSTREAM, *(PAIRS if config.pairs is not None else ())}
    if set(names) - elsewhere:
        run_embeddings(run, dataset, fresh=True)
        write_pictures(run, dataset)
    measured: dict[str, Any] = {}
    skipped = {name: why for name, why in run.metrics.get("skipped", {}).items() if name not in names}
    for name in names:
        try:
            measured[name] = _load(name)(run, config, dataset)
        except NearfarError as error:
            skipped[name] = str(error)
        else:
            run.update_metrics(name, measured[name])
    run.update_metrics("skipped", skipped)
    return {**measured, "skipped": skipped}


def _check(name: str) -> None:
    if name not in TASKS:
        fix = did_you_mean(name, TASKS, f"Known: {', '.join(TASKS)}.", quote="'")
        raise ConfigError(f"unknown evaluation task '{name}'", where="eval.tasks", fix=fix)


def _load(name: str) -> Task:
    module, function = TASKS[name].split(":")
    return cast(Task, getattr(import_module(module), function))
