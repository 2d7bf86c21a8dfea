"""Segmentation of the published layouts, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.config import EvalConfig
from nearfar.data.synthetic.sentinel_pastis import write_pastis
from nearfar.evaluate import dense_fit, evaluate
from nearfar.evaluate.heads import load_predictor


@pytest.mark.slow
def test_pastis_by_its_folds(make_band_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_fit, "LEAST_STEPS", 40)
    root, run = write_pastis(tmp_path / "pastis", patches=5, dates=3), make_band_run()
    config = EvalConfig(tasks=("segment",), segment=root, decoder_epochs=40, bootstrap=20)
    found = evaluate(run, config)
    report = found["segment"]
    assert (report["train_tiles"], report["val_tiles"], report["scenes"]) == (3, 1, 1)
    names = report["confusion"]["classes"]
    assert len(names) == 19 and "void" not in [name.lower() for name in names], "void does not count"
    assert set(report["averaged_over"]) <= set(names) and 0 < report["pixels"] <= 128 * 128
    partial = report["without_background"]
    assert "background" not in [name.lower() for name in partial["averaged_over"]]
    share = max(np.sum(report["confusion"]["counts"], axis=1)) / report["pixels"]
    assert report["overall_accuracy"]["value"] > 0.5 * share
    predictor = load_predictor(run, "segment")
    pixels = np.full((1, 2, 40, 40), 0.2, np.float32)
    assert predictor(pixels, np.ones((1, 40, 40), bool)).shape == (19, 40, 40), "any number of dates will do"
