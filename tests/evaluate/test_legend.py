"""Colours of classes."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.data.synthetic.sentinel_spectra import CLASSES
from nearfar.evaluate.legend import class_colours


@pytest.mark.parametrize("count", [0, 1, 19, 60, 254])
def test_no_two_classes_share_a_colour(count: int) -> None:
    colours = class_colours([f"class {i}" for i in range(count)])
    assert colours.shape == (count, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == count


def test_names_have_their_customary_colours_however_they_are_written() -> None:
    river, same, other = class_colours(["River"])[0], class_colours(["sea", "river"])[1], class_colours(["x", "y"])
    assert np.array_equal(river, same)
    assert river[2] > river[0]  # blue
    assert not (other == river).all(1).any()


def test_synonyms_in_one_legend_stay_apart() -> None:
    assert len(np.unique(class_colours(["meadow", "Pasture", "meadow", *CLASSES]), axis=0)) == 3 + len(CLASSES)
