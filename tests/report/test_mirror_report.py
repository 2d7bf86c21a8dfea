"""The section of a report about mirrored views, from made-up files of a run folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from nearfar.config import EvalConfig
from nearfar.report import build, mirrors


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def figures(top: float) -> dict[str, Any]:
    names = ("triplet_accuracy", "mirror_top1", "mirror_top5", "cosine_mirror", "cosine_opposite")
    return dict.fromkeys(names, interval(top)) | {"chance_top1": 0.025, "triples": 12, "views": 41, "objects": 2}


def make_run(folder: Path, preset: str) -> Any:
    rng = np.random.default_rng(0)
    (folder / "arrays").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"preset: {preset}\n")
    pictures = {name: rng.integers(0, 255, (2, 8, 8, 3), np.uint8) for name in ("view", "mirror", "opposite")}
    hits = {
        "hits/picture": rng.integers(0, 255, (2, 4, 8, 8, 3), np.uint8), "hits/cosine": rng.random((2, 4)),
        "hits/is_mirror": np.eye(2, 4, dtype=bool), "hits/same_object": np.eye(2, 4, 1, dtype=bool),
    }  # fmt: skip
    np.savez(folder / "arrays" / "mirrors.npz", **pictures, **hits)
    baselines = {"pixels": figures(0.111), "flipped_pixels": figures(0.999)}
    return SimpleNamespace(
        path=folder, arrays=folder / "arrays", figures=folder / "figures", history=list,
        metrics={"mirrors": figures(0.912) | {"baselines": baselines}},
        config=SimpleNamespace(preset=preset, eval=EvalConfig(bootstrap=50)),
    )  # fmt: skip


def test_the_page_shows_sheets_and_the_baselines(tmp_path: Path) -> None:
    run = make_run(tmp_path / "smcl", "smcl")
    page = build([run], run.path / "report.html").read_text()
    for text in ("Mirrored views", "0.912 (0.902 to 0.922)", "0.999 (0.989 to 1.009)", "flipped left to right",
                 "0.025", "0.125", "12 triples of 2 test objects", 'alt="views found by smcl"'):  # fmt: skip
        assert text in page
    assert (run.figures / "mirrors.png").is_file()


def test_two_runs_have_a_row_and_a_sheet_each_and_one_of_each_baseline(tmp_path: Path) -> None:
    runs = {name: make_run(tmp_path / name, name) for name in ("smcl", "smcl_reference")}
    part = mirrors.mirrored_views(runs)
    assert [row[0] for row in part.tables[0].rows] == [
        "smcl", "smcl_reference", "pixels as they are", "pixels of the view flipped left to right", "chance",
    ]  # fmt: skip
    assert len(part.figures) == 2


def test_runs_without_triples_have_no_section(tmp_path: Path) -> None:
    run = make_run(tmp_path / "simclr", "simclr")
    run.metrics = {}
    assert not mirrors.mirrored_views({"simclr": run})
