"""Groups of bands: the golden sets, sensors that lack bands, and sensors that declare nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import ConfigError
from nearfar.spatial.bands import Band, BandWarning, Sensor, band_order, group_set, groups_for, positions, sensor
from nearfar.spatial.sensors import catalogue

S2 = sensor("sentinel2_l1c")
L2A = sensor("sentinel2_l2a")
LANDSAT = sensor("landsat8")
SHORT = {"near_infrared": "infrared", "atmospheric_penetration": "atmospheric"}


@pytest.fixture
def golden(golden_dir: Path) -> Any:
    return json.loads((golden_dir / "saco" / "band_groups.json").read_text())


def as_golden(groups: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {SHORT.get(name, name): list(bands) for name, bands in groups.items()}


def bare(*bands: tuple[str, float]) -> Sensor:
    return Sensor("mine", tuple(Band(name, wavelength, 10) for name, wavelength in bands), {}, {})


def test_golden_table_of_the_readme(golden: Any) -> None:
    assert as_golden(group_set("saco")) == golden["readme_table_RGB"]
    assert list(as_golden(group_set("saco"))) == list(golden["readme_table_RGB"])


@pytest.mark.parametrize("order", ["natural_13", "eurosat_tif_13"])
def test_golden_positions(golden: Any, order: str) -> None:
    found = positions(group_set("saco"), golden["orders"][order], S2)
    assert [list(group) for group in found] == list(golden[f"readme_indices_in_{order}"].values())


def test_golden_stack(golden: Any) -> None:
    case = golden["stack_case"]
    x = 100 * np.arange(2)[:, None] + np.arange(13)
    stacked = x[:, np.array(positions(group_set("saco"), S2.names, S2))]
    assert stacked.tolist() == case["expected (2, 7, 3)"]


@pytest.mark.parametrize(
    ("dataset", "key"),
    [
        ("seco", "reference_code_seco_bands"),
        ("caco", "reference_code_seco_bands"),
        ("eurosat", "reference_code_eurosat_bands_actual"),
    ],
)
def test_golden_groups_of_the_published_code(golden: Any, dataset: str, key: str) -> None:
    found = as_golden(group_set("saco_reference", dataset))
    assert found == golden[key]
    assert [*found, *group_set("textures")] == golden["reference_code_pass_order"]


def test_golden_textures(golden: Any) -> None:
    found = [list(group) for group in group_set("textures").values()]
    assert found == golden["reference_code_lbp_groups_seco"]
    assert positions(group_set("textures"), band_order("seco"), L2A) == tuple((i, i + 1, i + 2) for i in (0, 3, 6, 9))


def test_unknown_sets() -> None:
    with pytest.raises(ConfigError, match=r"unknown group set 'sacco'.*Did you mean saco\?"):
        group_set("sacco")
    with pytest.raises(
        ConfigError, match=r"saco_reference: the published code says no groups \(found oscd, expected seco"
    ):
        group_set("saco_reference", "oscd")
    with pytest.raises(ConfigError, match="found sentinel2_l1c"):
        group_set("saco_reference", S2)
    with pytest.raises(ConfigError, match="unknown group set 'saco_reference'"):
        groups_for(S2, S2.names, "saco_reference")  # type: ignore[arg-type]


def test_sets_of_other_sensors() -> None:
    assert group_set("saco", "pastis") == group_set("saco", "sentinel2_l2a")
    assert group_set("saco", "landsat9")["urban"] == ("B7", "B6", "B4")


def test_without_b10() -> None:
    with pytest.warns(BandWarning, match=r"sentinel2_l2a: B09 stands in for B10$"):
        groups = groups_for(L2A, band_order("seco"))
    assert groups == group_set("saco") | {"complementary_2": ("B07", "B08", "B09")}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", [S2.names, band_order("eurosat"), band_order("oscd")])
def test_complete_data_warns_of_nothing(order: tuple[str, ...]) -> None:
    assert groups_for(S2, order) == group_set("saco")
    assert groups_for(S2, order, "textures") == group_set("textures")


def test_pastis() -> None:
    with pytest.warns(BandWarning, match="B02 stands in for B01, B8A stands in for B10"):
        groups = groups_for("sentinel2_l2a", band_order("pastis"))
    assert groups["complementary_1"] == ("B02", "B05", "B06")
    assert groups["complementary_2"] == ("B07", "B08", "B8A")
    assert len(groups) == 7


def test_groups_that_would_hold_a_band_twice_are_left_out() -> None:
    told = "groups left out for lack of bands: urban, agriculture, atmospheric_penetration, complementary_2"
    with pytest.warns(BandWarning, match=told):
        groups = groups_for(S2, ["B02", "B03", "B04", "B08"])
    assert groups == {
        "natural": ("B04", "B03", "B02"),
        "near_infrared": ("B08", "B04", "B03"),
        "complementary_1": ("B02", "B04", "B08"),
    }


def test_landsat_has_the_themes_by_nearest_wavelength() -> None:
    reflective = [name for name in LANDSAT.names if name not in ("B8", "B10", "B11")]
    undeclared = replace(LANDSAT, groups={}, substitutes={})
    assert groups_for(undeclared, reflective) == LANDSAT.groups == group_set("saco", "landsat8_l2")


def test_landsat_textures_are_consecutive_bands() -> None:
    assert groups_for("landsat8_l2", [f"B{i}" for i in range(1, 8)], "textures") == {
        "lbp_0": ("B1", "B2", "B3"),
        "lbp_1": ("B4", "B5", "B6"),
        "lbp_2": ("B5", "B6", "B7"),
    }


def test_bands_in_no_theme_form_groups_of_their_own() -> None:
    thermal = bare(("r", 650), ("g", 550), ("b", 480), ("t", 10_000))
    assert groups_for(thermal, thermal.names) == {"natural": ("r", "g", "b"), "extra_1": ("g", "r", "t")}


def test_fewer_than_three_bands() -> None:
    one, two = bare(("pan", 600)), bare(("b", 10_000), ("a", 9_000))
    assert groups_for(one, ["pan"]) == {"extra_1": ("pan", "pan", "pan")}
    assert groups_for(two, ["b", "a"], "textures") == {"lbp_0": ("a", "b", "a")}


def test_no_band_at_all() -> None:
    with pytest.raises(ConfigError, match=r"mine: the data has no band of the sensor \(found x, expected pan\)"):
        groups_for(bare(("pan", 600)), ["x"])


@given(st.lists(st.integers(400, 14_000), min_size=3, max_size=12, unique=True))
def test_any_sensor_gets_groups_of_three_different_bands_that_cover_it(wavelengths: list[int]) -> None:
    mine = bare(*((f"nm{w}", w) for w in wavelengths))
    for name in ("saco", "textures"):
        groups = groups_for(mine, mine.names, name)  # type: ignore[arg-type]
        assert all(len(set(group)) == len(group) == 3 for group in groups.values())
        assert {band for group in groups.values() for band in group} == set(mine.names)
        assert len({frozenset(group) for group in groups.values()}) == len(groups)
        assert positions(groups, mine.names, mine)[0] == tuple(mine.names.index(b) for b in next(iter(groups.values())))


def test_tables_of_the_guide() -> None:
    page = (Path(__file__).parents[2] / "docs/guides/bands.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {' '.join(S2.groups[name])} | {' '.join(LANDSAT.groups[name])} |" for name in S2.groups]
    rows += [f"| {band} | {other} |" for band, other in S2.substitutes.items()]
    rows += [" | ".join(["| Sentinel-2", *S2.names]) + " |"]
    assert [row for row in rows if row not in page.splitlines()] == []
    orders = dict(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ((?:[A-Z0-9]+ ?)+) \|$", page, re.MULTILINE))
    shown = {name: tuple(order.split()) for names, order in orders.items() for name in re.findall(r"\w+", names)}
    assert shown == {name: band_order(name) for name in catalogue()["datasets"]}
