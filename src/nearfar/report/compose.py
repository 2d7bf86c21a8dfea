"""One HTML page for a run, or for several beside each other, from the files of their run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.report import clinical, clinical_evidence, land, mirrors, pairs, scenes, sections
from nearfar.report.page import Section, render
from nearfar.scenes.run import SceneRun

if TYPE_CHECKING:
    from nearfar.train import Run

LEAD = "Trained and measured by nearfar. Brackets hold 95 % bootstrap intervals unless a table says otherwise."


def build(runs: Sequence[Run | SceneRun], out: Path, title: str | None = None, lead: str = LEAD) -> Path:
    """Write the page to `out`, its figures to each run's `figures/`, and its numbers to a JSON file beside it.

    Parts whose data a run does not have are left out. Returns `out`.
    """
    every = dict(zip(_names(runs), runs, strict=True))
    shared = out.parent / "figures"
    rendered = {name: run for name, run in every.items() if isinstance(run, SceneRun)}
    named = {name: run for name, run in every.items() if not isinstance(run, SceneRun)}
    overview = sections.summary(every)
    overview.texts += scenes.warnings(rendered)
    parts = [
        overview,
        *(_of_scenes(rendered, shared) if rendered else []),
        *(_of_methods(named, shared) if named else []),
    ]
    numbers = _write_numbers(every, out)
    details = {f"configuration of {name}": (run.path / "config.yaml").read_text() for name, run in every.items()}
    heading = title or f"nearfar: {', '.join(every)}"
    return render(out, heading, lead, parts, details, numbers.name)


def _of_scenes(named: Mapping[str, SceneRun], shared: Path) -> list[Section]:
    return [scenes.turntables(named), scenes.training(named, shared), scenes.views(named), scenes.points(named)]


def _of_methods(named: Mapping[str, Run], shared: Path) -> list[Section]:
    return [
        sections.samples(named),
        land.bands(named),
        pairs.banners(named),
        sections.training(named, shared),
        sections.embedding(named),
        sections.classification(named, shared),
        clinical.diagnosis(named),
        clinical.discrimination(named, shared),
        clinical.calibration(named),
        clinical.subgroups(named),
        clinical_evidence.modalities(named),
        clinical_evidence.alignment(named),
        clinical.cohorts(named),
        clinical_evidence.examples(named),
        pairs.relations(named, shared),
        pairs.retrieval(named, shared),
        pairs.questions(named),
        land.landcover(named, shared),
        land.segment(named, shared),
        land.change(named),
        mirrors.mirrored_views(named),
        sections.opinions(named),
        sections.noise(named),
        sections.attention(named),
        sections.anomaly(named),
        sections.skipped(named),
    ]


def _names(runs: Sequence[Run | SceneRun]) -> list[str]:
    """Presets (of scenes, folders) as names where they tell the runs apart, folder names otherwise, or paths."""
    presets = [run.path.name if isinstance(run, SceneRun) else run.config.preset for run in runs]
    choices = [presets, [run.path.name for run in runs], [str(run.path) for run in runs]]
    return next(names for names in choices if len(set(names)) == len(names) or names is choices[-1])


def _write_numbers(named: Mapping[str, Run | SceneRun], out: Path) -> Path:
    """A run's own report reads metrics.json; a page of several runs gets all of them in one file beside it."""
    if len(named) == 1 and out.parent == next(iter(named.values())).path:
        return out.parent / "metrics.json"
    path = out.with_suffix(".json")
    content: dict[str, Any] = {name: run.metrics for name, run in named.items()}
    if len(named) == 2:
        content["comparison"] = sections.comparison(named)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path
