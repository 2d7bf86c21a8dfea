"""Reports from the files of a run folder: every part, and every part missing."""

from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.report import build, write_explorer
from nearfar.report.curves import column, loss_figure, mark_stages, stage_starts
from nearfar.report.explore import quantise
from nearfar.report.maps import project, spread
from nearfar.report.page import number
from nearfar.report.style import figure, smooth
from nearfar.report.summary import summary_text

CLASSES = ["clean", "cold", "warm"]


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def make_run(folder: Path, preset: str = "disco", full: bool = True) -> Any:
    """A run folder as training and evaluation leave it, with made-up numbers."""
    rng = np.random.default_rng(0)
    arrays = folder / "arrays"
    arrays.mkdir(parents=True)
    (folder / "config.yaml").write_text("preset: disco\n")
    history = [
        {"kind": "step", "step": s, "epoch": s // 5, "loss": 4.0 - s / 10, "parts/belief": 0.3,
         "parts/uncertainty": 0.5, "parts/disbelief": 0.2} for s in range(20)
    ]  # fmt: skip
    history += [
        {"kind": "epoch", "step": 5 * e + 4, "epoch": e, "loss": 3.0, "loss_baseline": 5.5, "health/alignment": 0.4,
         "health/uniformity": -2.0, "health/effective_rank": 9.0} for e in range(4)
    ]  # fmt: skip
    metrics: dict[str, Any] = {}
    if full:
        _fill(folder, rng)
        counts = np.array([[30, 2, 1], [3, 9, 0], [1, 1, 8]])
        per_class = {
            name: {"precision": interval(0.8), "recall": interval(0.7), "f1": interval(0.75), "support": 12}
            for name in CLASSES
        }
        report = {
            "accuracy": interval(0.85), "balanced_accuracy": interval(0.8), "macro": {"f1": interval(0.79)},
            "per_class": per_class, "confusion": {"classes": CLASSES, "counts": counts.tolist()},
        }  # fmt: skip
        metrics = {
            "classify": {"knn": report, "linear": report},
            "health": {"alignment": 0.4, "effective_rank": 8.5},
            "noise": {"average_precision": interval(0.9)},
            "attention": {"rollout": {"pixel_auroc": interval(0.7), "pointing_game": interval(0.5)}},
            "skipped": {"anomaly": "no class is called good"},
        }
    return SimpleNamespace(
        path=folder, arrays=arrays, figures=folder / "figures", metrics=metrics, history=lambda: history,
        config=SimpleNamespace(preset=preset),
    )  # fmt: skip


