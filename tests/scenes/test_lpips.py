"""LPIPS with a weights file of random numbers in the place where torchvision keeps VGG16's: the metric and the loss.

By the package lpips where it is installed, else by a stand-in with its interface.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import VGG16_Weights, vgg16

from nearfar.errors import ConfigError
from nearfar.scenes.config import SceneConfig, load
from nearfar.scenes.fit import fit_scene
from nearfar.scenes.measure import measure
from nearfar.scenes.metrics import find_lpips, likeness

sys.path.insert(0, str(Path(__file__).parent))
import lpips_standin

INSTALLED = importlib.util.find_spec("lpips") is not None
FIRST = ("features.0.", "features.2.")
"""the two convolutions before VGG's first pooling"""


def weights(later: float) -> dict[str, Tensor]:
    """VGG16's layout: both first convolutions random, numbers of the later ones `later` times a random one a channel.

    Those of the classifier, which LPIPS leaves out, are one zero, repeated without taking room in the file.
    """
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16(weights=None).state_dict().items()}
    draws = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        if name.startswith(FIRST):
            found[name] = torch.randn(shape, generator=draws) * 0.1
        else:
            one = torch.rand(shape[:1], generator=draws) * (later if name.startswith("features") else 0)
            found[name] = one.view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the weights file belongs; the package is there."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    if not INSTALLED:
        monkeypatch.setitem(sys.modules, "lpips", lpips_standin)  # type: ignore[arg-type]
    file = tmp_path / "home/hub/checkpoints" / Path(VGG16_Weights.IMAGENET1K_V1.url).name
    file.parent.mkdir(parents=True)
    return file


def channel_weights() -> Tensor:
    """[1, 64, 1, 1] of the first stage."""
    if not INSTALLED:
        return lpips_standin.channel_weights(0)
    import lpips

    state = torch.load(Path(lpips.__file__).parent / "weights/v0.1/vgg.pth", map_location="cpu")
    return torch.as_tensor(state["lin0.model.1.weight"])


def test_the_first_stage_is_what_it_is_by_hand(store: Path) -> None:
    made = weights(later=0.0)  # so that the later stages see no difference
    torch.save(made, store)
    a, b = torch.rand(2, 1, 3, 18, 20, generator=torch.Generator().manual_seed(1))
    mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    features = [(2 * x - 1 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1) for x in (a, b)]
    for name in FIRST:
        features = [F.relu(F.conv2d(x, made[f"{name}weight"], made[f"{name}bias"], padding=1)) for x in features]
    units = [x / x.norm(dim=1, keepdim=True) for x in features]
    expected = ((units[0] - units[1]).square() * channel_weights()).sum(1).mean()
    distance = find_lpips().distance
    assert distance is not None
    assert float(distance(a, b)) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > 0.01
    assert float(distance(a, a)) == 0


def test_held_out_views_are_measured_and_patches_learned(
    store: Path, tiny: Callable[..., SceneConfig], tmp_path: Path
) -> None:
    torch.save(weights(later=0.05), store)
    settings = {"points__patch": 16, "train__steps": 4}
    run = fit_scene(tiny(**settings, train__perceptual=0.5), tmp_path / "run")
    lines = [line for line in run.history() if line["kind"] == "step"]
    assert all(line["loss"] > line["mse"] for line in lines)
    plain = fit_scene(tiny(**settings), tmp_path / "plain")
    points = [each.learner("cpu").field.state_dict()["features"] for each in (run, plain)]
    assert not torch.equal(*points)
    assert torch.isfinite(points[0]).all()
    views = measure(run)["views"]
    assert views["no_lpips"] is None
    group = views["groups"]["held_out_views"]
    assert 0 < group["lpips"]["value"] < math.inf
    assert all(anchor["lpips"]["value"] > 0 for anchor in group["anchors"].values())


def test_what_cannot_be_read_is_said(store: Path) -> None:
    assert find_lpips() == (None, f"no weights {store}")
    store.write_bytes(b"not weights")
    found = find_lpips()
    assert found.distance is None
    assert f"{store} cannot be read" in found.why
    other = store.with_name("vgg16-00000000.pth")
    store.rename(other)  # torchvision would download its own
    assert find_lpips() == (None, f"no weights {store}")


def test_small_pictures_have_none(store: Path) -> None:
    torch.save(weights(later=0.05), store)
    rng = torch.Generator().manual_seed(0)
    made, truth = torch.rand(2, 15, 40, 3, generator=rng).numpy()
    assert likeness(made, truth, find_lpips())["lpips"] is None
    with pytest.raises(ConfigError, match=r"train\.perceptual.*found 8, expected at least 16"):
        load("demo", "scene", None, {"train.perceptual": 0.1, "points.patch": 8})
