"""What every method promises, held by one suite: the plain loop, its two halves, its state, its errors."""

import copy
import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig, Stage, TextConfig, ViewsConfig
from nearfar.errors import DataError, ShapeError
from nearfar.methods import load_method_class
from nearfar.methods.base import Batch, Method
from nearfar.presets import METHODS

sys.path.insert(0, str(Path(__file__).parents[1] / "methods"))
from loops import plain_loop

SMALL: dict[str, dict[str, Any]] = {
    "moco": {"queue": 32, "momentum": 0.9},
    "saco": {"queue": 32, "momentum": 0.9, "positives": "same_date", "group_loss": "none"},
    "seco": {"queue": 32, "momentum": 0.9},
    "patches": {"grid": 8},
    "csip": {"rows": 5, "directions": 36, "banner_width": 8, "temperature": 0.1},
    "spatialclip": {"text": TextConfig("byte", dim=16, layers=1), "dim": 16, "box_dim": 16, "box_drop": 0.0},
}
VIEWS = {
    "seco": ViewsConfig(recipe="seasonal", count=4, strength=0.2, erase=0.0),
    "csip": ViewsConfig(recipe="pairs", count=1, strength=0.2, erase=0.0),
    "spatialclip": ViewsConfig(recipe="study", count=1, strength=0.2, flip_horizontal=0.0),
    "smcl": ViewsConfig(recipe="study", count=3, strength=0.2),
}
NEEDED = ("image", "label", "masks", "text", "objects", "object_labels", "mirror", "opposite")
"""what some method cannot do without"""
ENCODER = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16)
LABELLED = [name for name in METHODS if load_method_class(name).needs_labels]

pytestmark = pytest.mark.filterwarnings("ignore:.*anchors on 1 rank")


