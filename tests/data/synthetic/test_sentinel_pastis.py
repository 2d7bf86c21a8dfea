"""The PASTIS layout, read back with NumPy and json alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.data.synthetic.sentinel_pastis import PASTIS_BANDS, PASTIS_CLASSES, VOID, pastis_patch, write_pastis


def test_everything_a_reader_needs_is_there(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    root = write_pastis(tmp_path / "pastis", patches=2, dates=4)
    features = json.loads((root / "metadata.geojson").read_text())["features"]
    norm = json.loads((root / "NORM_S2_patch.json").read_text())
    assert [feature["properties"]["Fold"] for feature in features] == [1, 2]
    assert sorted(norm) == ["Fold_1", "Fold_2"]
    for feature in features:
        about = feature["properties"]
        number = about["ID_PATCH"]
        series = np.load(root / f"DATA_S2/S2_{number}.npy")
        target = np.load(root / f"ANNOTATIONS/TARGET_{number}.npy")
        parcel = np.load(root / f"ANNOTATIONS/ParcelIDs_{number}.npy")
        assert series.shape == (4, 10, 128, 128)
        assert series.dtype == np.int16
        assert target.shape == (3, 128, 128)
        assert target.dtype == np.uint8
        days = list(about["dates-S2"].values())
        assert list(about["dates-S2"]) == ["0", "1", "2", "3"]
        assert days == sorted(set(days))
        assert about["N_Parcel"] == parcel.max() == len(np.unique(parcel)) - 1
        assert np.allclose(norm[f"Fold_{about['Fold']}"]["mean"], series.mean((0, 2, 3)))
        assert np.allclose(norm[f"Fold_{about['Fold']}"]["std"], series.std((0, 2, 3)))


def test_classes_parcels_and_void_fit_each_other() -> None:
    series, crop, parcel, days = pastis_patch(3, 6)
    assert len(days) == len(series) == 6
    assert set(np.unique(crop)) <= {0, VOID, *PASTIS_CLASSES.values()}
    assert len(np.unique(crop)) >= 4
    assert np.array_equal(parcel > 0, (crop > 0) & (crop != VOID))
    rim = np.zeros(crop.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    assert (crop[rim] == VOID).any()
    assert not (crop[32:96, 32:96] == VOID).any()
    for number in range(1, parcel.max() + 1):
        assert len(np.unique(crop[parcel == number])) == 1
    assert len(PASTIS_BANDS) == series.shape[1]


def test_the_same_seed_gives_the_same_patch() -> None:
    assert all(np.array_equal(a, b) for a, b in zip(pastis_patch(1, 2), pastis_patch(1, 2), strict=True))
