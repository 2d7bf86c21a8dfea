"""The sections about what a diagnosis rests on, from the files of a measured run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nearfar.report import build, clinical_evidence
from nearfar.report.clinical_evidence import NOT_IMPORTANCE
from nearfar.report.page import number
from nearfar.train.run import Run


def cells(part: Any) -> list[str]:
    return [cell for table in part.tables for row in table.rows for cell in row]


def test_the_numbers_are_those_of_metrics_json(diagnosed: Run) -> None:
    found, runs = diagnosed.metrics["clinical"], {"one": diagnosed}
    modalities = clinical_evidence.modalities(runs)
    assert number(found["ablation"]["image+text"]["drop"]) in cells(modalities)
    exchanged, gate = found["permutation"]["text"], found["gates"]["boxes"]
    assert f"{exchanged['drop']:.3f} ± {exchanged['sd']:.3f}" in cells(modalities)
    assert f"{gate['mean']:.3f} ± {gate['sd']:.3f}" in cells(modalities)
    assert NOT_IMPORTANCE in modalities.tables[-1].caption
    within = found["alignment"]["image-text"]["retrieval"]["image to text"]["within_view"]
    assert number(within["recall_5"]) in cells(clinical_evidence.alignment(runs))


def test_what_could_not_be_measured_is_left_out(diagnosed: Run, tmp_path: Path) -> None:
    shutil.copytree(diagnosed.path, tmp_path / "less")
    less = Run(tmp_path / "less")
    found = less.metrics["clinical"]
    found["gates"], found["alignment"] = {}, {"image-text": {"samples": 1}}
    for name in ("ablation", "permutation"):
        found.pop(name)
    less.update_metrics("clinical", found)
    shutil.rmtree(less.arrays)
    runs = {"less": less}
    assert not any(part(runs) for part in (clinical_evidence.modalities, clinical_evidence.alignment))
    assert not clinical_evidence.examples(runs)
    assert build([less], less.path / "report.html").is_file()


def test_other_runs_have_no_such_sections(tmp_path: Path) -> None:
    runs = {"none": Run(tmp_path)}
    parts = (clinical_evidence.modalities, clinical_evidence.alignment, clinical_evidence.examples)
    assert not any(part(runs) for part in parts)
