"""Heads in the run folder: written, read, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.decoders import build_decoder
from nearfar.evaluate.dense import layout
from nearfar.evaluate.heads import Predictor, head_path, load_predictor, read_head, save_head
from nearfar.train.run import Run

META: dict[str, Any] = {
    **{"classes": ["land", "sea"], "times": 1, "bands": ["B08", "B02"], "sensor": "sentinel2_l2a", "index": [0, 1]},
    **{"size_multiple": 16, "decoder": "unet", "decoder_width": 8, "threshold": 0.5, "gsd": 10.0},
}


def dense_head(run: Run, task: str = "segment", **changes: Any) -> Predictor:
    encoder = run.encoder()
    decoder = build_decoder("unet", layout(encoder)[0], 2, 8)
    state = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    save_head(run, task, {**state, "mean": encoder.mean, "std": encoder.std}, {**META, **changes})
    return load_predictor(run, task)


def test_a_head_predicts_probabilities_of_any_size(band_run: Run) -> None:
    predictor = dense_head(band_run)
    assert (predictor.task, predictor.classes, predictor.times) == ("segment", ("land", "sea"), 1)
    assert (predictor.bands, predictor.sensor, predictor.size_multiple) == (("B08", "B02"), "sentinel2_l2a", 16)
    rng = np.random.default_rng(0)
    for dates, height, width in ((1, 32, 48), (3, 33, 17), (1, 5, 7)):
        pixels = rng.random((dates, 2, height, width), np.float32)
        found = predictor(pixels, np.ones((dates, height, width), bool))
        assert found.shape == (2, height, width) and found.dtype == np.float32
        assert np.allclose(found.sum(0), 1, atol=1e-5) and (found >= 0).all()


def test_windows_give_what_the_whole_gives_away_from_their_edges(band_run: Run) -> None:
    predictor = dense_head(band_run)
    pixels = np.random.default_rng(1).random((1, 2, 192, 64), np.float32)
    whole = predictor(pixels, np.ones((1, 192, 64), bool))
    half = predictor(pixels[..., :160, :], np.ones((1, 160, 64), bool))
    assert np.abs(whole[:, :48] - half[:, :48]).max() < 1e-2


def test_values_without_data_play_no_part(band_run: Run) -> None:
    predictor = dense_head(band_run)
    pixels = np.random.default_rng(2).random((1, 2, 32, 32), np.float32)
    valid = np.ones((1, 32, 32), bool)
    valid[:, 10:20] = False
    other = np.where(valid[:, None], pixels, np.nan).astype(np.float32)
    assert np.array_equal(predictor(pixels, valid), predictor(other, valid))
    assert np.isfinite(predictor(other, np.zeros_like(valid))).all()
    with pytest.raises(DataError, match="valid pixels are NaN"):
        predictor(other, np.ones_like(valid))


def test_pixels_that_do_not_suit_are_refused(band_run: Run) -> None:
    segment, change = dense_head(band_run), dense_head(band_run, "change", times=2)
    ones = np.ones((1, 16, 16), bool)
    with pytest.raises(ShapeError, match=r"expected \[T, 2, h, w\] \(B08, B02\)"):
        segment(np.zeros((1, 3, 16, 16), np.float32), ones)
    with pytest.raises(ShapeError, match=r"head for change .*expected \[2, 2, h, w\]"):
        change(np.zeros((1, 2, 16, 16), np.float32), ones)
    with pytest.raises(ShapeError, match="do not suit"):
        segment(np.zeros((1, 2, 16, 16), np.float32), np.ones((16, 16), bool))


def test_one_band_may_fill_several_channels(band_run: Run) -> None:
    predictor = dense_head(band_run, bands=["B08"], index=[0, 0])
    assert predictor(np.zeros((1, 1, 16, 16), np.float32), np.ones((1, 16, 16), bool)).shape == (2, 16, 16)


def test_a_missing_head_says_how_to_make_it(band_run: Run) -> None:
    dense_head(band_run)
    with pytest.raises(
        ConfigError, match=r"no head for change \(found segment\). Make one: nearfar eval .* --task change"
    ):
        load_predictor(band_run, "change")
    with pytest.raises(ConfigError, match=r"found classify, expected landcover \| segment \| change"):
        load_predictor(band_run, "classify")


def test_damaged_heads_and_heads_of_other_encoders_are_named(band_run: Run, make_band_run: Any) -> None:
    dense_head(band_run)
    path = head_path(band_run, "segment")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"segment.safetensors: the head cannot be read"):
        load_predictor(band_run, "segment")
    other = make_band_run("other", encoder="resnet18")
    head_path(other, "segment").parent.mkdir()
    head_path(other, "segment").write_bytes(whole)
    with pytest.raises(DataError, match="the head does not fit the run's encoder"):
        load_predictor(other, "segment")


def test_what_is_saved_is_read_and_nothing_else_is_left(band_run: Run) -> None:
    weight = torch.arange(6.0).view(2, 3).T
    save_head(band_run, "landcover", {"weight": weight}, {"classes": ["a"], "colours": [[1, 2, 3]]})
    meta, state = read_head(band_run, "landcover")
    assert meta["task"] == "landcover" and meta["colours"] == [[1, 2, 3]] and torch.equal(state["weight"], weight)
    assert [p.name for p in head_path(band_run, "landcover").parent.iterdir()] == ["landcover.safetensors"]
