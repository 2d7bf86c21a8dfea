"""`nearfar predict RUN scene -o map.tif`: from the files of a scene to a map, and what goes wrong on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio")

from nearfar.cli import main
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.rasterfile import rasterio
from nearfar.evaluate import heads


class Greenness:
    """Vegetation where near infrared exceeds red; of a pair, change where it differs."""

    classes, times, sensor, bands = ("other", "vegetation"), 1, "sentinel2_l2a", ("B04", "B08")
    colours: tuple[tuple[int, int, int], ...] = ()
    size_multiple = 1
    statistics = ([0.1, 0.3], [0.05, 0.1])
    act: Any = None

    def __init__(self, task: str) -> None:
        self.task = task
        if task == "change":
            self.classes, self.times = ("no change", "change"), 2

    def __call__(self, pixels: np.ndarray, _: np.ndarray) -> np.ndarray:
        if self.act:
            self.act()
        green = pixels[:, 1] > 1.5 * pixels[:, 0]
        yes = (green[0] if len(green) == 1 else green[0] != green[1]).astype(np.float32)
        return np.stack([1 - yes, yes])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with heads that stand in for trained ones."""
    folder = tmp_path / "run"
    (folder / "heads").mkdir(parents=True)
    (folder / "heads/segment.safetensors").touch()
    monkeypatch.setattr(heads, "load_predictor", lambda _, task: Greenness(task))
    return folder


def scene(path: Path, seed: int = 0, east: float = 500000, bands: tuple[str, ...] = ("B04", "B08")) -> Path:
    crs = rasterio().crs.CRS.from_epsg(32631).to_wkt()
    pixels = np.random.default_rng(seed).integers(1, 5000, (len(bands), 40, 50)).astype(np.uint16)
    pixels[:, 0] = 0
    write_geotiff(path, pixels, Grid((40, 50), (10.0, 0.0, east, 0.0, -10.0, 5400000.0), crs), bands=bands)
    return path


def predict(*words: object) -> int:
    return main(["predict", *map(str, words)])


def test_a_scene_becomes_a_map_with_a_legend(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, out = scene(tmp_path / "a.tif"), tmp_path / "maps/out.tif"
    assert predict(run, a, "-o", out, "--window", 20, "--overlap", 4, "--probabilities") == 0
    printed = capsys.readouterr().out.split("\n")
    assert printed[0].split() == ["value", "class", "pixels", "share", "km2"]
    rows = [line.split() for line in printed[2:4]]
    assert sum(int(row[2]) for row in rows) == 39 * 50
    assert sum(float(row[4]) for row in rows) == pytest.approx(0.195)
    assert {path.name for path in out.parent.iterdir()} == {"out.tif", "out_probabilities.tif"}
    with rasterio().open(out) as file:
        assert (file.read(1)[0] == 255).all()
        assert (file.read(1) == 1).sum() == int(rows[1][2])


def test_nothing_is_overwritten_unasked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, out = scene(tmp_path / "a.tif"), tmp_path / "out.tif"
    assert predict(run, a, "-o", out) == 0
    assert predict(run, a, "-o", out) == 2
    assert "--force" in capsys.readouterr().err
    assert predict(run, a, "-o", out, "--force") == 0
    assert predict(run, a, "-o", a, "--force") == 2
    assert "would overwrite its scene" in capsys.readouterr().err


def test_a_pair_gives_change_and_must_lie_on_one_grid(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = scene(tmp_path / "a.tif"), scene(tmp_path / "b.tif", 1), scene(tmp_path / "c.tif", east=500050)
    assert predict(run, a, "--second", b, "-o", tmp_path / "out.tif") == 0
    assert "no change" in capsys.readouterr().out
    assert predict(run, a, "--second", c, "-o", tmp_path / "no.tif") == 3
    assert "different grids" in capsys.readouterr().err
    assert predict(run, a, "--task", "change", "-o", tmp_path / "no.tif") == 2
    assert "--second" in capsys.readouterr().err
    assert not (tmp_path / "no.tif").exists()


def test_without_a_head_the_command_that_trains_one_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = scene(tmp_path / "a.tif")
    (run / "heads/change.safetensors").touch()
    assert predict(run, a, "-o", tmp_path / "out.tif") == 2
    assert "found segment, change" in capsys.readouterr().err
    for head in (run / "heads").iterdir():
        head.unlink()
    assert predict(run, a, "-o", tmp_path / "out.tif") == 2
    assert f"nearfar eval {run} --task segment --root DATA" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere.tif"], 3, "no such scene"),
        (["text.tif"], 3, "damaged or not a GeoTIFF"),
        (["red.tif"], 3, "lacks B08"),
        (["a.tif", "--missing", "error", "--sensor", "landsat8"], 3, "does not fit"),
        (["a.tif", "--sensor", "landsat88"], 2, "Did you mean landsat8"),
        (["a.tif", "--window", "16"], 2, "Overlap out of range"),
        (["a.tif", "--bands", "B04"], 3, "no usable names"),
        ([], 2, "nothing to predict"),
    ],
)
def test_what_is_wrong_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    scene(tmp_path / "a.tif")
    scene(tmp_path / "red.tif", bands=("B04",))
    (tmp_path / "text.tif").write_text("no image")
    words = [str(tmp_path / word) if word.endswith(".tif") else word for word in words]
    assert predict(run, *words, "-o", tmp_path / "out.tif") == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_a_map_needs_a_geotiff(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = scene(tmp_path / "a.tif")
    assert predict(run, a, "--second", a, "-o", tmp_path / "out.csv") == 2
    assert "-o map.tif" in capsys.readouterr().err
    assert predict(run, a, a) == 2
    assert "one folder or image" in capsys.readouterr().err


def test_a_substitute_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = scene(tmp_path / "a.tif", bands=("B04", "B8A"))
    assert predict(run, a, "-o", tmp_path / "out.tif") == 0
    assert "B8A" in capsys.readouterr().err
    with rasterio().open(tmp_path / "out.tif") as file:
        assert file.tags()["SUBSTITUTED_BANDS"] == "B08=B8A"


def stop(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_no_half_map(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    a = scene(tmp_path / "a.tif")
    monkeypatch.setattr(Greenness, "act", lambda _: stop(number))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    try:
        assert predict(run, a, "-o", tmp_path / "out.tif", "--probabilities") == status
    finally:
        signal.signal(signal.SIGINT, before)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "run"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_is_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(path: Path) -> None:
        raise rasterio().errors.RasterioIOError("read failed")

    a = scene(tmp_path / "a.tif")
    monkeypatch.setattr("nearfar.data.rasterfile._read_through", cut)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    assert predict(run, a, "-o", tmp_path / "out.tif") == 1
    assert "out.tif: The disk is full" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "run"}


def test_the_landsat_scene(run: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tif"
    words = [run, shared_data / "landsat8", "-o", out, "--sensor", "landsat8", "--statistics", "scene"]
    assert predict(*words) == 0
    assert "vegetation" in capsys.readouterr().out
    with rasterio().open(out) as file:
        assert file.shape == (603, 627)
        assert file.crs.to_epsg() == 32616
