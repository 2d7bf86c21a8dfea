"""Maps of scenes: what is written, nodata, pairs, windows against the whole, and that no half file stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

pytest.importorskip("rasterio")

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.rasterfile import rasterio
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.legend import class_colours
from nearfar.evaluate.scene import SceneOptions, predict_scene
from nearfar.evaluate.windowed import Array, Mask

CLASSES = ("water", "forest", "bare")


class Darkness:
    """Three classes by the mean brightness around a pixel; sees `reach` pixels far."""

    task, classes, times, bands, sensor = "segment", CLASSES, 1, ("B04", "B03"), "sentinel2_l2a"
    colours: tuple[tuple[int, int, int], ...] = ()
    statistics: tuple[list[float], list[float]] | None = None

    def __init__(self, size_multiple: int = 1, reach: int = 0) -> None:
        self.size_multiple, self.reach = size_multiple, reach
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, pixels: Array, valid: Mask) -> Array:
        assert pixels.dtype == np.float32
        assert np.isfinite(pixels).all()
        assert valid.shape == (pixels.shape[0], *pixels.shape[2:])
        self.shapes.add(pixels.shape)
        light = uniform_filter(pixels[0].mean(0), 2 * self.reach + 1, mode="nearest")
        scores = np.stack([0.2 - light, 0.2 - abs(light - 0.2), light - 0.2])
        return np.asarray(np.exp(9 * scores) / np.exp(9 * scores).sum(0), np.float32)


class Difference(Darkness):
    """Change where two scenes differ."""

    task, classes, times = "change", ("no change", "change"), 2

    def __call__(self, pixels: Array, valid: Mask) -> Array:
        changed = (abs(pixels[0] - pixels[1]).mean(0) > 0.05).astype(np.float32)
        return np.stack([1 - changed, changed])


def scene(path: Path, seed: int = 0, shape: tuple[int, int] = (70, 90)) -> tuple[Path, Array]:
    """A scene with a frame without data; (its path, pixels)."""
    crs = rasterio().crs.CRS.from_epsg(32631).to_wkt()
    noise = np.random.default_rng(seed).random((3, *shape))
    pixels = np.clip(4000 * uniform_filter(noise, (0, 9, 9)) ** 3 * 4, 1, 9000).astype(np.uint16)
    pixels[:, :5] = 0
    pixels[:, 30:33, 40:44] = 0
    grid = Grid(shape, (10.0, 0.0, 448000.0, 0.0, -10.0, 5412000.0), crs)
    write_geotiff(path, pixels, grid, bands=("B02", "B03", "B04"))
    return path, pixels


def expected(predictor: Darkness, pixels: Array) -> Array:
    return np.asarray(predictor(pixels[None, [2, 1]].astype(np.float32) / 10000, np.ones((1, *pixels.shape[1:]), bool)))


@pytest.mark.parametrize(("window", "overlap", "multiple", "reach"), [(32, 8, 1, 4), (100, 10, 16, 0), (30, 8, 16, 4)])
def test_the_map_is_that_of_the_whole_scene(
    tmp_path: Path, window: int, overlap: int, multiple: int, reach: int
) -> None:
    path, pixels = scene(tmp_path / "a.tif")
    predictor = Darkness(multiple, reach)
    done = predict_scene(predictor, [path], tmp_path / "map.tif", window=window, overlap=overlap)
    truth, valid = expected(Darkness(reach=reach), pixels).argmax(0), (pixels != 0).all(0)
    with rasterio().open(tmp_path / "map.tif") as file:
        assert np.array_equal(file.read(1), np.where(valid, truth, 255))
    assert done.counts == tuple(np.bincount(truth[valid], minlength=3))
    assert done.without_data == (~valid).sum()
    assert {size % multiple for shape in predictor.shapes for size in shape[-2:]} == {0}


def test_the_file_says_where_it_lies_and_what_its_values_mean(tmp_path: Path) -> None:
    path, _ = scene(tmp_path / "a.tif")
    done = predict_scene(Darkness(), [path], tmp_path / "map.tif")
    with rasterio().open(path) as source, rasterio().open(done.target) as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
        assert (file.dtypes, file.nodata) == (("uint8",), 255)
        assert json.loads(file.tags()["CLASSES"]) == list(CLASSES)
        assert file.tags(1)["CLASS_1"] == "forest"
        table = file.colormap(1)
        assert [table[i][:3] for i in range(3)] == [tuple(c) for c in class_colours(CLASSES)]
        assert table[255][3] == 0 or file.nodata == 255
    assert done.metres == 10


def test_probabilities_go_to_a_second_file(tmp_path: Path) -> None:
    path, pixels = scene(tmp_path / "a.tif")
    predict_scene(Darkness(), [path], tmp_path / "map.tif", probabilities=tmp_path / "p.tif", window=40, overlap=8)
    valid = (pixels != 0).all(0)
    with rasterio().open(tmp_path / "p.tif") as file:
        assert file.descriptions == CLASSES
        assert file.nodata == 65535
        stored = file.read()
        np.testing.assert_allclose(
            (stored * file.scales[0])[:, valid], expected(Darkness(), pixels)[:, valid], atol=5.1e-5
        )
        assert (stored[:, ~valid] == 65535).all()


def test_change_takes_a_pair_and_has_data_where_both_have(tmp_path: Path) -> None:
    before, pixels = scene(tmp_path / "a.tif")
    after = pixels.copy()
    after[:, 10:20, 10:20] += 2000
    after[:, 60:, 80:] = 0
    grid = read_geotiff(before).grid
    write_geotiff(tmp_path / "b.tif", after, grid, bands=("B02", "B03", "B04"))
    done = predict_scene(Difference(), [before, tmp_path / "b.tif"], tmp_path / "c.tif", window=32, overlap=4)
    with rasterio().open(done.target) as file:
        values = file.read(1)
    truth = np.zeros(values.shape, np.uint8)
    truth[10:20, 10:20] = 1
    assert np.array_equal(values, np.where((pixels != 0).all(0) & (after != 0).all(0), truth, 255))
    with pytest.raises(ConfigError, match=r"change needs another number of scenes .*found 1, expected 2.*--second"):
        predict_scene(Difference(), [before], tmp_path / "d.tif")
    with pytest.raises(ConfigError, match=r"found 3, expected 2"):
        predict_scene(Difference(), [before] * 3, tmp_path / "d.tif")


def test_of_several_dates_one_with_data_is_enough(tmp_path: Path) -> None:
    first, pixels = scene(tmp_path / "a.tif")
    later = pixels.copy()
    later[:, 5:25], later[:, :5] = 0, 700
    write_geotiff(tmp_path / "b.tif", later, read_geotiff(first).grid, bands=("B02", "B03", "B04"))
    predictor = Darkness()
    predictor.colours = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    done = predict_scene(predictor, [first, tmp_path / "b.tif"], tmp_path / "m.tif")
    assert done.without_data == 12
    with rasterio().open(done.target) as file:
        assert file.colormap(1)[1][:3] == (4, 5, 6)


def test_the_landsat_scene_keeps_its_place(shared_data: Path, tmp_path: Path) -> None:
    options = SceneOptions(sensor="landsat8")
    done = predict_scene(Darkness(32), [shared_data / "landsat8"], tmp_path / "m.tif", options=options, window=256)
    with rasterio().open(shared_data / "landsat8/l8_B4.tif") as source, rasterio().open(done.target) as file:
        assert (file.crs, file.transform, file.shape) == (source.crs, source.transform, source.shape)
    assert sum(done.counts) == 603 * 627
    assert min(done.counts[:2]) > 1000
    assert done.metres == 30


class Failing(Darkness):
    def __init__(self, error: BaseException | None = None, change: float = 1.0, rows: int = 0) -> None:
        super().__init__()
        self.error, self.change, self.rows = error, change, rows

    def __call__(self, pixels: Array, valid: Mask) -> Array:
        if self.error and self.shapes:
            raise self.error
        return super().__call__(pixels, valid)[:, self.rows :] * np.float32(self.change)


@pytest.mark.parametrize(
    ("predictor", "error", "message"),
    [
        (Failing(KeyboardInterrupt()), KeyboardInterrupt, "^$"),
        (Failing(SystemExit(143)), SystemExit, "143"),
        (Failing(change=float("nan")), DataError, "NaN"),
        (Failing(rows=1), ShapeError, "another shape"),
    ],
)
def test_nothing_stays_of_a_map_that_was_not_finished(
    tmp_path: Path, predictor: Failing, error: type[BaseException], message: str
) -> None:
    path, _ = scene(tmp_path / "a.tif")
    with pytest.raises(error, match=message):
        predict_scene(predictor, [path], tmp_path / "m.tif", probabilities=tmp_path / "p.tif", window=32, overlap=0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_progress_counts_every_window(tmp_path: Path) -> None:
    path, _ = scene(tmp_path / "a.tif")
    seen: list[tuple[int, int]] = []
    predict_scene(
        Darkness(), [path], tmp_path / "m.tif", window=32, overlap=0, progress=lambda *step: seen.append(step)
    )
    assert seen == [(i, 9) for i in range(9)]


def test_a_scene_of_another_level_is_brought_to_the_training_statistics(tmp_path: Path) -> None:
    path, pixels = scene(tmp_path / "a.tif")
    valid = (pixels != 0).all(0)
    brighter = np.where(valid, pixels * 2 + 300, 0).astype(np.uint16)
    write_geotiff(tmp_path / "b.tif", brighter, read_geotiff(path).grid, bands=("B02", "B03", "B04"))
    predictor, options = Darkness(), SceneOptions(statistics="scene")
    with pytest.raises(ConfigError, match="statistics"):
        predict_scene(predictor, [path], tmp_path / "no.tif", options=options)
    known = pixels[:, valid][[2, 1]] / 10000
    predictor.statistics = known.mean(1).tolist(), known.std(1).tolist()
    plain = predict_scene(predictor, [path], tmp_path / "a_map.tif")
    matched = predict_scene(predictor, [tmp_path / "b.tif"], tmp_path / "b_map.tif", options=options)
    untouched = predict_scene(predictor, [tmp_path / "b.tif"], tmp_path / "c_map.tif")
    assert max(np.abs(np.subtract(plain.counts, matched.counts))) < 30
    assert max(np.abs(np.subtract(plain.counts, untouched.counts))) > 300
