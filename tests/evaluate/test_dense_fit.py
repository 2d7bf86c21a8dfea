"""Training a decoder: its loss, its symmetries, and what validation tiles decide."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from nearfar.data.scenes import SceneSet
from nearfar.errors import NonFiniteError
from nearfar.evaluate import dense_fit
from nearfar.evaluate.decoders import build_decoder
from nearfar.evaluate.dense import DenseModel, Kind, layout
from nearfar.evaluate.dense_fit import fit_decoder, map_loss, turned, validate
from nearfar.evaluate.tiles import Tiles, tiles_of
from nearfar.evaluate.transfer import choose_bands
from nearfar.train.run import Run

Parts = tuple[DenseModel, Tiles, Tiles]


@pytest.fixture
def prepared(labelled: Callable[..., SceneSet], band_run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Parts]:
    """Model, training and validation tiles of the scenes in memory."""
    monkeypatch.setattr(dense_fit, "LEAST_STEPS", 1)

    def make(kind: Kind, val: bool = True, finetune: bool = False) -> Parts:
        scenes, encoder = labelled(kind, 2), band_run.encoder()
        torch.manual_seed(1)
        decoder = build_decoder("unet", layout(encoder)[0], 2, 8)
        model = DenseModel(encoder, decoder, kind, finetune)
        choice = choose_bands(encoder, ("B02", "B08"), "sentinel2_l2a")
        train, held = (tiles_of(scenes.of_split(name), 40) for name in ("train", "val"))
        return model, Tiles(train, choice, model, 40), Tiles(held if val else [], choice, model, 40)

    return make


@pytest.mark.parametrize("kind", ["segment", "change"])
def test_a_decoder_is_learnt_and_the_best_epoch_kept(prepared: Callable[..., Parts], kind: Kind) -> None:
    model, train, val = prepared(kind)
    before = validate(model, val)[0]
    found = fit_decoder(model, train, val, 25)
    assert found.losses[-1] < found.losses[0] and len(found.losses) == found.epochs == 25
    assert found.score > max(before, 0.6)
    score, threshold = validate(model, val)
    assert score == pytest.approx(found.score) and threshold == pytest.approx(found.threshold)
    assert (threshold != 0.5) == (kind == "change")


def test_the_same_seed_gives_the_same_decoder(prepared: Callable[..., Parts]) -> None:
    fits = []
    for seed in (0, 0, 1):
        model, train, val = prepared("segment")
        fit_decoder(model, train, val, 3, seed)
        fits.append(torch.cat([p.detach().flatten() for p in model.decoder.parameters()]))
    assert torch.equal(fits[0], fits[1]) and not torch.equal(fits[0], fits[2])


def test_without_validation_nothing_is_chosen(prepared: Callable[..., Parts]) -> None:
    model, train, val = prepared("change", val=False)
    found = fit_decoder(model, train, val, 3)
    assert math.isnan(found.score) and found.threshold == 0.5 and found.best_epoch == 3


def test_only_a_tuned_encoder_changes(prepared: Callable[..., Parts]) -> None:
    for finetune in (False, True):
        model, train, val = prepared("segment", finetune=finetune)
        before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
        fit_decoder(model, train, val, 2)
        same = [torch.equal(before[name], value) for name, value in model.encoder.state_dict().items()]
        assert all(same) != finetune


def test_few_tiles_get_more_epochs(prepared: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_fit, "LEAST_STEPS", 5)
    model, train, val = prepared("segment")
    assert fit_decoder(model, train, val, 2).epochs == 5


def test_a_loss_that_is_not_finite_stops(prepared: Callable[..., Parts]) -> None:
    model, train, val = prepared("segment")
    with torch.no_grad():
        next(iter(model.decoder.parameters())).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="not finite"):
        fit_decoder(model, train, val, 1)


def test_pixels_that_do_not_count_have_no_loss() -> None:
    scores, target = torch.randn(2, 2, 6, 6), torch.randint(0, 2, (2, 6, 6))
    target[:, :3] = 255
    for change in (False, True):
        loss = map_loss(scores, target, change)
        other = scores.clone()
        other[:, :, :3] = 50
        assert torch.allclose(map_loss(other, target, change), loss)
    assert torch.allclose(map_loss(scores, target, False), F.cross_entropy(scores[:, :, 3:], target[:, 3:]))
    nothing = map_loss(scores.requires_grad_(), torch.full_like(target, 255), True)
    nothing.backward()  # type: ignore[no-untyped-call]
    assert bool(nothing.isfinite()) and scores.grad is not None and not scores.grad.any()


def test_dice_rewards_finding_few_pixels() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[0, :2, :2] = 1
    right = torch.stack([1.0 - target, 1.0 * target], 1) * 20
    missed = torch.stack([torch.ones(1, 20, 20), torch.zeros(1, 20, 20)], 1) * 20
    assert float(map_loss(right, target, True)) < 1e-3
    assert float(map_loss(missed, target, True) - map_loss(missed, target, False)) == pytest.approx(1 - 1 / 5, abs=1e-3)


def test_maps_and_targets_turn_alike() -> None:
    target = torch.arange(16).view(1, 4, 4)
    for turns in range(4):
        for mirror in (False, True):
            (turned_map,), turned_target = turned([target[:, None].float()], target, turns, mirror)
            assert torch.equal(turned_map[:, 0].long(), turned_target)
            if turns or mirror:
                assert not torch.equal(turned_target, target)
