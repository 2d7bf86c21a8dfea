"""Sensors: names of bands, the YAML of a user's sensor, and every fault in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import ConfigError
from nearfar.spatial.bands import Band, Sensor, sensor
from nearfar.spatial.sensors import catalogue

S2 = sensor("sentinel2_l1c")
LANDSAT = sensor("landsat8")
MINE = """
name: drone
scale: 65535
bands:
  blue: {wavelength_nm: 475, resolution_m: 0.1}
  green: {wavelength_nm: 560, resolution_m: 0.1}
  red: {wavelength_nm: 668, resolution_m: 0.1}
  edge: {wavelength_nm: 717, resolution_m: 0.1, aliases: [red_edge, M4]}
  nir: {wavelength_nm: 842, resolution_m: 0.1, aliases: [M5]}
groups:
  natural: [red, green, blue]
  near_infrared: [nir, red, green]
substitutes: {edge: red}
statistics:
  red: [3000, 900.5]
nodata: 0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", [*catalogue()["sensors"], *catalogue()["same"]])
def test_built_in_sensors_are_sound(name: str) -> None:
    found = sensor(name)
    assert found.name == catalogue()["same"].get(name, name)
    assert found.groups["natural"] == tuple(found.canonical(colour) for colour in ("red", "green", "blue"))


def test_canonical_names() -> None:
    assert S2.names == ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    assert LANDSAT.names == tuple(f"B{i}" for i in range(1, 12))
    assert sensor("sentinel2_l2a").names == tuple(name for name in S2.names if name != "B10")
    assert sensor("gaofen2").names == ("R", "G", "B", "NIR")
    assert sensor("landsat9") == LANDSAT


@pytest.mark.parametrize(
    ("name", "band"),
    [
        *[("B1", "B01"), ("b01", "B01"), ("B8a", "B8A"), ("B08A", "B8A"), ("B10", "B10"), ("blue", "B02")],
        *[("Red Edge 1", "B05"), ("red-edge-1", "B05"), ("SWIR16", "B11"), ("nir", "B08"), ("nir08", "B8A")],
        *[("B02.tif", "B02"), ("/data/x/B8A.TIF", "B8A"), ("S2A_OPER_MSI_L1C_T31UDQ_B12.jp2", "B12")],
        *[
            ("T33UUP_20200903T100031_B02_10m.jp2", "B02"),
            ("HLS.S30.T31UDQ.2020.v2.0.B8A.tif", "B8A"),
            ("s2.B04", "B04"),
        ],
        *[("TCI_10m.jp2", None), ("QA60", None), ("SCL", None), ("B13", None), ("infra_red.tif", None), ("", None)],
        ("x\\y\\B03.tif", "B03"),
    ],
)
def test_names_of_a_band(name: str, band: str | None) -> None:
    assert S2.find(name) == band


def test_codes_mean_what_they_mean_for_the_sensor() -> None:
    assert LANDSAT.find("l8_B5.tif") == "B5"
    assert LANDSAT.find("B02") == "B2"
    assert LANDSAT.find("l8_BQA.tif") is None
    assert LANDSAT.find("B8A") is None
    assert LANDSAT.band("B11").wavelength_nm > 10_000
    assert sensor("rgb").find("rgb.r") == "R"


def test_a_band_that_only_has_a_substitute() -> None:
    l2a = sensor("sentinel2_l2a")
    assert l2a.canonical("B10") == "B10"
    assert list(l2a.stand_ins("B10")) == ["B10", "B09", "B8A", "B08"]
    with pytest.raises(ConfigError, match=r"never has B10.*B09 stands in for it"):
        l2a.band("B10")


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown sensor 'sentinel2_l2'.*Did you mean sentinel2_l2a\?"):
        sensor("sentinel2_l2")
    with pytest.raises(ConfigError, match=r"sentinel2_l1c has no band 'grene'.*Did you mean green\?"):
        S2.band("grene")


def test_changing_a_sensor_leaves_the_built_in_as_it_is() -> None:
    sensor("rgb").groups.clear()
    assert sensor("rgb").groups == {"natural": ("R", "G", "B")}


def test_a_users_sensor(tmp_path: Path) -> None:
    path = written(tmp_path, MINE)
    mine = sensor(str(path))
    assert mine == sensor(path) == Sensor.from_yaml(path)
    assert mine.name == "drone"
    assert mine.bands[3] == Band("edge", 717, 0.1, ("red_edge", "M4"))
    assert mine.groups["near_infrared"] == ("nir", "red", "green")
    assert mine.substitutes == {"edge": "red"}
    assert mine.statistics == {"red": (3000.0, 900.5)}
    assert (mine.scale, mine.offset, mine.nodata) == (65535, 0, 0)
    assert mine.find("flight7_M5.tif") == "nir"


