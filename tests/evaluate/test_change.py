"""Change in the layout of OSCD, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.config import EvalConfig
from nearfar.data.synthetic.sentinel_layouts import write_oscd
from nearfar.evaluate import dense_fit, evaluate


@pytest.mark.slow
def test_oscd_at_native_resolution_by_cities(
    make_band_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rasterio")
    monkeypatch.setattr(dense_fit, "LEAST_STEPS", 60)
    root, run = write_oscd(tmp_path / "oscd", train=4, test=2, size=114), make_band_run()
    report = evaluate(run, EvalConfig(tasks=("change",), change=root, decoder_epochs=20, bootstrap=20))["change"]
    assert report["scenes"] == 2 and report["pixels"] == 2 * 114 * 114, "nothing is resized or cut"
    assert report["val_tiles"] == 4 and report["train_tiles"] == 12, "one of four training cities is held out"
    counts = np.array(report["confusion"]["counts"])
    everywhere = 2 * counts[1].sum() / (counts.sum() + counts[1].sum())
    assert report["f1"]["value"] > 1.5 * everywhere, "better than change everywhere"
    with np.load(run.arrays / "change.npz") as arrays:
        assert set(arrays["scene"].tolist()) == {"town0", "town1"}
        assert arrays["true"].shape == (2, 114, 114) and arrays["classes"].tolist() == ["unchanged", "changed"]
