"""The sections of a report about satellite images."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar.report import build, land
from nearfar.report import land_figures as figures

CLASSES = ("water", "forest", "meadow", "town")


def number(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def write_arrays(folder: Path, rng: np.random.Generator) -> None:
    def colours(*shape: int) -> np.ndarray:
        return rng.integers(0, 255, (*shape, 3), np.uint8)

    ids, classes = np.array(["tile/with/a/rather/long/name/1", "b"]), np.array(CLASSES)
    true, predicted = rng.integers(0, 3, (2, 2, 24, 30), np.uint8)
    true[0, :5] = predicted[0, :5] = 255
    np.savez(
        folder / "segment.npz", true=true, predicted=predicted, colour=colours(2, 24, 30),
        false_colour=colours(2, 24, 30), id=ids, classes=classes,
    )  # fmt: skip
    np.savez(
        folder / "change.npz", true=true > 1, predicted=predicted > 1, colour=colours(2, 24, 30),
        colour_second=colours(2, 24, 30), id=ids, classes=np.array(["no change", "change"]),
    )  # fmt: skip
    np.savez(
        folder / "landcover.npz", true=np.arange(8) % 4, predicted=np.arange(8) // 2, id=np.arange(8).astype(str),
        classes=classes, shown=np.arange(8), colour=colours(8, 16, 16),
    )  # fmt: skip
    np.savez(
        folder / "bands.npz", id=ids, groups=np.array(["natural", "near_infrared"]),
        group_bands=np.array(["B04 B03 B02", "B08 B04 B03"]), composites=colours(2, 2, 16, 16),
        textures=np.array(["lbp_0"]), texture_bands=np.array(["B02 B03 B04"]), patterns=colours(2, 1, 16, 16),
        dates=colours(2, 3, 16, 16), days=np.array([[737791, 737820, 737900]] * 2),
    )  # fmt: skip


def make_run(folder: Path, name: str = "saco") -> Any:
    (folder / "arrays").mkdir(parents=True)
    (folder / "config.yaml").write_text("preset: saco\n")
    write_arrays(folder / "arrays", np.random.default_rng(0))
    per_class = {name: {"iou": 0.5, "precision": 0.6, "recall": 0.7, "f1": 0.64, "support": 100} for name in CLASSES}
    confusion = {"classes": list(CLASSES), "counts": (np.eye(4, dtype=int) * 90 + 10).tolist()}
    common = {"per_class": per_class, "confusion": confusion, "macro": {"f1": number(0.6)}}
    metrics = {
        "landcover": {"accuracy": number(0.9), "balanced_accuracy": number(0.8), "mode": "linear", **common},
        "segment": {
            "overall_accuracy": number(0.7), "mean_iou": number(0.512), "averaged_over": list(CLASSES[:3]), **common,
        },
        "change": {"precision": number(0.61), "recall": number(0.4), "f1": number(0.48), "threshold": 0.37},
    }  # fmt: skip
    return SimpleNamespace(
        path=folder, arrays=folder / "arrays", figures=folder / "figures", metrics=metrics, history=list,
        config=SimpleNamespace(preset=name),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_run(tmp_path_factory.mktemp("runs") / "saco-1")
    return build([run], run.path / "report.html").read_text()


def test_every_section_is_there_with_its_pictures(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Summary", "Bands and textures", "Land cover of patches", "Maps of classes", "Change"]
    assert page.count("<img") == len(re.findall(r'alt="[^"]+"', page)) == 3 + 2 + 2 + 1


def test_numbers_of_the_tasks_are_shown_with_intervals(page: str) -> None:
    for text in ("0.512 (0.502 to 0.522)", "0.480 (0.470 to 0.490)", "0.370", "water, forest, meadow"):
        assert text in page
    assert page.count(">meadow</th>") == 2


def test_two_runs_stand_beside_each_other(tmp_path: Path) -> None:
    runs = {name: make_run(tmp_path / name, name) for name in ("saco", "moco_v2")}
    for run in runs.values():
        (run.arrays / "segment.npz").unlink()
    part = land.segment(runs, tmp_path)
    assert [row[0] for row in part.tables[0].rows] == ["saco", "moco_v2"]
    assert part.tables[0].rows[1][2] == "0.512 (0.502 to 0.522)"
    assert [table.caption for table in part.tables[1:]] == ["saco, test pixels", "moco_v2, test pixels"]


def test_runs_without_such_tasks_have_no_such_sections(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.metrics.clear()
    for file in (tmp_path / "run/arrays").iterdir():
        file.unlink()
    assert "<h2>" not in build([run], tmp_path / "page.html").read_text()


def test_maps_without_colour_pictures_are_still_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for task in ("segment", "change"):
        with np.load(run.arrays / f"{task}.npz") as file:
            kept = {name: file[name] for name in file.files if "colour" not in name}
        np.savez(run.arrays / f"{task}.npz", **kept)
    assert land.segment({"saco": run}, tmp_path).figures[0].path.is_file()
    assert land.change({"saco": run}).figures[0].path.is_file()


def test_classes_have_the_legends_colours() -> None:
    table = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)
    labels = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_allclose(figures.class_picture(labels, table)[0, :2] * 255, table)
    legend = dict(figures.class_legend([labels], ["a", "b"], table))
    assert list(legend) == ["a", "b", "does not count"]
    np.testing.assert_allclose(figures.class_picture(labels, table)[0, 2], legend["does not count"])
    assert [name for name, _ in figures.class_legend([labels[:, 1:2]], ["a", "b"], table)] == ["b"]


def test_change_has_three_colours_over_the_ground() -> None:
    true, predicted = np.array([[0, 1, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 0, 1]], np.uint8)
    made = (figures.change_picture(true, predicted, np.zeros((1, 5, 3), np.uint8)) * 255).round().astype(int)[0]
    hexes = ["#" + "".join(f"{value:02X}" for value in pixel) for pixel in made]
    assert hexes[1:4] == [figures.FOUND, figures.FALSE_ALARM, figures.MISSED]
    assert len(set(hexes)) == 5


def test_errors_are_red_where_they_count() -> None:
    true, predicted = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 2]], np.uint8)
    made = figures.error_picture(true, predicted, np.zeros((1, 3, 3), np.uint8))[0]
    assert made[1, 0] > 0.8 > made[1, 1]
    assert len({tuple(pixel) for pixel in made}) == 3


def test_a_grid_of_pictures_keeps_their_pixels_sharp(tmp_path: Path) -> None:
    board = np.zeros((2, 2, 3))
    board[0, 0] = board[1, 1] = 1
    path = figures.grid_figure({"a": [board]}, ["board"], tmp_path / "a.png", legend=figures.CHANGE_LEGEND, size=2)
    inner = np.asarray(Image.open(path).convert("L"))[60:160, 60:160]
    assert ((inner < 20) | (inner > 235)).mean() > 0.95
