"""Options of a conditional field that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from nearfar.errors import ConfigError
from nearfar.scenes.object_options import ObjectOptions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coarse": 0}, "objects.coarse: must be positive"),
        ({"conditioning": "pixels"}, "Did you mean"),
        ({"fine": -1}, "must not be negative"),
        ({"near": 3.0, "far": 2.0}, "distances must increase"),
        ({"conditioned": 4}, "read by some of the blocks"),
        ({"focus_share": 1.5}, "between 0 and 1"),
    ],
)
def test_impossible_options(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectOptions(**changes)