def _fill(folder: Path, rng: np.random.Generator) -> None:
    n = 45
    label, ids = np.arange(n) % 3, np.array([f"{i:03d}" for i in range(n)])
    np.savez(
        folder / "arrays/embeddings.npz", z=rng.normal(size=(n, 8)), label=label, true_label=label, id=ids,
        index=np.arange(n), split=np.array(["train"] * 15 + ["test"] * 30), classes=np.array(CLASSES),
    )  # fmt: skip
    np.savez(folder / "arrays/thumbnails.npz", images=rng.integers(0, 255, (n, 32, 32, 3), np.uint8), id=ids)
    masks = np.zeros((8, 64, 64), bool)
    masks[:, 20:40, 20:40] = True
    np.savez(
        folder / "arrays/attention.npz",
        **{
            "image": rng.integers(0, 255, (8, 64, 64, 3), np.uint8),
            "mask": masks,
            "maps/rollout": rng.random((8, 64, 64)),
        },
    )
    b = rng.random(60) / 2
    np.savez(
        folder / "arrays/opinions.npz",
        epoch=np.repeat([0, 3], 30),
        b=b,
        d=b / 2,
        u=1 - 1.5 * b,
        agree=rng.integers(0, 2, 60),
    )
    with (folder / "noise.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["rank", "id", "given", "suggested", "doubt", "true"])
        writer.writeheader()
        writer.writerows(
            {"rank": k, "id": i, "given": "clean", "suggested": "cold", "doubt": 0.9 - k / 100, "true": "cold"}
            for k, i in enumerate(ids[:15])
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    run = make_run(tmp_path_factory.mktemp("runs") / "disco-1")
    return run, build([run], run.path / "report.html").read_text()


def test_page_is_self_contained(page: tuple[Any, str]) -> None:
    assert not re.search(r'(src|href)="(?!data:|#)', page[1])
    assert "http" not in page[1].replace("http-equiv", "")


def test_page_has_every_section_with_text_for_every_picture(page: tuple[Any, str]) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page[1])
    assert titles == [
        "Summary", "Training", "Embedding map", "Classification", "Opinions about pairs", "Labels in doubt",
        "Attention", "Not measured",
    ]  # fmt: skip
    assert page[1].count("<img") == len(re.findall(r'alt="[^"]+"', page[1])) >= 8


def test_pictures_are_the_files_in_the_run(page: tuple[Any, str]) -> None:
    embedded = set(re.findall(r"data:image/png;base64,([^\"]+)", page[1]))
    assert embedded == {base64.b64encode(p.read_bytes()).decode() for p in page[0].figures.glob("*.png")}


def test_missing_measurements_are_named(page: tuple[Any, str]) -> None:
    assert "no class is called good" in page[1] and "Not measured" in page[1]


def test_run_without_evaluation_still_has_its_curves(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=False)
    text = build([run], run.path / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Training"]


def test_several_runs_write_all_numbers_beside_the_page(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, name) for name in ("disco", "supcon")]
    build(runs, tmp_path / "both.html")
    numbers = json.loads((tmp_path / "both.json").read_text())
    assert numbers["supcon"]["health"]["effective_rank"] == 8.5
    assert "comparison" in numbers


def test_text_in_data_is_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", full=False)
    text = build([run], tmp_path / "page.html", title="<script>alert(1)</script>").read_text()
    assert "<script>alert" not in text


def test_summary_shows_intervals_side_by_side(tmp_path: Path) -> None:
    text = summary_text({"disco": make_run(tmp_path / "a").metrics, "supcon": {}})
    line = next(line for line in text.splitlines() if line.startswith("kNN balanced"))
    assert line.split("  ")[-1].strip() == "–"
    assert "0.800 (0.750 to 0.850)" in line


def test_explorer_holds_all_points_and_escapes_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = ["</script><b>", *map(str, range(19))]
    path = write_explorer(
        tmp_path / "e.html",
        rng.normal(size=(20, 6)),
        rng.integers(0, 255, (20, 8, 8, 3), np.uint8),
        np.arange(20) % 2,
        ["a", "b"],
        ids,
    )
    text = path.read_text()
    assert text.count("</script>") == 1
    data = json.loads(re.search(r"const D = (\{.*\});", text).group(1))  # type: ignore[union-attr]
    assert data["ids"] == ids
    assert len(base64.b64decode(data["vectors"])) == 20 * 6


def test_explorer_refuses_rows_that_do_not_match(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differ in number"):
        write_explorer(
            tmp_path / "e.html", np.ones((3, 2)), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3), ["a"], ["1"] * 3
        )


def test_int8_vectors_keep_cosines() -> None:
    z = np.random.default_rng(0).normal(size=(50, 64))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    q = quantise(z).astype(float)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    assert np.abs(q @ q.T - z @ z.T).max() < 0.01


@pytest.mark.parametrize("z", [np.zeros((30, 4)), np.ones((3, 4)), np.random.default_rng(0).normal(size=(40, 1))])
def test_projection_of_degenerate_embeddings_is_finite(z: np.ndarray) -> None:
    plane = project(z)
    assert plane.shape == (len(z), 2)
    assert np.isfinite(plane).all()


def test_spread_keeps_thumbnails_apart() -> None:
    points = np.random.default_rng(0).random((200, 2))
    chosen = points[spread(points, 0.1, 60)]
    gaps = np.linalg.norm(chosen[:, None] - chosen[None], axis=-1) + np.eye(len(chosen))
    assert gaps.min() >= 0.1


def test_stages_are_lines_with_names_where_they_begin(tmp_path: Path) -> None:
    rows = [
        {"kind": "step", "step": s, "epoch": s // 2, "loss": 1.0, "stage": "head" if s < 4 else "all"} for s in range(8)
    ]
    rows.insert(4, {**rows[3], "kind": "epoch"})
    assert stage_starts(rows, "step") == [(0, "head"), (4, "all")]
    assert stage_starts(rows, "epoch") == [(0, "head"), (2, "all")]
    assert stage_starts([{"kind": "step", "step": 0, "epoch": 0}], "step") == []
    _, (axis,) = figure(1, 1, 2, 2)
    mark_stages(axis, [rows, rows], "step")
    assert [line.get_xdata()[0] for line in axis.lines] == [-0.5, 3.5]
    assert [text.get_text() for text in axis.texts] == ["head", "all"]
    assert loss_figure({"run": rows}, tmp_path / "loss.png") == tmp_path / "loss.png"


def test_small_parts() -> None:
    assert number({"value": None}) == number(None) == "–"
    assert number(0.12345) == "0.123"
    assert smooth([1.0, 1.0, float("nan"), 1.0], 3).tolist() == [1.0, 1.0, 1.0, 1.0]
    x, y = column(
        [{"kind": "step", "epoch": 1, "loss": 2.0}, {"kind": "epoch", "epoch": 1, "loss": 3.0}], "step", "loss"
    )
    assert (x.tolist(), y.tolist()) == ([1.0], [2.0])


def test_explorer_keeps_neighbours_of_features_that_all_point_one_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spread_out = rng.normal(size=(60, 16))
    z = 100.0 + spread_out
    path = write_explorer(
        tmp_path / "e.html", z, np.zeros((60, 4, 4, 3), np.uint8), np.zeros(60, int), ["a"], [str(i) for i in range(60)]
    )
    data = json.loads(re.search(r"const D = (\{.*\});", path.read_text()).group(1))  # type: ignore[union-attr]
    stored = np.frombuffer(base64.b64decode(data["vectors"]), np.int8).reshape(60, 16).astype(float)

    def nearest(x: np.ndarray) -> np.ndarray:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return (unit @ unit.T - 2 * np.eye(len(x))).argmax(1)

    assert (nearest(stored) == nearest(spread_out - spread_out.mean(0))).mean() > 0.9
