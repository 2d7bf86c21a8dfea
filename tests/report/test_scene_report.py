"""Sections about scenes from files alone, and figures that show what they are given."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar.report import build, scene_figures
from nearfar.report import scenes as sections
from nearfar.report.page import Picture, Section, Table
from nearfar.scenes.config import dump, load
from nearfar.scenes.measure import summary, unlearnt
from nearfar.scenes.run import SceneRun


@pytest.fixture
def run(tmp_path: Path) -> SceneRun:
    """A run folder without any training: metrics, arrays and lines as a run writes them."""
    rng = np.random.default_rng(0)
    made = SceneRun(tmp_path / "hut")
    made.arrays.mkdir(parents=True)
    (made.path / "config.yaml").write_text(dump(load("demo", "scene")))
    anchors = {name: {"psnr": 9.0 + k, "ssim": 0.5, "lpips": None} for k, name in enumerate(scene_figures.ANCHORS)}
    rows = [
        {"scene": "hut", "view": f"r_{k}", "psnr": 20.0 + k, "ssim": 0.9, "lpips": None, "anchors": anchors}
        for k in range(3)
    ]
    made.update_metrics("views", {"groups": {"held_out_views": summary(rows)}})
    made.update_metrics(
        "graph", {"history": [{"seconds": 0.0, "retrieval": 0.1}, {"seconds": 1.0, "retrieval": 1.0, "loss": 0.2}]}
    )
    picture = rng.integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)
    views: dict[str, Any] = dict.fromkeys(("truth", "made", "nearest"), picture)
    views |= {
        "depth": np.ones((2, 12, 16), np.float32),
        "alpha": picture[..., 0],
        "name": np.array(["hut/r_0", "hut/r_1"]),
    }
    np.savez(made.arrays / "views.npz", **{f"held_out_views/{key}": value for key, value in views.items()})
    np.savez(made.arrays / "turntable.npz", frames=rng.integers(0, 255, (4, 12, 16, 3), dtype=np.uint8))
    points = rng.normal(5, 1, (50, 3)).astype(np.float32)
    np.savez(made.arrays / "points.npz", points=points, colours=picture.reshape(-1, 3)[:50], influence=np.ones(50))
    line = {"kind": "evaluation", "held_out_views/ssim": 0.9}
    line |= {f"anchor/held_out_views/{name}/psnr": one["psnr"] for name, one in anchors.items()}
    lines = [{**line, "step": k, "time": k, "held_out_views/psnr": 10.0 + k} for k in range(4)]
    (made.path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return made


def test_a_page_is_one_file_with_all_that_the_run_has(run: SceneRun) -> None:
    page = build([run], run.path / "report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Summary", "Turntable", "Learning the views", "Rendered views", "The points"]
    assert "20.0" not in page.partition("Rendered views")[0].partition("<h2>Turntable")[2]
    assert "21.00 (20.00 to 22.00)" in page
    assert "10.00" in page  # over the best anchor, which has 11 dB
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_the_turntable_plays_and_is_large_enough(run: SceneRun) -> None:
    (picture,) = sections.turntables({"hut": run}).figures
    assert picture.source.startswith("data:image/webp;base64,")
    with Image.open(picture.path) as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
        assert min(image.size) >= 300


def test_points_travel_centred_with_their_colours(run: SceneRun) -> None:
    (snippet,) = sections.points({"hut": run}).snippets
    points, colours = (base64.b64decode(re.search(r'bytes\("([^"]+)"\)', part)[1]) for part in snippet.split("rgb ="))  # type: ignore[index]
    values = np.array(struct.unpack(f"<{len(points) // 4}f", points)).reshape(-1, 3)
    assert np.abs(np.median(values, axis=0)).max() < 1e-6
    assert np.percentile(np.linalg.norm(values, axis=1), 95) == pytest.approx(1, rel=1e-3)
    assert len(colours) == 150


def test_curves_of_several_groups_stand_side_by_side(tmp_path: Path) -> None:
    names = ("seen_objects", "unseen_objects", "held_out_views")
    line = {"kind": "evaluation", **{f"{name}/{measure}": 0.5 for name in names for measure in scene_figures.MEASURES}}
    lines = [{**line, "time": k} for k in range(3)]
    widths = {}
    for count, history in ((3, lines), (1, [{"kind": "evaluation", "time": 0.0, "seen_objects/psnr": 9.0}])):
        path = scene_figures.curves({"a": history}, tmp_path / f"{count}.png")
        assert path is not None
        with Image.open(path) as image:
            widths[count] = image.size
    assert widths[3][0] == 1.5 * widths[1][0]
    assert widths[3][1] == 2 * widths[1][1]


def test_a_run_that_has_learnt_nothing_says_so(run: SceneRun) -> None:
    assert unlearnt(run) == []
    assert sections.warnings({"hut": run}) == []
    views = run.metrics["views"]
    group = views["groups"]["held_out_views"]
    group["psnr"]["value"] = group["anchors"]["mean_image"]["psnr"]["value"]
    run.update_metrics("views", views)
    (said,) = unlearnt(run)
    assert said.startswith("held-out views: 10.00 dB, no better than the mean image with 10.00 dB")
    assert "nearfar data check" in said
    assert sections.warnings({"hut": run}) == [f"Warning: hut, {said}"]
    page = build([run], run.path / "report.html").read_text()
    assert "Warning: hut" in page.partition("<h2>Turntable")[0]
    views["groups"] = {"unseen_objects": group}
    run.update_metrics("views", views)
    assert unlearnt(run) == []


def test_intervals_stay_in_one_line_where_the_page_is_wide_enough() -> None:
    cells = ["a name that may be broken", *["18.889 (17.923 to 19.794)"] * 3]
    assert Table(["", "a", "b", "c"], [cells]).narrow
    assert not Table(["", "a", "b", "c", "d"], [[*cells, cells[-1]]]).narrow
    assert not Table(["task", "why"], [["noise", "the data have no true labels " * 5]]).narrow


def test_captions_cannot_end_the_page(run: SceneRun) -> None:
    (snippet,) = sections.points({"</script><b>": run}).snippets
    assert "<b>" not in snippet


def test_depth_is_bright_where_it_is_near_and_white_where_nothing_is() -> None:
    depth = np.array([[1.0, 2.0, 9.0]])
    picture, limits = scene_figures.depth_picture(depth, np.array([[1, 1, 0]]))
    assert picture[0, 0].sum() > picture[0, 1].sum()
    assert (picture[0, 2] == 255).all()
    again, same = scene_figures.depth_picture(depth + 1, np.array([[1, 1, 0]]), limits)
    assert same == limits
    assert np.array_equal(again[0, 0], picture[0, 1])
    assert (scene_figures.depth_picture(depth, np.zeros((1, 3)))[0] == 255).all()


def test_without_evaluations_there_is_no_curve(tmp_path: Path) -> None:
    assert scene_figures.curves({"a": [{"kind": "step", "psnr": 3.0}]}, tmp_path / "curves.png") is None


def test_a_section_of_snippets_alone_is_shown(tmp_path: Path) -> None:
    assert not Section("empty")
    assert Section("points", snippets=["<p></p>"])
    (tmp_path / "a.gif").write_bytes(b"GIF")
    assert Picture(tmp_path / "a.gif", "").source == "data:image/gif;base64,R0lG"
