"""Bands resolved by name: golden orders, substitutes, other sensors, statistics, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.data.synthetic.sentinel_layouts import EUROSAT_BANDS, SECO_BANDS
from nearfar.data.synthetic.sentinel_pastis import PASTIS_BANDS
from nearfar.data.synthetic.sentinel_spectra import BANDS, RESOLUTION
from nearfar.errors import ConfigError
from nearfar.spatial.bands import (
    BandWarning,
    band_order,
    dataset_sensor,
    resolve,
    sensor,
    stats,
    translate,
)

S2 = sensor("sentinel2_l1c")
LANDSAT = sensor("landsat8")


@pytest.fixture
def golden(golden_dir: Path) -> Any:
    return json.loads((golden_dir / "saco" / "band_groups.json").read_text())


def test_golden_orders(golden: Any) -> None:
    orders = {name: tuple(bands) for name, bands in golden["orders"].items()}
    assert orders == {
        "natural_13": S2.names,
        "seco_12": sensor("sentinel2_l2a").names,
        "seco_alphabetical_12 (reference code)": band_order("seco"),
        "eurosat_tif_13": band_order("eurosat"),
        "pastis_10": band_order("pastis"),
    }


@pytest.mark.parametrize(
    ("dataset", "device", "order"),
    [
        ("seco", "sentinel2_l2a", sorted(SECO_BANDS)),
        ("caco", "sentinel2_l2a", sorted(SECO_BANDS)),
        ("eurosat", "sentinel2_l1c", EUROSAT_BANDS),
        ("oscd", "sentinel2_l1c", sorted(BANDS)),
        ("pastis", "sentinel2_l2a", PASTIS_BANDS),
        ("ssl4eo", "sentinel2_l1c", BANDS),
        ("ssl4eo_l2a", "sentinel2_l2a", [band for band in BANDS if band != "B10"]),
        ("gid", "gaofen2", ["red", "green", "blue", "nir"]),
        ("gid_nirrgb", "gaofen2", ["nir", "red", "green", "blue"]),
        ("gid15", "gaofen2", ["red", "green", "blue"]),
    ],
)
def test_order_of_a_published_set(dataset: str, device: str, order: list[str]) -> None:
    of = dataset_sensor(dataset)
    assert of.name == device
    assert band_order(dataset) == tuple(of.canonical(name) for name in order)


def test_resolutions_are_those_of_the_world() -> None:
    assert {band.name: band.resolution_m for band in S2.bands} == RESOLUTION


def test_scale_of_the_files() -> None:
    assert dataset_sensor("seco").scale == 255  # 8 bit, reflectance * 255
    assert dataset_sensor("seco").nodata is None  # 0 is dark water there
    assert dataset_sensor("eurosat").scale == 10000


def test_unknown_set() -> None:
    with pytest.raises(ConfigError, match=r"unknown data set 'eurosta'.*Did you mean eurosat\?"):
        band_order("eurosta")


def test_positions_follow_the_names_in_any_order() -> None:
    plan = resolve(["B04", "b8a", "blue"], band_order("eurosat"), S2)
    assert plan.indices == (3, 12, 1)
    assert plan.names == ("B04", "B8A", "B02")
    assert plan.substituted == ()


@given(st.permutations(S2.names), st.data())
def test_every_position_holds_the_band_it_is_said_to(order: list[str], data: st.DataObject) -> None:
    available = data.draw(st.lists(st.sampled_from(order), min_size=1, unique=True))
    wanted = data.draw(st.lists(st.sampled_from(order), max_size=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BandWarning)
        try:
            plan = resolve(wanted, available, S2)
        except ConfigError:
            assert any(not set(S2.stand_ins(name)) & set(available) for name in wanted)
            return
    for name, used, index in zip(wanted, plan.names, plan.indices, strict=True):
        assert available[index] == used
        assert used == name if name in available else (name, used) in plan.substituted
        assert used in S2.stand_ins(name)


def test_channels_that_are_no_bands_are_passed_over() -> None:
    assert resolve(["B04"], ["SCL", "QA60", "B04.tif"], S2).indices == (2,)


def test_substitute_is_told_once() -> None:
    with pytest.warns(BandWarning, match=r"sentinel2_l2a: B09 stands in for B10, B02 stands in for B01$") as told:
        plan = resolve(["B10", "B01", "B10"], ["B02", "B09"], "sentinel2_l2a")
    assert len(told) == 1
    assert plan.indices == (1, 0, 1)
    assert plan.names == ("B09", "B02", "B09")
    assert plan.substituted == (("B10", "B09"), ("B01", "B02"))


def test_substitute_of_a_substitute() -> None:
    with pytest.warns(BandWarning, match="B8A stands in for B10"):
        assert resolve(["B10"], band_order("pastis"), "sentinel2_l2a").names == ("B8A",)


def test_no_substitute_where_errors_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"sentinel2_l2a: the data lacks B10 \(found B09, B08, expected B10\)"):
        resolve(["B10"], ["B09", "B08"], "sentinel2_l2a", "error")


def test_all_missing_bands_are_named() -> None:
    with pytest.raises(ConfigError, match=r"lacks B04, B12 and all that could stand in \(found B02, expected B04, B12"):
        resolve(["B04", "B12", "B02"], ["B02"], S2)


def test_bad_requests() -> None:
    with pytest.raises(ConfigError, match=r"has no band 'B13'.*Did you mean B1"):
        resolve(["B13"], ["B01"], S2)
    with pytest.raises(ConfigError, match=r"two channels are B02 \(found B2 and blue"):
        resolve(["B02"], ["B2", "blue"], S2)
    with pytest.raises(ConfigError, match="missing: unknown way with missing bands"):
        resolve(["B02"], ["B2"], S2, "ignore")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"found no band, expected B02"):
        resolve(["B02"], [], S2)


COUNTERPARTS = {
    **{"B01": "B1", "B02": "B2", "B03": "B3", "B04": "B4", "B08": "B5", "B8A": "B5"},
    **{"B10": "B9", "B11": "B6", "B12": "B7"},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("band", "other"), COUNTERPARTS.items())
def test_sentinel_to_landsat_by_wavelength(band: str, other: str) -> None:
    assert translate(band, "sentinel2_l1c", "landsat9") == other


@pytest.mark.parametrize(("band", "other"), [("B05", "B4"), ("B06", "B5"), ("B07", "B5"), ("B09", "B5")])
def test_no_counterpart_on_landsat(band: str, other: str) -> None:
    with pytest.warns(BandWarning, match=f"sentinel2_l1c: {other} stands in for {band}"):
        assert translate(band, S2, LANDSAT) == other
    with pytest.raises(ConfigError, match=f"landsat8 has no counterpart of {band}.*B5 865 nm"):
        translate(band, S2, LANDSAT, "error")


def test_equal_names_of_other_sensors_are_other_bands() -> None:
    assert translate("B6", LANDSAT, S2) == "B11"
    assert translate("B5", LANDSAT, S2) == "B8A"
    with pytest.raises(ConfigError, match="no counterpart of B11 or its substitutes"):
        translate("B11", LANDSAT, S2)  # thermal there, short-wave infrared here
    assert translate("nir", "gaofen2", S2) == "B08"
    assert [translate(name, "rgb", S2) for name in "rgb"] == ["B04", "B03", "B02"]


def test_a_model_of_one_sensor_on_a_scene_of_another() -> None:
    files = [f"LC08_L1TP_022039_B{i}.TIF" for i in range(1, 8)]
    with pytest.warns(BandWarning, match=r"sentinel2_l1c: B4 stands in for B05, B6 stands in for B10") as told:
        plan = resolve(["B04", "B05", "B8A", "B10", "B12"], files, LANDSAT, wanted_sensor=S2)
    assert len(told) == 1
    assert plan.names == ("B4", "B4", "B5", "B6", "B7")
    assert plan.indices == (3, 3, 4, 5, 6)
    assert plan.substituted == (("B05", "B4"), ("B10", "B6"))
    with pytest.raises(ConfigError, match="the data lacks B05, B10 "):
        resolve(["B04", "B05", "B10"], files, LANDSAT, "error", wanted_sensor=S2)


def test_real_landsat_files(shared_data: Path) -> None:
    files = sorted((shared_data / "landsat8").glob("*.tif"), reverse=True)
    plan = resolve(["B04", "B03", "B02"], [path.name for path in files], LANDSAT, wanted_sensor=S2)
    assert [files[i].name for i in plan.indices] == ["l8_B4.tif", "l8_B3.tif", "l8_B2.tif"]


def test_statistics_of_eurosat_by_name() -> None:
    found = stats(["B8A", "red"], "eurosat")
    assert found is not None
    np.testing.assert_array_equal(found, [[2594.14, 947.63], [1231.59, 593.75]])
    everything = stats(band_order("eurosat"), S2)
    assert everything is not None
    assert everything[0].shape == (13,)
    assert everything[0][[0, 9, 11]].tolist() == [1354.41, 12.11, 1118.92]
    assert everything[1][[0, 9, 11]].tolist() == [245.72, 4.78, 761.30]


def test_unknown_statistics_are_not_made_up() -> None:
    assert stats(["B04", "B03"], "oscd") is None
    known = stats(["B04"], "oscd")
    assert known is not None
    assert [float(part[0]) for part in known] == [1254.9, 726.4]
    assert stats(["B04"], "seco") is None
    assert stats(["B04"], LANDSAT) is None
    with pytest.raises(ConfigError, match="has no band 'B99'"):
        stats(["B99"], "eurosat")


def test_reflectance() -> None:
    np.testing.assert_allclose(LANDSAT.reflectance(np.uint16([5000, 30000])), [0, 0.5])
    np.testing.assert_allclose(sensor("landsat9_l2").reflectance([10000]), [0.0000275 * 10000 - 0.2], rtol=1e-5)
    later = replace(S2, offset=-1000)  # processing baseline 04.00 and later
    assert later.reflectance(np.uint16([2500])) == np.float32(0.15)


def test_no_torch() -> None:
    code = "import sys, nearfar.spatial.bands; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
