"""`nearfar data check` on satellite images: sensor, bands and dates are the command's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.cli import main
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff


def test_nameless_bands_of_another_sensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rasterio")
    for place in range(3):
        for day in ("20200101", "20200801"):
            (tmp_path / f"p{place}").mkdir(exist_ok=True)
            pixels = np.random.default_rng([place, int(day)]).integers(1, 99, (2, 16, 16)).astype(np.uint16)
            grid = Grid((16, 16), (30.0, 0.0, 1e4 * place, 0.0, -30.0, 0.0), None)
            write_geotiff(tmp_path / f"p{place}/{day}.tif", pixels, grid)
    assert main(["data", "check", str(tmp_path)]) == 3
    assert "no usable names" in capsys.readouterr().out
    named = ["--sensor", "landsat8", "--bands", "B5", "B4"]
    assert main(["data", "check", str(tmp_path), *named]) == 0
    assert main(["data", "check", str(tmp_path), *named, "--dates", "3"]) == 3
    assert "2 dates, and 3 are to be drawn" in capsys.readouterr().out