def make(name: str, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    options = {"projection": (32, 16), **SMALL.get(name, {})}
    method = nearfar.create(
        name, channels=3, encoder=ENCODER, views=VIEWS.get(name, ViewsConfig(recipe="weak")), **options
    )
    for part in method.modules():  # what draws from torch's generator would differ between two calls
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    return method.train()


def toy(name: str, step: int = 0, count: int = 24) -> Batch:
    """Three classes that differ in where they are bright, each image with a texture of its own; views by `step`.

    The bright stripe and a dark box, which lies elsewhere in every image, are the two objects of a pair, and the dark
    box with a caption of its place is what a study has of the image, whose classes are two. Upside down it is the
    mirrored view, turned left to right the opposite one.
    """
    generator = torch.Generator().manual_seed(0)
    labels, masks = torch.arange(count) % 3, torch.zeros(count, 2, 16, 16)
    image = 0.5 * torch.rand(count, 3, 4, 4, generator=generator).repeat(1, 1, 4, 4)
    for i, label in enumerate(labels.tolist()):
        image[i, label, :, 4 * label : 4 * label + 6] += 0.5
        masks[i, 0, :, 4 * label : 4 * label + 6] = 1
        box = (slice(4 * (i % 4), 4 * (i % 4) + 4), slice(4 * (i // 4 % 4), 4 * (i // 4 % 4) + 4))
        image[i, :, *box] = 0
        masks[i, 1, *box] = 1
    ids = torch.arange(count)
    objects = torch.stack([ids // 4 % 4 / 4, ids % 4 / 4, *torch.full((3, count), 0.25)], 1)[:, None]
    study = {"text": [f"dark {i % 8}" for i in range(count)], "objects": objects, "object_labels": ids[:, None] % 3}
    study |= {"mirror": image.flip(-2), "opposite": image.flip(-1), "negative": ids % 5 > 0}
    labels = labels % 2 if name == "spatialclip" else labels
    return {"image": image, "masks": masks, "label": labels, "index": ids, "seed": ids + 1000 * step, **study}


def picked(value: Any, rows: torch.Tensor) -> Any:
    return value[rows] if isinstance(value, torch.Tensor) else [value[i] for i in rows.nonzero()[:, 0].tolist()]


def train(name: str, method: Method, steps: int, lr: float = 0.003, first: int = 0) -> list[float]:
    return plain_loop(method, (toy(name, number) for number in range(first, first + steps)), lr)


@pytest.mark.parametrize("name", METHODS)
def test_the_plain_loop_runs_and_the_loss_falls(name: str) -> None:
    losses = train(name, make(name), 40)
    # The first steps are left out: a method with a queue has few negatives until it is full.
    assert sum(losses[-5:]) < 0.93 * sum(losses[4:9])


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_the_criterion_of_the_projections(name: str) -> None:
    method, batch = make(name), toy(name)
    method.set_progress(0.4)
    whole = copy.deepcopy(method).step(batch)
    called = copy.deepcopy(method)(batch)
    viewed = method.views(batch)
    assert viewed["views"].shape == (24, method.views_config.count, 3, 16, 16)
    halves = method.criterion(method.project(viewed), viewed)
    assert torch.equal(whole.loss, halves.loss) and torch.equal(whole.loss, called.loss)
    assert all(not part.requires_grad for part in whole.parts.values())


@pytest.mark.parametrize("name", METHODS)
def test_projections_in_chunks_are_the_projections(name: str) -> None:
    method = make(name)
    batch = method.views(toy(name))
    whole = method.project(batch)
    chunks = [method.project({k: v[rows] for k, v in batch.items()}) for rows in (slice(0, 7), slice(7, 24))]
    for key, value in whole.items():
        assert len(value) == 24
        torch.testing.assert_close(torch.cat([chunk[key] for chunk in chunks]), value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_encode_evaluates_and_restores_the_mode(name: str, training: bool) -> None:
    method = make(name).train(training)
    method.encoder.body.model.stem.eval()  # type: ignore[union-attr]
    modes = {module: module.training for module in method.modules()}
    features = method.encode(toy(name)["image"])
    assert features.shape == (24, method.encoder.feature_dim)
    assert not features.requires_grad
    assert modes == {module: module.training for module in method.modules()}
    assert torch.equal(features, method.encode(toy(name)["image"]))


@pytest.mark.parametrize("name", METHODS)
def test_the_state_is_whole_and_loads_with_weights_only(name: str) -> None:
    method = make(name)
    train(name, method, 3)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = make(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert train(name, method, 2, first=3) == train(name, other, 2, first=3)
    for key, value in method.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, atol=0, rtol=0, equal_nan=True, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_a_stage_leaves_parameters_and_what_learns_to_the_trainer(name: str) -> None:
    method = make(name)
    before = {key: (id(p), p.requires_grad) for key, p in method.named_parameters()}
    method.set_stage(Stage("all", 1, losses=dict.fromkeys(method.loss_parts, 0.5)))
    assert before == {key: (id(p), p.requires_grad) for key, p in method.named_parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_losses(name: str) -> None:
    assert train(name, make(name), 3) == train(name, make(name), 3)
    assert train(name, make(name), 3) != train(name, make(name, seed=1), 3)


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("labels", [None, torch.full((24,), -1)])
def test_a_method_that_needs_labels_says_so(name: str, labels: torch.Tensor | None) -> None:
    batch = toy(name) | {"label": labels}
    if labels is None:
        del batch["label"]
    with pytest.raises(DataError, match=r"batch\['label'\].*simclr"):
        make(name).step(batch)


@pytest.mark.parametrize("name", LABELLED)
def test_images_without_a_label_take_no_part(name: str) -> None:
    method, batch = make(name), toy(name)
    batch["label"][::4] = -1
    known = batch["label"] >= 0
    expected = method.step({key: picked(value, known) for key, value in batch.items()}).loss
    torch.testing.assert_close(method.step(batch).loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LABELLED])
def test_a_method_without_labels_does_not_look_at_them(name: str) -> None:
    batch = toy(name)
    without = {key: value for key, value in batch.items() if key != "label"}
    assert torch.equal(make(name).step(batch).loss, make(name).step(without).loss)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_another_origin_needs_only_images_and_masks(name: str) -> None:
    batch = {key: value for key, value in toy(name).items() if key in NEEDED}
    assert make(name).step(batch).loss.isfinite()


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_finite_in_bfloat16_and_every_parameter_learns(name: str) -> None:
    method = make(name)
    train(name, method, 1)
    with torch.autocast("cpu", torch.bfloat16):
        out = method.step(toy(name, 5))
    assert out.loss.dtype == torch.float32
    out.loss.backward()
    for key, parameter in method.named_parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and parameter.grad.isfinite().all()), key


@pytest.mark.parametrize("name", METHODS)
def test_views_of_another_shape_are_refused(name: str) -> None:
    with pytest.raises(ShapeError, match=r"\[B, V, C, h, w\]"):
        make(name).step(toy(name) | {"views": torch.rand(24, 3, 16, 16)})
