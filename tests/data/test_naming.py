"""Dates in names."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from nearfar.data.naming import day_of, find_day
from nearfar.errors import DataError


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("20200903T100031_20200904T100028_T33TUL", date(2020, 9, 3)),
        ("2020-09-03.tif", date(2020, 9, 3)),
        ("LC08_021040_2013_08_01_x", date(2013, 8, 1)),
        ("20201303_20200903", date(2020, 9, 3)),  # there is no month 13
        ("120200903", None),
        ("place17", None),
        ("2020-0903", None),
    ],
)
def test_the_first_date_of_a_name(name: str, day: date | None) -> None:
    assert find_day(name) == day


def test_a_name_without_a_date() -> None:
    assert day_of(Path("a/2019-01-31.tif")) == date(2019, 1, 31)
    with pytest.raises(DataError, match="no date"):
        day_of(Path("a/b.tif"))
