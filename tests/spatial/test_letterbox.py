"""The letterbox against golden numbers, its inverse, and the pixels that its boxes lie on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.boxes import Letterbox, letterbox_image

SIDES = st.integers(1, 3000)


def test_every_golden_case(golden_dir: Path) -> None:
    for case in json.loads((golden_dir / "spatialclip" / "letterbox.json").read_text())["cases"]:
        for name, rounding in (("reference", "reference"), ("recommended", "exact")):
            box, expected = Letterbox.of(*case["image_wh"], tuple(case["target_wh"]), rounding), case[name]  # type: ignore[arg-type]
            assert box.new == (expected["new_w"], expected["new_h"])
            assert box.pad == (expected["pad_x"], expected["pad_y"])
            assert box.scale == pytest.approx((expected["scale_x"], expected["scale_y"]), rel=1e-12)
            np.testing.assert_allclose(box.boxes(case["boxes_xyxy_px"]), expected["boxes_xywh"], atol=1e-9)
        found = box.inverse(box.boxes(case["boxes_xyxy_px"], clip=False))
        np.testing.assert_allclose(found, case["boxes_xyxy_px"], atol=1e-9)
        np.testing.assert_allclose(found, case["recommended_inverse_px"], atol=1e-6)


@given(SIDES, SIDES, st.integers(1, 512), st.integers(1, 512), st.lists(st.floats(0, 1), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_inverse_gives_the_boxes_back(width: int, height: int, across: int, down: int, shares: list[float]) -> None:
    box = Letterbox.of(width, height, (across, down))
    x, y = sorted(shares[:2]), sorted(shares[2:])
    corners = np.array([[x[0] * width, y[0] * height, x[1] * width, y[1] * height]])
    placed = box.boxes(corners)
    np.testing.assert_allclose(box.inverse(placed), corners, atol=1e-9)
    np.testing.assert_allclose(box.boxes(box.inverse(placed)), placed, atol=1e-12)
    assert (placed >= 0).all()
    assert (placed[:, :2] + placed[:, 2:] <= 1 + 1e-12).all()


@given(SIDES, SIDES, st.integers(1, 512))
@settings(max_examples=100, deadline=None)
def test_the_image_fills_one_axis_and_is_centred_on_the_other(width: int, height: int, size: int) -> None:
    box = Letterbox.of(width, height, size)
    assert max(box.new) == size
    for new, pad in zip(box.new, box.pad, strict=True):
        assert new >= 1
        assert 0 <= size - new - 2 * pad <= 1
    whole = box.boxes([0, 0, width, height])
    expected = np.array([*box.pad, *box.new]) / size
    np.testing.assert_allclose(whole, expected, atol=1e-12)


def test_no_width_loses_a_column() -> None:
    """The published int(W * (224 / W)) is 223 for 392 of these widths."""
    lost = {"exact": 0, "reference": 0}
    for width in range(1, 5001):
        for rounding in lost:
            lost[rounding] += Letterbox.of(width, width, 224, rounding).new[0] != 224  # type: ignore[arg-type]
    assert lost == {"exact": 0, "reference": 392}


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (77, 77), (30, 200), (333, 71)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pixels_lie_where_boxes_say(shape: tuple[int, int], dtype: str, channels: int) -> None:
    """The centroid of a bright rectangle and the middle of its box."""
    full = 1.0 if dtype.startswith("f") else np.iinfo(dtype).max
    image = np.zeros((*shape, channels), dtype)
    top, left, bottom, right = shape[0] // 3, shape[1] // 4, shape[0] // 3 * 2, shape[1] // 4 * 2
    image[top:bottom, left:right] = full
    found = letterbox_image(image, 64, fill=0)
    assert found.shape == (64, 64, channels)
    assert found.dtype == dtype
    x, y, w, h = Letterbox.of(shape[1], shape[0], 64).boxes([left, top, right, bottom]) * 64
    for channel in range(channels):
        weight = found[..., channel].astype(np.float64) / full
        rows, columns = np.mgrid[:64, :64] + 0.5
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x + w / 2, abs=0.15)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y + h / 2, abs=0.15)
        assert weight.sum() == pytest.approx(w * h, rel=0.05)


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 128), ("uint16", 32896), ("float32", 128 / 255)])
def test_the_fill_is_a_share_of_the_range(dtype: str, value: float) -> None:
    image = np.zeros((10, 20), dtype)
    found = letterbox_image(image, (40, 40))[..., 0]
    assert (found[:10] == np.asarray(value, dtype)).all()
    assert (found[30:] == np.asarray(value, dtype)).all()
    assert (found[10:30] == 0).all()
    assert (letterbox_image(image, 40, fill=1.0)[0] == (1 if dtype == "float32" else np.iinfo(dtype).max)).all()


def test_an_image_of_the_right_size_is_untouched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(letterbox_image(image, 32), image)


def test_grey_is_resized_as_each_channel_of_colour_would_be() -> None:
    image = np.random.default_rng(0).integers(0, 256, (97, 130), np.uint8)
    grey, colour = letterbox_image(image, 48), letterbox_image(np.repeat(image[..., None], 3, -1), 48)
    assert np.array_equal(np.repeat(grey, 3, -1), colour)
    deep = letterbox_image(image.astype(np.uint16) * 257, 48)
    assert np.abs(deep / 257 - grey).max() <= 1


def test_detail_is_averaged_not_skipped() -> None:
    image = np.zeros((256, 256), np.uint8)
    image[:, ::2] = 255
    found = letterbox_image(image, 32)
    assert np.abs(found[:, 1:-1].astype(float) - 127.5).max() <= 2


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3), ("1", 1), ("LA", 1), ("RGBA", 3), ("F", 1)]
)
def test_pillow_images(mode: str, channels: int) -> None:
    assert letterbox_image(Image.new(mode, (30, 20)), 16).shape == (16, 16, channels)


def test_big_endian_deep_images() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (20, 30), np.uint16)
    found = letterbox_image(image.astype(">u2"), 16)
    assert found.dtype == np.uint16
    assert np.array_equal(found, letterbox_image(image, 16))


@pytest.mark.parametrize("size", [(1024, 768), (1021, 769), (333, 1000), (50, 40)])
def test_a_reduced_jpeg_lies_on_the_same_place(tmp_path: Path, size: tuple[int, int]) -> None:
    columns, rows = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 4, size[1]))
    image = (127 + 60 * np.sin(columns) + 60 * np.cos(rows)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=98)
    with Image.open(tmp_path / "a.jpg") as opened:
        found = letterbox_image(opened, 64)
        reduced = opened.size
    assert found.shape == (64, 64, 1)
    assert (reduced != size) == (max(size) >= 256)
    assert np.abs(found.astype(float) - letterbox_image(image, 64)).max() <= 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 224), "over 0"),
        ((10, 10, -1), "over 0"),
        ((10, 10, (224, 0)), "over 0"),
        ((10, 10, (224, 224, 3)), "over 0"),
        ((10.5, 10, 224), "over 0"),
        ((10, 10, 224, "floor"), "exact or reference"),
    ],
)
def test_wrong_sizes_are_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Letterbox.of(*arguments)


def test_wrong_boxes_are_named() -> None:
    box = Letterbox.of(100, 100, 50)
    with pytest.raises(ShapeError, match="four numbers"):
        box.boxes([1, 2, 3])
    with pytest.raises(DataError, match="x_min, y_min, x_max, y_max"):
        box.boxes([[50, 50, 20, 60]])
    with pytest.raises(DataError, match="NaN"):
        box.inverse([0, 0, float("nan"), 1])
    assert box.boxes([]).shape == (0, 4)
    assert box.boxes(np.array([10, 20, 30, 40])).tolist() == pytest.approx([0.1, 0.2, 0.2, 0.2])


def test_wrong_images_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\[H, W\] or \[H, W, C\]"):
        letterbox_image(np.zeros((0, 4), np.uint8), 16)
    with pytest.raises(DataError, match="int64"):
        letterbox_image(np.zeros((4, 4), np.int64), 16)
    with pytest.raises(ConfigError, match="0 to 1"):
        letterbox_image(np.zeros((4, 4), np.uint8), 16, fill=128)
