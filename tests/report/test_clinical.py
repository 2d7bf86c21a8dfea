"""The sections of a report about a diagnosis, from the files of a measured run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nearfar.report import build, clinical
from nearfar.report.clinical import NOT_IMPORTANCE
from nearfar.report.page import number
from nearfar.train.run import Run


@pytest.fixture(scope="module")
def run(measured_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "one"
    shutil.copytree(measured_study.path, folder)
    return Run(folder)


def texts(part: Any) -> str:
    rows = [cell for t in part.tables for row in (t.head, *t.rows) for cell in row]
    return "\n".join([*part.texts, *rows, *(t.caption for t in part.tables), *(f.caption for f in part.figures)])


def test_every_section_is_on_the_page_with_its_figures(run: Run) -> None:
    page = build([run], run.path / "report.html").read_text()
    for title in (
        "Diagnosis", "Discrimination", "Calibration", "Subgroups", "What each modality contributes",
        "Alignment of the modalities", "Cohorts and shift", "Examples",
    ):  # fmt: skip
        assert f">{title}<" in page
    assert {p.name for p in run.figures.iterdir()} >= {
        "clinical_curves.png", "clinical_confusion.png", "reliability.png", "net_benefit.png", "subgroups.png",
        "alignment.png", "clinical_examples.png",
    }  # fmt: skip


def test_the_numbers_are_those_of_metrics_json(run: Run) -> None:
    found = json.loads((run.path / "metrics.json").read_text())["clinical"]
    shown = texts(clinical.diagnosis({"one": run}))
    for cohort in ("test", "prospective", "external_C1"):
        assert cohort in shown
        assert number(found["cohorts"][cohort]["auc"]) in shown
    assert found["decision"]["rule"] in shown
    shown = texts(clinical.modalities({"one": run}))
    assert number(found["ablation"]["image+text"]["drop"]) in shown
    assert f"{found['permutation']['text']['drop']:.3f}" in shown
    assert f"{found['gates']['boxes']['mean']:.3f} ± {found['gates']['boxes']['sd']:.3f}" in shown
    assert NOT_IMPORTANCE in shown
    shown = texts(clinical.cohorts({"one": run}))
    assert number(found["cohorts"]["external_C1"]["shift"]["classifier_auc"]) in shown
    assert "val" not in shown.split("\n")
    shown = texts(clinical.alignment({"one": run}))
    assert number(found["alignment"]["image-text"]["retrieval"]["image to text"]["within_view"]["recall_5"]) in shown


def test_two_runs_are_compared_on_the_same_images(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "two")
    table = clinical.diagnosis({"one": run, "two": Run(tmp_path / "two")}).tables[-1]
    assert table.rows == [["one minus two", "0.000 (0.000 to 0.000)", "1.000", "1.000"]]


def test_what_could_not_be_measured_is_a_dash_or_left_out(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "less")
    less = Run(tmp_path / "less")
    found = less.metrics["clinical"]
    found["cohorts"]["test"] |= {"auc": None, "average_precision": None}
    found["gates"], found["alignment"] = {}, {"image-text": {"samples": 1}}
    for name in ("ablation", "permutation", "net_benefit", "subgroups", "gaps"):
        found.pop(name)
    less.update_metrics("clinical", found)
    shutil.rmtree(less.arrays)
    runs = {"less": less}
    assert "–" in clinical.diagnosis(runs).tables[0].rows[1]
    assert not clinical.modalities(runs) and not clinical.alignment(runs) and not clinical.subgroups(runs)
    assert not clinical.examples(runs) and not clinical.discrimination(runs, tmp_path).figures[1:]
    assert build([less], less.path / "report.html").is_file()


def test_other_runs_have_no_such_sections(tmp_path: Path) -> None:
    runs = {"none": Run(tmp_path)}
    parts = [
        clinical.diagnosis(runs), clinical.discrimination(runs, tmp_path), clinical.calibration(runs),
        clinical.subgroups(runs), clinical.modalities(runs), clinical.alignment(runs), clinical.cohorts(runs),
        clinical.examples(runs),
    ]  # fmt: skip
    assert not any(parts)
