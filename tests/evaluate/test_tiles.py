"""Tiles of labelled scenes, their targets, and features kept between epochs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nearfar.data.scenes import SceneSet
from nearfar.evaluate.dense import DenseModel
from nearfar.evaluate.scene_task import WIDTH, build_decoder, layout
from nearfar.evaluate.tiles import Tiles, read_tile, tile_statistics, tiles_of
from nearfar.evaluate.transfer import BandChoice, choose_bands
from nearfar.train.run import Run

Labelled = Callable[..., SceneSet]


def parts(run: Run, finetune: bool = False) -> tuple[DenseModel, BandChoice]:
    encoder = run.encoder()
    decoder = build_decoder("unet", layout(encoder)[0], 2, WIDTH)
    return DenseModel(encoder, decoder, "segment", finetune), choose_bands(encoder, ("B02", "B08"), "sentinel2_l2a")


def test_tiles_cover_scenes_of_any_size(labelled: Labelled) -> None:
    scenes = labelled("segment", 1).of_split("test")
    tiles = tiles_of(scenes, 32)
    seen = torch.zeros(scenes[0].shape)
    for tile in tiles:
        if tile.scene is scenes[0]:
            seen[tile.rows, tile.cols] += 1
    assert bool((seen > 0).all()) and len(tiles) == 8
    assert len(tiles_of(scenes, 64)) == 2


def test_a_tile_is_read_as_the_encoders_channels_with_what_counts(labelled: Labelled, band_run: Run) -> None:
    scene = labelled("segment", 2).of_split("train")[0]
    choice = parts(band_run)[1]
    (pixels, valid), target = read_tile(tiles_of([scene], 48)[0], choice, 48)
    raw, _, truth = scene.read(slice(0, 40), slice(0, 40))
    assert pixels.shape == (2, 2, 48, 48) and torch.equal(pixels[:, 0, :40, :40], torch.from_numpy(raw[:, 1]))
    assert not valid[:, :3, :3].any() and not valid[:, 40:].any() and bool(valid[:, 3:40, 3:40].all())
    assert (target[:3, :3] == 255).all() and (target[38:] == 255).all() and (target[:, 40:] == 255).all()
    assert torch.equal(target[3:38, 3:40], torch.from_numpy(truth[3:38, 3:40]))


def test_a_change_counts_where_both_dates_have_data(labelled: Labelled, band_run: Run) -> None:
    scenes = labelled("change", 2)
    scene = scenes.of_split("train")[0]
    scene.source.scenes[scene.id][1][0, 10:20] = False  # type: ignore[attr-defined]
    tile, choice = tiles_of([scene], 40)[0], parts(band_run)[1]
    assert (read_tile(tile, choice, 40, change=True).target[10:20] == 255).all()
    assert (read_tile(tile, choice, 40).target[10:20] != 255).all()


def test_statistics_leave_out_pixels_without_data(labelled: Labelled, band_run: Run) -> None:
    tiles, choice = tiles_of(labelled("segment", 1).of_split("train"), 32), parts(band_run)[1]
    mean, std = tile_statistics(tiles, choice, 32)
    assert mean.tolist() == pytest.approx([0.2 + 0.3 * 0.22, 0.2], abs=0.04), "the order is the encoder's: B08, B02"
    assert 0.05 < float(std[0]) < 0.2 and float(std[1]) == pytest.approx(0.02, abs=0.005)


def test_kept_features_are_those_computed_anew(
    labelled: Labelled, band_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, choice = parts(band_run)
    calls: list[int] = []
    original = model.pyramid
    monkeypatch.setattr(model, "pyramid", lambda places: calls.append(len(places)) or original(places))
    tiles = tiles_of(labelled("segment", 3).of_split("train"), 32)
    kept, anew = Tiles(tiles, choice, model, 32), Tiles(tiles, choice, model, 32, budget=0)
    for _ in range(2):
        for (first, target), (second, same) in zip(kept.passes(8), anew.passes(8), strict=True):
            assert torch.equal(target, same)
            assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in zip(first, second, strict=True))
    assert sum(calls) == 3 * len(tiles), "once for the one, twice for the other"


def test_the_budget_is_kept(labelled: Labelled, band_run: Run) -> None:
    model, choice = parts(band_run)
    tiles = tiles_of(labelled("segment", 1).of_split("train"), 32)
    one = sum(2 * m.numel() for m in Tiles(tiles, choice, model, 32).batch([0])[0]) + 8 * 32 * 32
    some = Tiles(tiles, choice, model, 32, budget=3 * one)
    list(some.passes(4))
    assert len(some._kept) == 3
    tuned = Tiles(tiles, choice, parts(band_run, finetune=True)[0], 32)
    maps, _ = tuned.batch([0, 1])
    assert not tuned._kept and all(m.requires_grad for m in maps)
