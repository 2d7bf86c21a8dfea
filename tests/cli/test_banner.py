"""`nearfar banner`: masks, label images, outlines; what is drawn, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.cli import main
from nearfar.spatial import force_banner
from nearfar.spatial.force_boxes import box_banner

BOXES = ["20", "10", "60", "40", "40", "55", "110", "80"]


def write(path: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (90, 120)) -> str:
    """A label image with box i of value i + 1."""
    labels = np.zeros(size, np.uint8)
    for value, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = value
    Image.fromarray(labels).save(path)
    return str(path)


A, B = (20, 10, 60, 40), (40, 55, 110, 80)


def banner(capsys: pytest.CaptureFixture[str], *args: str) -> np.ndarray:
    assert main(["banner", *args, "--json"]) == 0
    return np.array(json.loads(capsys.readouterr().out)["banner"])


def test_masks_a_label_image_boxes_and_polygons_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = [write(tmp_path / "a.png", A), write(tmp_path / "b.png", B)]
    exact = banner(capsys, "--boxes", *BOXES)
    np.testing.assert_allclose(exact, box_banner([A], [B], np.linspace(-5, 5, 24))[0], rtol=1e-5, atol=1e-12)
    polygons = ["20,10,60,10,60,40,20,40", "40 55 110 55 110 80 40 80"]
    np.testing.assert_allclose(banner(capsys, "--polygons", *polygons), exact, atol=1e-5)
    both = write(tmp_path / "both.png", A, B)
    for found in (banner(capsys, *masks), banner(capsys, both, "--values", "1", "2")):
        np.testing.assert_allclose(found, exact, atol=0.02)
    turned = banner(capsys, both, "--values", "2", "1")
    np.testing.assert_allclose(np.roll(turned, 90, axis=1), exact, atol=0.02)


def test_the_numbers_are_those_of_the_function(tmp_path: Path) -> None:
    masks = [write(tmp_path / "a.png", A), write(tmp_path / "b.png", B)]
    out = tmp_path / "deep/banner.npy"
    options = ["--forces", "0", "1.5", "--directions", "8", "--normalize", "mass", "--symmetric"]
    assert main(["banner", *masks, "--npy", str(out), *options]) == 0
    whole = np.zeros((2, 90, 120))
    for mask, (x0, y0, x1, y1) in zip(whole, (A, B), strict=True):
        mask[y0:y1, x0:x1] = 1
    expected = force_banner(whole[0], whole[1], (0, 1.5), 8, normalize="mass", symmetric=True)
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-5)
    assert list(tmp_path.rglob("banner.png")) == []


def test_a_picture_is_drawn_and_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = str(tmp_path / "photo.png")
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(photo)
    assert main(["banner", photo, "--boxes", *BOXES]) == 0
    assert "above left" in capsys.readouterr().out
    with Image.open("banner.png") as drawn:
        assert drawn.width > 2 * drawn.height > 200
    assert main(["banner", "--boxes", *BOXES]) == 2
    assert "banner.png exists" in capsys.readouterr().err
    assert main(["banner", "--boxes", *BOXES, "--force", "--symmetric"]) == 0
    assert "and opposite" in capsys.readouterr().out


def test_large_masks_are_averaged_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = [tuple(8 * x for x in box) for box in (A, B)]
    masks = [write(tmp_path / f"{i}.png", box, size=(720, 960)) for i, box in enumerate(large)]  # type: ignore[arg-type]
    np.testing.assert_allclose(banner(capsys, *masks), banner(capsys, "--boxes", *BOXES), atol=0.02)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["A"], 2, "a banner is of two objects (found 1 files"),
        (["A", "B", "--boxes", *BOXES], 2, "found 2 files, --boxes"),
        (["A", "NONE"], 3, "there is no such file"),
        (["A", "SMALL"], 3, "the mask and its image differ in size"),
        (["A", "EMPTY"], 3, "the mask is empty"),
        (["A", "--values", "1", "7"], 3, "a.png, value 7: the mask is empty"),
        (["--boxes", "1", "2", "3"], 2, "two boxes are eight numbers"),
        (["--boxes", "5", "5", "2", "2", "1", "1", "2", "2"], 3, "the object has no area"),
        (["--boxes", "-9", "-9", "-2", "-2", "1", "1", "2", "2"], 3, "coordinates of pixels are not negative"),
        (["A", "--boxes", "1", "1", "2", "2", "200", "1", "210", "2"], 3, "the object lies outside the image"),
        (["--polygons", "1,1,2,2"], 2, "a banner is of two polygons"),
        (["--polygons", "1,1,2,2", "1,1,2,2,3,x"], 2, "--polygons, subject: not the corners of a polygon"),
        (["--boxes", *BOXES, "--directions", "30"], 2, "directions must be divisible by 4"),
        (["--boxes", *BOXES, "--rows", "1"], 2, "--rows: a banner of evenly spaced forces needs two"),
    ],
)
def test_what_is_no_pair_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], status: int, message: str
) -> None:
    known = {
        "A": write(tmp_path / "a.png", A),
        "B": write(tmp_path / "b.png", B),
        "SMALL": write(tmp_path / "small.png", (1, 1, 5, 5), size=(20, 20)),
        "EMPTY": write(tmp_path / "empty.png"),
        "NONE": str(tmp_path / "none.png"),
    }
    assert main(["banner", *(known.get(arg, arg) for arg in args), "--json"]) == status
    assert message in capsys.readouterr().err
