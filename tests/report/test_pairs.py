"""The sections of a report about pairs of objects, from made-up files of a run folder."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nearfar.config import EvalConfig
from nearfar.report import banner_figures as figures
from nearfar.report import build, pairs

WORDS = ("above", "in", "to the left of")


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def write_arrays(folder: Path, rng: np.random.Generator, shift: int) -> None:
    def pictures(*shape: int) -> dict[str, np.ndarray]:
        masks = np.zeros((*shape, 2, 8, 8), np.float32)
        masks[..., 0, :3, :3] = masks[..., 1, 4:, 4:] = 1
        return {"picture": rng.integers(0, 255, (*shape, 16, 16, 3), np.uint8), "masks": masks}

    hits = {
        f"hits/{way}/{key}": value
        for way in ("features", "sketch", "oracle")
        for key, value in {
            **pictures(3, 4), "relevance": rng.random((3, 4)), "word": np.full((3, 4), "in"),
        }.items()
    }  # fmt: skip
    np.savez(
        folder / "banners.npz", banner=rng.random((3, 5, 12)), forces=np.linspace(-2, 2, 5), symmetric=False,
        word=np.array(WORDS), **pictures(3), **hits,
    )  # fmt: skip
    true = np.arange(60) % 3
    np.savez(
        folder / "relations.npz", id=np.arange(60).astype(str), true=true, image=np.arange(60) // 2,
        classes=np.array(WORDS),
        **{f"predicted/{name}": np.where(np.arange(60) < 30 + shift, true, 0) for name in ("linear", "mlp")},
    )  # fmt: skip
    np.savez(
        folder / "vqa.npz", question=np.array(["is the red disc above the blue ring with a long name?"] * 2),
        answer=np.array(["yes", "no"]), shown=np.arange(2), **pictures(2),
        **{"predicted/picture": np.array(["yes", "yes"])},
    )  # fmt: skip


def metrics(sketch: bool) -> dict[str, Any]:
    per_class = {w: {**dict.fromkeys(("precision", "recall", "f1"), interval(0.7)), "support": 20} for w in WORDS}
    report = {
        "accuracy": interval(0.712), "balanced_accuracy": interval(0.7), "macro": {"f1": interval(0.69)},
        "per_class": per_class, "confusion": {"classes": WORDS, "counts": np.eye(3, dtype=int).tolist()},
        "fitting": interval(0.812),
    }  # fmt: skip
    level = {**interval(0.9), "chance": 0.4, "rescaled": interval(0.833)}
    ranked = {"ndcg": dict.fromkeys(("1", "5", "25"), level), "map": {**interval(0.3), "chance": 0.1, "oracle": 0.42}}
    found: dict[str, Any] = {
        "relations": {"linear": report, "mlp": report, "boxes": report, "ceiling": 0.9, "test_pairs": 60,
                      "minus_boxes": {"accuracy": interval(0.05)}},
        "banners": {"features": ranked},
        "vqa": {name: {"accuracy": interval(0.8), "verify": interval(0.85)} for name in ("picture", "question_only")},
    }  # fmt: skip
    if sketch:
        recall = {k: {**interval(0.6), "chance": 0.02} for k in ("1", "5")}
        found["banners"]["sketch"] = {**ranked, "map": None, "recall": recall}
    return found


def make_run(folder: Path, preset: str = "csip", shift: int = 10) -> Any:
    (folder / "arrays").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"preset: {preset}\n")
    write_arrays(folder / "arrays", np.random.default_rng(0), shift)
    return SimpleNamespace(
        path=folder, arrays=folder / "arrays", figures=folder / "figures", metrics=metrics(preset == "csip"),
        history=list, config=SimpleNamespace(preset=preset, eval=EvalConfig(bootstrap=50)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_run(tmp_path_factory.mktemp("runs") / "csip-1")
    return build([run], run.path / "report.html").read_text()


def test_every_section_is_there_with_its_pictures(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Summary", "Pairs and their force banners", "Spatial relations", "Pairs that lie alike",
        "Questions about pairs",
    ]  # fmt: skip
    assert page.count("<img") == len(re.findall(r'alt="[^"]+"', page)) == 1 + 1 + 2 + 1


def test_numbers_stand_beside_their_baselines(page: str) -> None:
    for text in (
        "0.712 (0.702 to 0.722)", "0.812 (0.802 to 0.822)", "no method exceeds on average", "0.050 (0.040 to 0.060)",
        "0.833 (0.823 to 0.843)", "0.420", "question alone", "csip, chance",
    ):  # fmt: skip
        assert text in page


def test_two_runs_are_compared_on_the_same_pairs(tmp_path: Path) -> None:
    runs = {name: make_run(tmp_path / name, name, shift) for name, shift in (("csip", 20), ("simclr", 5))}
    part = pairs.relations(runs, tmp_path)
    assert part.tables[-1].rows[0][1].startswith("0.167 (")  # 10 of 60 pairs more
    assert part.tables[-1].head[1] == "csip minus simclr"
    rows = [row[0] for row in pairs.retrieval(runs, tmp_path).tables[0].rows]
    assert rows == ["csip, features", "csip, banner to picture", "simclr, features"]


def test_other_test_pairs_are_not_compared(tmp_path: Path) -> None:
    runs = {name: make_run(tmp_path / name, name) for name in ("csip", "simclr")}
    with np.load(runs["simclr"].arrays / "relations.npz") as file:
        content = {key: file[key] for key in file.files}
    np.savez(runs["simclr"].arrays / "relations.npz", **{**content, "id": content["id"][::-1]})
    assert pairs.relations(runs, tmp_path).tables[-1].caption != "Paired differences"


def test_runs_without_pairs_have_no_such_sections(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.metrics.clear()
    for file in (tmp_path / "run/arrays").iterdir():
        file.unlink()
    assert "<h2>" not in build([run], tmp_path / "page.html").read_text()


def test_a_round_banner_turns_as_angles_do_and_a_symmetric_one_repeats() -> None:
    banner, forces = np.zeros((3, 8)), (-1.0, 0.0, 1.0)
    banner[2, 2] = 1  # 90 degrees, the largest force

    def brightest(symmetric: bool) -> list[tuple[float, float]]:
        axis = Figure().add_subplot(projection="polar")
        figures.round_banner(axis, banner, forces, symmetric)
        mesh = axis.collections[0]
        cells = np.asarray(mesh.get_array()).reshape(3, -1)
        edges = np.asarray(mesh.get_coordinates())  # type: ignore[attr-defined]
        return [
            (float(np.degrees(edges[r, c : c + 2, 0].mean())), float(edges[r + 1, c, 1]))
            for r, c in np.argwhere(cells > 0)
        ]

    assert brightest(False) == [(pytest.approx(90), pytest.approx(1))]
    assert brightest(True) == [(pytest.approx(45), pytest.approx(1)), (pytest.approx(225), pytest.approx(1))]


def test_forces_grow_upwards_whatever_their_order() -> None:
    for forces, bright in (((-1.0, 0.0, 1.0), 0), ((1.0, 0.0, -1.0), 2)):
        banner = np.zeros((3, 8))
        banner[bright] = 1  # r = -1
        axis = Figure().add_subplot()
        figures.flat_banner(axis, banner, forces)
        image = axis.images[0]
        assert np.asarray(image.get_array())[0].all() and image.origin == "lower"
        assert [text.get_text() for text in axis.get_yticklabels()] == ["-1", "0", "1"]


def test_infinite_forces_are_drawn_as_the_largest(tmp_path: Path) -> None:
    banner = np.array([[0.0, 1.0, np.inf, 2.0]])
    drawn = figures.Drawn(np.zeros((8, 8, 3), np.uint8), np.ones((2, 8, 8)), banner)
    path = figures.banner_figure([drawn], [1.0], tmp_path / "banner.png")
    with Image.open(path) as picture:
        assert picture.width > picture.height