def test_the_least_a_sensor_needs(tmp_path: Path) -> None:
    mine = sensor(written(tmp_path, "bands: {pan: {wavelength_nm: 600, resolution_m: 2}}"))
    assert (mine.name, mine.names, mine.groups, mine.statistics) == ("mine", ("pan",), {}, None)


@pytest.mark.parametrize(
    ("change", "key", "what"),
    [
        (("scale:", "scal:"), "scal", r"unknown key .*Did you mean scale\?"),
        (
            ("wavelength_nm: 475", "wavelength: 475"),
            r"bands.blue.wavelength",
            r"unknown key .*Did you mean wavelength_nm",
        ),
        (("wavelength_nm: 475, ", ""), r"bands.blue.wavelength_nm", "the number is missing"),
        (("wavelength_nm: 475", "wavelength_nm: blue"), r"bands.blue.wavelength_nm", r"not a number \(found 'blue'\)"),
        (("wavelength_nm: 475", "wavelength_nm: -475"), r"bands.blue.wavelength_nm", "not a positive number"),
        (("resolution_m: 0.1, aliases: [M5]", "resolution_m: 0"), r"bands.nir.resolution_m", "not a positive number"),
        (("[red, green, blue]", "[red, green, violet]"), r"groups.natural", "there is no band 'violet'"),
        (("[red, green, blue]", "[red, green, bleu]"), r"groups.natural", r"no band 'bleu' .*Did you mean blue\?"),
        (("[red, green, blue]", "[red, green, red]"), r"groups.natural", "three different bands"),
        (("[red, green, blue]", "[red, green]"), r"groups.natural", "three different bands"),
        (("[red, green, blue]", "red"), r"groups.natural", "not a list"),
        (("[red_edge, M4]", "[NIR]"), r"bands.nir", r"'nir' names two bands \(found edge has it too\)"),
        (("[M5]", "[m-4]"), r"bands.nir", "'m-4' names two bands"),
        (("[M5]", "[5]"), r"bands.nir.aliases", r"not a name \(found 5"),
        (("{edge: red}", "{edge: rad}"), r"substitutes.edge", r"no band 'rad'.*Did you mean red\?"),
        (("{edge: red}", "{edge: edge}"), r"substitutes.edge", "cannot stand in for itself"),
        (("{edge: red}", "[edge]"), "substitutes", "not a mapping"),
        (("  red: [3000, 900.5]", "  rod: [3000, 900.5]"), r"statistics.rod", "no band 'rod'"),
        (("[3000, 900.5]", "[3000]"), r"statistics.red", "not two numbers"),
        (("[3000, 900.5]", "[3000, 0]"), r"statistics.red", "not a positive number"),
        (("[3000, 900.5]", "[.nan, 1]"), r"statistics.red", "not a finite number"),
        (("scale: 65535", "scale: 0"), "scale", "not a positive number"),
        (("scale: 65535", "offset: .inf"), "offset", "not a finite number"),
        (("name: drone", "name: 5"), "name", "not a name"),
        (("  nir:", "  red:"), r"line 9, red", "the key is given twice"),
        (("  nir:", "  yes:"), "bands", "not a name .*quotes"),
        (("bands:", "bands: ["), r"line \d+", "not valid YAML"),
    ],
)
def test_faults_name_file_and_key(tmp_path: Path, change: tuple[str, str], key: str, what: str) -> None:
    assert change[0] in MINE
    path = written(tmp_path, MINE.replace(*change, 1))
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {key}: .*{what}"):
        sensor(path)


@pytest.mark.parametrize(("text", "what"), [("", "not a mapping"), ("- a", "not a mapping"), ("scale: 1", "no bands")])
def test_files_that_are_no_sensor(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        sensor(written(tmp_path, text))


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: the sensor's file cannot be read"):
        sensor(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        sensor(tmp_path / "binary.yaml")


def test_a_sensor_made_in_python_is_checked_too() -> None:
    band = Band("a", 500, 10)
    with pytest.raises(ConfigError, match="a band is there twice"):
        Sensor("x", (band, band), {}, {})
    with pytest.raises(ConfigError, match="no bands"):
        Sensor("x", (), {}, {})
