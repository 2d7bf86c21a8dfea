"""How alike two pictures are, and what pictures that know nothing of volumes reach.

A number says little beside nothing: `anchors` are the pictures that any method must beat.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nearfar.errors import DataError, ShapeError
from nearfar.scenes.config import LPIPS_SIDE
from nearfar.scenes.scene import Pixels, Scene, resampled
from nearfar.spatial.cameras import Camera

WINDOW, SIGMA = 11, 1.5
CONVENTION = {
    "psnr": "-10 log10 of the mean squared error of float RGB in 0..1, a picture; then the mean over pictures",
    "ssim": "Gaussian window of 11 pixels, sigma 1.5, per channel, range 1, borders of 5 pixels left out "
    "(Wang et al. 2004; skimage with gaussian_weights and without sample covariance)",
    "lpips": "VGG of the package lpips, pictures in -1..1",
    "pixels": "float, clamped to 0..1, not rounded to 8 bit",
}
BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
"""files of torchvision; another name would be downloaded anew"""


def psnr(made: ArrayLike, truth: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB of pictures [H, W, 3] in 0..1, at most 100. Raises ShapeError."""
    a, b = _pair(made, truth)
    return float(-10 * np.log10(max(float(np.square(a - b).mean()), 1e-10)))


def ssim(made: ArrayLike, truth: ArrayLike) -> float:
    """Structural similarity of pictures [H, W, C] in 0..1, at most 1; see `CONVENTION`.

    Raises ShapeError where a side is shorter than the window of 11 pixels.
    """
    a, b = _pair(made, truth)
    if min(a.shape[:2]) < WINDOW:
        raise ShapeError("the picture is smaller than the window of SSIM", found=a.shape, expected=f"{WINDOW} or more")
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    both = _blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    edge = WINDOW // 2
    return float(map_[edge:-edge, edge:-edge].mean())


class Lpips(NamedTuple):
    """`distance` of tensors [1, 3, H, W] in 0..1, with gradients; None where it cannot be had, and why."""

    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
    why: str = ""


def find_lpips(net: str = "vgg", device: str | torch.device = "cpu") -> Lpips:
    """LPIPS where the package and its backbone's weights are on this machine; nothing is downloaded."""
    try:
        import lpips
    except ImportError:
        return Lpips(None, "the package lpips is not installed")
    file = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[net]
    if not file.is_file():
        return Lpips(None, f"no weights {file}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")  # lpips asks in an old way
            model: Any = lpips.LPIPS(net=net, verbose=False).to(device).eval().requires_grad_(False)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return Lpips(None, f"{file} cannot be read: {reason}")

    def distance(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = model(2 * made - 1, 2 * truth - 1)
        return value.mean()

    return Lpips(distance)


def likeness(made: Pixels, truth: Pixels, lpips: Lpips) -> dict[str, float | None]:
    """psnr, ssim and lpips of two pictures; None where one cannot be had."""
    found: dict[str, float | None] = {"psnr": psnr(made, truth), "ssim": None, "lpips": None}
    if min(truth.shape[:2]) >= WINDOW:
        found["ssim"] = ssim(made, truth)
    if lpips.distance is not None and min(truth.shape[:2]) >= LPIPS_SIDE:
        with torch.no_grad():
            pair = [torch.from_numpy(x.transpose(2, 0, 1).copy())[None] for x in (made, truth)]
            found["lpips"] = float(lpips.distance(*pair))
    return found


def anchors(scene: Scene, i: int, known: Sequence[int], mean: Pixels, scale: float = 1.0) -> dict[str, Pixels]:
    """The pictures that view `i` is measured against: white, the `mean` image, and the nearest of the views `known`."""
    size = scene.frames[i].camera.scaled(scale)
    near = nearest_view(scene.frames[i].camera, [scene.frames[k].camera for k in known])
    pictures = {"mean_image": mean, "nearest_view": scene.image(known[near], scale)[0]}
    found = {name: _sized(picture, size) for name, picture in pictures.items()}
    return {"white": np.ones((size.height, size.width, 3), np.float32), **found}


def eight_bit(values: ArrayLike) -> NDArray[np.uint8]:
    """Values 0..1 as 0..255, rounded."""
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)


def mean_image(scene: Scene, views: Sequence[int], scale: float = 1.0) -> Pixels:
    """The mean of views, of the size of the first one. Raises DataError where there are none."""
    if not len(views):
        raise DataError("there is no view to take the mean of", where=scene.name)
    size = scene.frames[views[0]].camera.scaled(scale)
    total = np.zeros((size.height, size.width, 3), np.float64)
    for i in views:
        total += _sized(scene.image(i, scale)[0], size)
    return (total / len(views)).astype(np.float32)


def nearest_view(camera: Camera, others: Sequence[Camera]) -> int:
    """Which of the others stands nearest; of those at one place, which looks the same way."""
    away = [float(np.linalg.norm(other.origin - camera.origin)) for other in others]
    turned = [float(1 - other.axis @ camera.axis) for other in others]
    close = 1e-6 + 1e-6 * max(away)
    return min(range(len(others)), key=lambda k: (round(away[k] / close), turned[k]))


def _sized(picture: Pixels, size: Camera) -> Pixels:
    if picture.shape[:2] == (size.height, size.width):
        return picture
    return resampled(picture, size.width, size.height)


def _blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(values, (SIGMA, SIGMA, 0), truncate=3.5))


def _pair(made: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(made, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 3:
        raise ShapeError("pictures must agree", found=f"{a.shape} and {b.shape}", expected="[H, W, 3] each")
    return a, b
