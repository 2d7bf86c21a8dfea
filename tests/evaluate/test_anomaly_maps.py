"""The Gaussian field on features whose distribution is known, and maps of a toy world."""

import numpy as np
import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig
from nearfar.data import TensorDataset
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.anomaly_maps import EmbedsPatches, GaussianField, anomaly_maps, image_scores, stage_features
from nearfar.evaluate.detection import pixel_auroc


def test_distances_of_the_fitted_distribution_are_about_one() -> None:
    mix = torch.randn(5, 5) + 2 * torch.eye(5)
    draw = lambda n: torch.einsum("nchw,dc->ndhw", torch.randn(n, 5, 3, 2), mix) + 7.0  # noqa: E731
    field = GaussianField.fit(draw(2000), shrinkage=0.0)
    distance = field.distance(draw(500))
    assert distance.shape == (500, 3, 2)
    assert distance.square().mean((0,)) == pytest.approx(torch.ones(3, 2), abs=0.12)


def test_every_place_has_its_own_normal() -> None:
    left_right = torch.tensor([0.0, 10.0]).expand(50, 1, 1, 2) + torch.randn(50, 1, 1, 2)
    field = GaussianField.fit(left_right)
    swapped = field.distance(torch.tensor([[[[10.0, 0.0]]]]))
    assert (swapped > 5).all() and (field.distance(torch.tensor([[[[0.0, 10.0]]]])) < 1).all()


def test_more_features_than_images_and_than_256_are_fitted() -> None:
    features = torch.randn(10, 300, 2, 2)
    field = GaussianField.fit(features)
    assert field.basis.shape == (300, 256)
    torch.testing.assert_close(field.basis.T @ field.basis, torch.eye(256), atol=1e-4, rtol=0)
    far = field.distance(features + 5.0)
    assert far.isfinite().all() and (far > field.distance(features)).all()


def test_features_that_never_vary_give_finite_distances() -> None:
    field = GaussianField.fit(torch.ones(4, 3, 2, 2))
    assert field.distance(torch.ones(1, 3, 2, 2)).eq(0).all()
    assert field.distance(torch.zeros(1, 3, 2, 2)).isfinite().all()


def test_what_cannot_be_fitted_or_compared_is_refused() -> None:
    with pytest.raises(DataError, match="at least two normal images"):
        GaussianField.fit(torch.randn(1, 3, 2, 2))
    with pytest.raises(DataError, match="1 not finite"):
        GaussianField.fit(torch.cat([torch.zeros(3, 1, 1, 1), torch.full((1, 1, 1, 1), torch.nan)]))
    with pytest.raises(ShapeError, match="another kind"):
        GaussianField.fit(torch.randn(4, 3, 2, 2)).distance(torch.randn(1, 4, 2, 2))


def boards(n: int, seed: int, defects: bool = False) -> TensorDataset:
    """A bright part on stripes, slightly displaced; defects: the part lies elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.05 * torch.randn(n, 3, 32, 32, generator=generator)
    images[:, :, :, ::4] += 0.3
    masks = torch.zeros(n, 32, 32, dtype=torch.bool)
    for i in range(n):
        y, x = (torch.randint(0, 2, (2,), generator=generator) + (16 if defects else 8)).tolist()
        images[i, :, y : y + 12, x : x + 12] = 0.9
        if defects:
            masks[i, 8:20, 8:20] = masks[i, y : y + 12, x : x + 12] = True
    return TensorDataset(images, [int(defects)] * n, masks=masks, classes=("good", "moved"))


@pytest.mark.parametrize("kind", ["stages", "patches"])
def test_maps_find_a_part_in_the_wrong_place(kind: str) -> None:
    encoder = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32)
    method = nearfar.create("patches", channels=3, encoder=encoder, grid=8)
    assert isinstance(method, EmbedsPatches)
    features = stage_features(method.encoder, 8) if kind == "stages" else method.patches
    normal, spoiled = boards(40, 0), boards(8, 1, defects=True)
    maps = [anomaly_maps(features, normal, test) for test in (boards(8, 2), spoiled)]
    assert maps[1].shape == (8, 32, 32) and maps[1].dtype == np.float32
    assert image_scores(maps[1]).min() > image_scores(maps[0]).max()
    masks = np.stack([spoiled[i]["mask"].numpy() for i in range(8)])
    assert pixel_auroc(maps[1], masks) > 0.7


def test_stage_features_leave_the_mode_of_every_part() -> None:
    method = nearfar.create("patches", channels=3, encoder=EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32))
    method.encoder.eval()
    method.train(False)
    method.head.train()
    stage_features(method.encoder, 4)(torch.rand(2, 3, 32, 32))
    assert method.head.training and not method.encoder.training
