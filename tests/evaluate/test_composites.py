"""Colour pictures by band name."""

from __future__ import annotations

import numpy as np

from nearfar.evaluate.composites import FALSE_COLOUR, composite

BANDS = ("B02", "B03", "B04", "B08")


def test_red_green_and_blue_come_from_their_bands() -> None:
    pixels = np.zeros((4, 2, 2), np.float32)
    pixels[2, 0, 0] = pixels[1, 0, 1] = pixels[0, 1, 0] = 1
    picture = composite(pixels, BANDS, "sentinel2_l2a")
    assert picture is not None and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 0, 0] and picture[0, 1].tolist() == [0, 255, 0]
    assert picture[1, 0].tolist() == [0, 0, 255] and picture[1, 1].tolist() == [0, 0, 0]


def test_vegetation_is_red_in_false_colour() -> None:
    pixels = np.full((4, 2, 2), 0.1, np.float32)
    pixels[3, 0] = 0.5
    picture = composite(pixels, BANDS, "sentinel2_l2a", FALSE_COLOUR)
    assert picture is not None
    assert (picture[0, :, 0] == 255).all() and not picture[1].any() and not picture[0, :, 1:].any()


def test_pixels_without_data_are_black_and_do_not_stretch() -> None:
    pixels = np.random.default_rng(0).uniform(0.1, 0.2, (4, 8, 8)).astype(np.float32)
    valid = np.ones((8, 8), bool)
    valid[0] = False
    pixels[:, 0] = 1000
    picture = composite(pixels, BANDS, "sentinel2_l2a", valid=valid)
    assert picture is not None and not picture[0].any() and picture[1:].std() > 50
    nothing = composite(pixels, BANDS, "sentinel2_l2a", valid=np.zeros((8, 8), bool))
    assert nothing is not None and not nothing.any()


def test_no_picture_without_the_bands() -> None:
    pixels = np.zeros((3, 2, 2), np.float32)
    assert composite(pixels, BANDS[:3], "sentinel2_l2a", FALSE_COLOUR) is None
    assert composite(pixels, ("x", "y", "z"), "sentinel2_l2a") is None
    assert composite(pixels, BANDS[:3], "") is None, "no sensor is known"
