"""Scores against scikit-learn and by hand, maps on networks whose answer is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nearfar.config import EncoderConfig, EvalConfig, TrainConfig
from nearfar.data.dataset import TensorDataset
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.rollout import rollout_matrix
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate import attention
from nearfar.evaluate.attention import (
    attention_maps,
    attention_task,
    centre_prior,
    pixel_auroc,
    pointing_game,
    score_maps,
)

HALF = np.zeros((8, 8), bool)
HALF[:, :2] = True


def test_pixel_auroc_is_scikit_learns() -> None:
    heat = np.random.default_rng(0).normal(size=(8, 8)).round(1) + HALF
    assert pixel_auroc(heat, HALF) == pytest.approx(roc_auc_score(HALF.ravel(), heat.ravel()))
    assert pixel_auroc(HALF.astype(float), HALF) == 1.0
    assert pixel_auroc(np.ones((8, 8)), HALF) == 0.5


def test_pointing_game_shares_a_tie() -> None:
    heat = np.zeros((8, 8))
    assert pointing_game(heat, HALF) == 0.25
    heat[0, 0] = 1
    assert pointing_game(heat, HALF) == 1.0
    heat[0, 7] = 2
    assert pointing_game(heat, HALF) == 0.0


def test_scores_come_with_chance_lines() -> None:
    rng = np.random.default_rng(0)
    masks = np.broadcast_to(HALF, (20, 8, 8))
    noise = rng.normal(size=(20, 8, 8)).astype(np.float32)
    scores = score_maps({"noise": noise, "good": noise + 2 * masks}, masks, resamples=200)
    assert scores["chance"] == {"pixel_auroc": 0.5, "pointing_game": 0.25}
    assert scores["noise"]["pixel_auroc"]["low"] < 0.5 < scores["noise"]["pixel_auroc"]["high"]
    assert scores["good"]["pixel_auroc"]["low"] > 0.8 and scores["good"]["pointing_game"]["value"] > 0.7
    assert scores["centre_prior"]["pixel_auroc"]["value"] < 0.5 and scores["images"] == 20


def test_centre_prior_points_at_the_centre() -> None:
    prior = centre_prior(9)
    assert np.unravel_index(prior.argmax(), prior.shape) == (4, 4)
    np.testing.assert_allclose(prior, prior[::-1].T)


def test_rollout_of_known_matrices() -> None:
    """Identity attention rolls out to the identity; uniform attention halves the residual in every block."""
    eye, uniform = torch.eye(4).expand(1, 2, 4, 4), torch.full((1, 2, 4, 4), 0.25)
    torch.testing.assert_close(rollout_matrix([eye, eye])[0], torch.eye(4))
    torch.testing.assert_close(rollout_matrix([uniform, uniform])[0], torch.eye(4) / 4 + 0.75 * 0.25)


def vit() -> ImageEncoder:
    config = EncoderConfig(name="nano_vit", size=32)
    return ImageEncoder(config, TensorDataset(torch.zeros(1, 3, 32, 32)).channels).eval()


def test_maps_of_a_transformer_and_of_a_convolutional_network() -> None:
    images, encoder = torch.rand(2, 3, 32, 32), vit()
    maps = attention_maps(encoder, images)
    assert set(maps) == {"last_block", "rollout", "patch_similarity"}
    assert all(m.shape == (2, *encoder.grid) for m in maps.values())
    hottest = maps["rollout"].flatten(1).argmax(1)
    torch.testing.assert_close(maps["patch_similarity"].flatten(1)[[0, 1], hottest], torch.ones(2))
    cnn = ImageEncoder(EncoderConfig(name="nano_cnn", size=32), encoder.channels).eval()
    assert set(attention_maps(cnn, images)) == {"descriptor_similarity", "activation"}


def fake_run(path: Path, test: TensorDataset) -> SimpleNamespace:
    config = SimpleNamespace(train=TrainConfig())
    return SimpleNamespace(path=path, arrays=path / "arrays", encoder=vit, dataset=lambda split: test, config=config)


def test_task_scores_only_masks_with_an_inside_and_an_outside(tmp_path: Path) -> None:
    masks = torch.zeros(20, 32, 32, dtype=torch.bool)
    masks[:15, 4:12, 4:12] = True
    masks[14] = True
    run = fake_run(tmp_path, TensorDataset(torch.rand(20, 3, 32, 32), masks=masks))
    scores = attention_task(run, EvalConfig(bootstrap=20))
    assert scores["images"] == 14 and 0 <= scores["rollout"]["pixel_auroc"]["value"] <= 1
    arrays = np.load(tmp_path / "arrays" / "attention.npz")
    assert arrays["image"].shape == (12, 32, 32, 3) and arrays["image"].dtype == np.uint8
    assert arrays["maps/rollout"].shape == arrays["mask"].shape == (12, 32, 32)


def test_task_without_masks_makes_pictures_and_no_scores(tmp_path: Path) -> None:
    scores = attention_task(fake_run(tmp_path, TensorDataset(torch.rand(5, 3, 32, 32))), EvalConfig())
    assert scores == {"images": 0, "kinds": ["last_block", "rollout", "patch_similarity"]}
    assert not np.load(tmp_path / "arrays" / "attention.npz")["mask"].any()


@pytest.mark.parametrize(
    ("heat", "mask", "error", "text"),
    [
        (np.zeros((4, 4)), HALF, ShapeError, r"\(4, 4\) and \(8, 8\)"),
        (np.full((8, 8), np.nan), HALF, DataError, "NaN"),
        (np.zeros((8, 8)), np.zeros((8, 8)), DataError, "empty"),
        (np.zeros((8, 8)), np.ones((8, 8)), DataError, "full"),
    ],
)
def test_bad_input_is_named(heat: np.ndarray, mask: np.ndarray, error: type[Exception], text: str) -> None:
    for score in (attention.pixel_auroc, attention.pointing_game):
        with pytest.raises(error, match=text):
            score(heat, mask)
