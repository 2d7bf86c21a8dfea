"""Likeness of pictures against scikit-image, and the anchors against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nearfar.errors import DataError, ShapeError
from nearfar.scenes.metrics import Lpips, anchors, find_lpips, likeness, mean_image, nearest_view, psnr, ssim
from nearfar.scenes.scene import Scene
from nearfar.spatial.cameras import orbit


def pictures(seed: int = 0, shape: tuple[int, ...] = (24, 31, 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(shape).astype(np.float32)
    return np.clip(truth + rng.normal(0, 0.1, shape), 0, 1).astype(np.float32), truth


@pytest.mark.parametrize("shape", [(24, 31, 3), (11, 40, 3), (64, 64, 1)])
def test_measures_are_those_of_scikit_image(shape: tuple[int, ...]) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    made, truth = pictures(shape=shape)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    reference = skimage.structural_similarity(made.astype(float), truth.astype(float), channel_axis=2, **options)
    assert ssim(made, truth) == pytest.approx(reference, abs=1e-9)
    assert psnr(made, truth) == pytest.approx(skimage.peak_signal_noise_ratio(truth, made, data_range=1), abs=1e-5)


def test_equal_pictures_are_alike() -> None:
    _, truth = pictures()
    assert psnr(truth, truth) == 100
    assert ssim(truth, truth) == pytest.approx(1)


def test_pictures_that_do_not_fit_are_refused() -> None:
    made, truth = pictures()
    with pytest.raises(ShapeError, match=r"24, 30"):
        psnr(made[:, :-1], truth)
    with pytest.raises(ShapeError, match="window"):
        ssim(made[:10], truth[:10])


def test_what_cannot_be_measured_is_null() -> None:
    made, truth = pictures(shape=(8, 8, 3))
    found = likeness(made, truth, Lpips(None, "absent"))
    assert found["ssim"] is None
    assert found["lpips"] is None
    assert found["psnr"] == psnr(made, truth)


def test_lpips_is_there_or_says_why() -> None:
    found = find_lpips()
    assert (found.distance is None) == bool(found.why)


def test_anchors_are_white_the_mean_and_the_nearest_view(ball: Callable[..., Scene]) -> None:
    scene = ball(24, 16)
    known = scene.indices("train")
    mean = mean_image(scene, known)
    found = anchors(scene, 0, known, mean)
    assert (found["white"] == 1).all()
    assert np.allclose(found["mean_image"], np.mean([scene.image(i)[0] for i in known], axis=0), atol=1e-6)
    nearest = min(known, key=lambda k: np.linalg.norm(scene.frames[k].camera.origin - scene.frames[0].camera.origin))
    assert np.array_equal(found["nearest_view"], scene.image(nearest)[0])
    half = anchors(scene, 0, known, mean, scale=0.5)
    assert all(picture.shape == (8, 8, 3) for picture in half.values())


def test_at_one_place_the_nearest_view_looks_the_same_way() -> None:
    from dataclasses import replace

    from nearfar.spatial.cameras import look_at

    first = orbit(1, 2.0)[0]
    others = [replace(first, c2w=look_at(first.origin, target)) for target in ((3.0, 0, 0), (0.1, 0, 0), (-2, 0, 0))]
    assert nearest_view(first, others) == 1


def test_no_view_has_no_mean(ball: Callable[..., Scene]) -> None:
    with pytest.raises(DataError, match="mean"):
        mean_image(ball(24, 16), [])
