"""Windows over scenes: nothing lost, nothing seen twice, nodata and georeference kept, memory bounded."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.errors import ConfigError, ShapeError
from nearfar.evaluate.windowed import Array, Function, Mask, spans, windowed, windowed_geotiff

SIZES = [((37, 53), 16, 6), ((53, 37), 17, 8), ((64, 64), 16, 0), ((5, 7), 32, 10), ((33, 9), 32, 16), ((1, 1), 1, 0)]


def identity(pixels: Array, _: Mask) -> Array:
    return pixels


def run(image: Array, valid: Mask, function: Function, window: int, overlap: int) -> tuple[Array, Array]:
    """(result with -1 where nothing was written, number of times each pixel was written)."""
    result, times = np.full(image.shape, -1.0), np.zeros(valid.shape, int)

    def write(rows: slice, cols: slice, values: Array, known: Mask) -> None:
        result[:, rows, cols] = np.where(known, values, -1)
        times[rows, cols] += 1

    windowed(lambda r, c: (image[:, r, c], valid[r, c]), write, valid.shape, function, window, overlap)
    return result, times


@pytest.mark.parametrize(("shape", "window", "overlap"), SIZES)
def test_identity_equals_the_whole(shape: tuple[int, int], window: int, overlap: int) -> None:
    image = np.random.default_rng(0).random((3, *shape))
    result, times = run(image, np.ones(shape, bool), identity, window, overlap)
    assert np.array_equal(result, image)
    assert (times == 1).all()


@pytest.mark.parametrize(("shape", "window", "overlap"), [((37, 53), 16, 6), ((53, 37), 17, 7), ((40, 21), 24, 12)])
def test_a_function_that_looks_half_the_overlap_far_equals_the_whole(
    shape: tuple[int, int], window: int, overlap: int
) -> None:
    image = np.random.default_rng(0).integers(0, 1000, (2, *shape)).astype(float)
    reach = overlap // 2

    def blur(pixels: Array, _: Mask) -> Array:
        return np.round(uniform_filter(pixels, (0, 2 * reach + 1, 2 * reach + 1), mode="nearest"), 6)

    result, _ = run(image, np.ones(shape, bool), blur, window, overlap)
    assert np.array_equal(result, blur(image, np.ones(shape, bool)))
    with_less, _ = run(image, np.ones(shape, bool), blur, window, 0)
    assert not np.array_equal(with_less, result)


def test_pixels_without_data_stay_as_they_were_and_empty_windows_are_not_computed() -> None:
    image, valid = np.random.default_rng(0).random((1, 40, 40)), np.ones((40, 40), bool)
    valid[:, :20] = False
    valid[3, 30] = False
    calls: list[tuple[int, ...]] = []

    def function(pixels: Array, known: Mask) -> Array:
        calls.append(pixels.shape)
        assert known.any()
        return pixels

    result, times = run(image, valid, function, 10, 0)
    assert len(calls) == 8
    assert np.array_equal(result[0], np.where(valid, image[0], -1))
    assert (times[:, :20] == 0).all()


def test_every_window_has_one_shape_and_enough_overlap() -> None:
    for size, window, overlap in ((101, 32, 10), (33, 32, 16), (64, 32, 0), (20, 32, 4)):
        pieces = spans(size, window, overlap)
        assert {read.stop - read.start for read, _ in pieces} == {min(window, size)}
        assert [i for _, keep in pieces for i in range(keep.start, keep.stop)] == list(range(size))
        for (left, kept), (right, _) in pairwise(pieces):
            assert left.stop - right.start >= overlap
            assert min(left.stop - kept.stop, kept.stop - right.start) >= overlap // 2


def test_memory_does_not_grow_with_the_scene() -> None:
    def peak(size: int) -> int:
        def read(rows: slice, cols: slice) -> tuple[Array, Mask]:
            shape = rows.stop - rows.start, cols.stop - cols.start
            return np.ones((4, *shape), np.float32), np.ones(shape, bool)

        tracemalloc.start()
        windowed(read, lambda *_: None, (size, size), lambda pixels, _: pixels * 2, 128, 16)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(2048) < 1.1 * peak(256)


@pytest.mark.parametrize(
    ("shape", "window", "overlap", "message"),
    [
        ((0, 5), 8, 2, "scene is empty"),
        ((5, 5), 0, 0, "window is empty"),
        ((5, 5), 8, 5, "0 to 4"),
        ((5, 5), 8, -1, "0 to 4"),
    ],
)
def test_impossible_sizes(shape: tuple[int, int], window: int, overlap: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(np.zeros((1, *shape)), np.ones(shape, bool), identity, window, overlap)


def test_a_function_must_keep_the_windows_size() -> None:
    with pytest.raises(ShapeError, match=r"\(1, 4, 8\).*'K', 8, 8"):
        run(np.zeros((1, 9, 9)), np.ones((9, 9), bool), lambda x, _: x[:, ::2], 8, 2)


def test_a_real_scene_from_geotiff_to_geotiff(shared_data: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    files = [shared_data / "landsat8" / f"l8_B{i}.tif" for i in (4, 5)]

    def ndvi(pixels: Array, _: Mask) -> Array:
        red, near = pixels.astype(np.float32)
        return ((near - red) / np.maximum(near + red, 1))[None]

    target = tmp_path / "ndvi.tif"
    windowed_geotiff(
        files, target, ndvi, names=("ndvi",), dtype="float32", nodata=-9, source_nodata=0, window=200, overlap=20
    )
    whole = read_geotiff(files, nodata=0)
    with rasterio.open(target) as written, rasterio.open(files[0]) as source:
        assert written.crs == source.crs
        assert written.transform == source.transform
        assert written.shape == source.shape
        assert written.nodata == -9
        assert written.descriptions == ("ndvi",)
        expected = np.where(whole.valid, ndvi(whole.pixels, whole.valid), np.float32(-9))
        assert np.array_equal(written.read(), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["ndvi.tif"]


def test_windows_that_are_never_written_read_as_nodata(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    pixels = np.zeros((1, 300, 600), np.uint16)
    pixels[:, :, 500:] = 5
    write_geotiff(
        tmp_path / "a.tif", pixels, Grid((300, 600), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), None), bands=("B1",), nodata=0
    )
    windowed_geotiff(tmp_path / "a.tif", tmp_path / "b.tif", identity, names=("same",), window=64, overlap=8)
    back = read_geotiff(tmp_path / "b.tif")
    assert np.array_equal(back.valid, pixels[0] > 0)
    assert (back.pixels[:, back.valid] == 5).all()
    assert (back.pixels[:, ~back.valid] == 255).all()


def test_a_failing_function_leaves_no_target(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    grid = Grid((30, 30), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), None)
    write_geotiff(tmp_path / "a.tif", np.ones((1, 30, 30), np.uint8), grid, bands=("B1",))
    with pytest.raises(ZeroDivisionError):
        windowed_geotiff(tmp_path / "a.tif", tmp_path / "b.tif", lambda x, _: x * (1 // 0), names=("x",))
    with pytest.raises(ConfigError, match="does not fit"):
        windowed_geotiff(tmp_path / "a.tif", tmp_path / "b.tif", identity, names=("x",), nodata=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
