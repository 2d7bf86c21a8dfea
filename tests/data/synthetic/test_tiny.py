"""The tiny scenes are deterministic and hold what their masks say."""

from __future__ import annotations

import numpy as np

from nearfar.data.synthetic import tiny


def test_items_depend_on_seed_and_number_only() -> None:
    first, again = list(tiny.items(6, 16, seed=1)), list(tiny.items(9, 16, seed=1))
    assert [i.class_name for i in first] == list(tiny.CLASSES) * 2
    for a, b in zip(first, again[:6], strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)
        np.testing.assert_array_equal(a.thermal, b.thermal)
    assert not np.array_equal(first[0].rgb, next(tiny.items(1, 16, seed=2)).rgb)


def test_objects_show_in_every_modality() -> None:
    for item in tiny.items(12, 32):
        assert item.mask.any() == (item.label > 0)
        if item.label:
            for image in (item.rgb, item.thermal, item.depth):
                gray = image.mean(axis=-1)
                assert abs(gray[item.mask].mean() - gray[~item.mask].mean()) > 30
