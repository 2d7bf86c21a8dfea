"""What the writers write, read back by plain means, as the published layouts say."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.data.geotiff import read_geotiff
from nearfar.data.synthetic.sentinel_layouts import (
    EUROSAT_BANDS,
    EUROSAT_FOLDER,
    EUROSAT_RECIPES,
    SECO_BANDS,
    change_pair,
    write_eurosat,
    write_oscd,
    write_seco,
)
from nearfar.data.synthetic.sentinel_spectra import BANDS
from nearfar.errors import ConfigError

ONERA = "Onera Satellite Change Detection dataset"


@pytest.fixture(autouse=True)
def _rasterio() -> None:
    pytest.importorskip("rasterio")


def test_seco_has_a_folder_a_date_and_a_file_a_band(tmp_path: Path) -> None:
    root = write_seco(tmp_path / "seco", places=3, size=48, seed=1)
    places = sorted(path for path in root.iterdir() if path.name != "truth")
    assert [place.name for place in places] == ["000000", "000001", "000002"]
    for place in places:
        dates = sorted(place.iterdir())
        assert len({date.name[:8] for date in dates}) == 5
        for date in dates:
            assert {path.stem for path in date.glob("*.tif")} == set(SECO_BANDS)
            assert (date / "metadata.json").is_file()
    raw = {path.stem: read_geotiff(path) for path in sorted(places[0].iterdir())[2].glob("*.tif")}
    assert {name: raw[name].pixels.shape[1] for name in ("B4", "B11", "B9")} == {"B4": 48, "B11": 24, "B9": 8}
    assert raw["B8"].pixels.dtype == np.uint8
    joined = read_geotiff(sorted(sorted(places[0].iterdir())[2].glob("*.tif")), ["B8", "B4", "B9"])
    assert joined.pixels.shape == (3, 48, 48)
    assert joined.valid.all()


def test_seco_changes_only_where_truth_says(tmp_path: Path) -> None:
    root = write_seco(tmp_path / "caco", places=4, dates=10, size=48, seed=0, compress="deflate")
    with (root / "truth/changes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert any(row["kind"] for row in rows)
    for row in rows:
        before, after = (np.asarray(Image.open(root / f"truth/{row['place']}/cover_{k}.png")) for k in (0, 1))
        assert (before != after).mean() == pytest.approx(float(row["share"]), abs=1e-3)
        years = sorted(path.name[:4] for path in (root / row["place"]).iterdir())
        assert years == ["2016"] * 5 + ["2020"] * 5


@pytest.mark.slow
def test_eurosat_has_thirteen_bands_and_two_kinds_of_splits(tmp_path: Path) -> None:
    root = write_eurosat(tmp_path / "eurosat", per_class=5, regions=5)
    names = {}
    for kind in ("", "spatial-"):
        lists = [(root / f"eurosat-{kind}{split}.txt").read_text().split() for split in ("train", "val", "test")]
        assert [len(names) for names in lists] == [30, 10, 10]
        names[kind] = lists
        for name in (n for part in lists for n in part):
            assert (root / EUROSAT_FOLDER / name.split("_")[0] / name.replace(".jpg", ".tif")).is_file()
    east = [
        {
            read_geotiff(
                root / EUROSAT_FOLDER / n.split("_")[0] / n.replace(".jpg", ".tif"), names=EUROSAT_BANDS
            ).grid.transform[2]
            for n in part
        }
        for part in names["spatial-"]
    ]
    assert max(east[0]) < min(east[1])
    assert max(east[1]) < min(east[2])
    raster = read_geotiff(root / EUROSAT_FOLDER / "Forest/Forest_1.tif", ["B8A", "B04"], names=EUROSAT_BANDS)
    assert raster.pixels.shape == (2, 64, 64)
    assert raster.pixels.dtype == np.uint16
    assert raster.pixels[0].mean() > 2 * raster.pixels[1].mean()
    assert {path.name for path in (root / EUROSAT_FOLDER).iterdir()} == set(EUROSAT_RECIPES)


def test_oscd_has_native_and_rectified_bands_and_labels(tmp_path: Path) -> None:
    root = write_oscd(tmp_path / "oscd", train=1, test=1, size=96)
    images = root / f"{ONERA} - Images"
    assert (images / "train.txt").read_text() == "city0"
    assert (images / "test.txt").read_text() == "town0"
    rect = read_geotiff([images / f"city0/imgs_1_rect/{band}.tif" for band in BANDS])
    native = read_geotiff(sorted((images / "city0/imgs_1").glob("*.tif")), BANDS)
    assert rect.pixels.shape == native.pixels.shape == (13, 96, 96)
    assert rect.grid == native.grid
    assert np.array_equal(rect.pixels[1], native.pixels[1])
    # Both interpolate the 20 m band, the file's reader between the same pixel centres.
    assert np.abs(rect.pixels[4].astype(int) - native.pixels[4])[2:-2, 2:-2].mean() < 50
    for split, city in (("Train", "city0"), ("Test", "town0")):
        labels = root / f"{ONERA} - {split} Labels" / city / "cm"
        picture = np.asarray(Image.open(labels / "cm.png"))
        assert set(np.unique(picture)) == {0, 255}
        assert np.array_equal(read_geotiff(labels / f"{city}-cm.tif").pixels[0], np.where(picture > 0, 2, 1))


def test_pairs_differ_most_where_they_changed() -> None:
    before, after, mask = change_pair(3, 96)
    difference = np.abs(after.stack(["B04"])[0] - before.stack(["B04"])[0])
    assert 0.001 < mask.mean() < 0.3
    assert difference[mask].mean() > 2 * difference[~mask].mean()


def test_the_same_seed_writes_the_same_pixels(tmp_path: Path) -> None:
    one, two, other = (
        write_seco(tmp_path / name, places=1, size=48, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    files = [path.relative_to(one) for path in sorted(one.rglob("*.tif"))]
    assert files == [path.relative_to(two) for path in sorted(two.rglob("*.tif"))]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    assert files != [p.relative_to(other) for p in sorted(other.rglob("*.tif"))] or any(
        (one / name).read_bytes() != (other / name).read_bytes() for name in files
    )


def test_wrong_use_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"5 \(SeCo\) or 10 \(CACo\)"):
        write_seco(tmp_path / "a", dates=7)
    with pytest.raises(ConfigError, match="multiple of 6"):
        write_seco(tmp_path / "a", size=64)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        write_oscd(tmp_path / "full")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r"nearfar\[geo\]"):
        write_eurosat(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
