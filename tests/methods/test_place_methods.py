"""SACo, SeCo and CACo on time series: published formulas, dates, places, masks, chunks, and state."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nearfar
from nearfar.config import EncoderConfig, ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.losses import info_nce
from nearfar.losses.groups import group_attraction
from nearfar.methods.base import Batch, Method
from nearfar.methods.saco import SACo
from nearfar.methods.seco import SeCo
from nearfar.presets import PRESETS
from nearfar.spatial.sensors import sensor
from nearfar.train.gradcache import two_pass_step

sys.path.insert(0, str(Path(__file__).parent))
from loops import plain_loop

BANDS = sensor("sentinel2_l2a").names
S2 = Channels.of({"s2": BANDS})
FAMILY = ["moco_v2", "sa_moco_v2", "saco", "saco_plus", "saco_reference", "seco", "caco"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::nearfar.spatial.bands.BandWarning"),
    pytest.mark.filterwarnings("ignore:place NCE"),
]


def make(preset: str, *, seed: int = 0, name: str = "nano_cnn", **options: Any) -> Any:
    torch.manual_seed(seed)
    overrides = {
        k.removeprefix("encoder."): v for k, v in PRESETS[preset].overrides.items() if k.startswith("encoder.")
    }
    small = {"width": 8, "depth": 1} if name == "nano_cnn" else {}
    encoder = EncoderConfig(**{**overrides, "name": name, "options": small, "size": 16, "texture_points": 8})
    settings = {"queue": 24, "momentum": 0.9, "projection": (16, 8), **options}
    if preset == "caco":
        settings |= {"places": 16}
    return nearfar.create(preset, channels=S2, encoder=encoder, **settings).train()


def series(step: int = 0, places: int = 12, dates: int = 6, side: int = 20) -> Batch:
    """Places with a spectrum and a texture of their own, on which every date has its gain; seeds by `step`."""
    source = torch.Generator().manual_seed(0)
    place = torch.rand(places, 1, 12, 1, 1, generator=source) + 0.3 * torch.rand(
        places, 1, 1, side, side, generator=source
    )
    season = 0.7 + 0.6 * torch.rand(places, dates, 1, 1, 1, generator=source)
    images = place * season
    return {
        "image": images[:, 0],
        "series": images,
        "days": 737000 + 60 * torch.arange(dates).expand(places, -1),
        "valid": torch.ones(places, dates, side, side, dtype=torch.bool),
        "gsd": torch.full((places,), 10.0),
        "index": torch.arange(places),
        "seed": torch.arange(places) + 1000 * step,
    }


def train(method: Method, steps: int, first: int = 0, lr: float = 3e-3) -> list[float]:
    return plain_loop(method, map(series, range(first, first + steps)), lr)


@pytest.mark.parametrize("preset", FAMILY)
def test_a_step_runs_and_its_state_is_whole(preset: str) -> None:
    method = make(preset)
    losses = train(method, 3)
    assert all(np.isfinite(losses))
    other = make(preset, seed=1)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert train(method, 2, first=3) == train(other, 2, first=3)
    for key, value in method.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, atol=0, rtol=0, msg=key)


@pytest.mark.parametrize("preset", ["moco_v2", "saco_plus", "seco"])
def test_the_loss_falls_below_chance(preset: str) -> None:
    method = make(preset, temperature=0.1)
    losses = train(method, 30)
    assert np.mean(losses[-5:]) < 0.9 * method.chance(12)


@pytest.mark.parametrize("preset", FAMILY)
def test_the_two_pass_step_has_the_gradient_of_the_step(preset: str) -> None:
    from contextlib import nullcontext

    one = make(preset)
    train(one, 2)
    two = copy.deepcopy(one)
    batch = one.views(series(5))
    loss = one.step(batch).loss
    loss.backward()
    out = two_pass_step(two, batch, 5, project=two.project, backward=lambda x: x.backward(), unsynced=nullcontext)
    torch.testing.assert_close(out.loss, loss.detach(), atol=1e-5, rtol=1e-5)
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(b.grad, a.grad, atol=2e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("preset", FAMILY)
def test_views_are_of_the_dates_that_the_method_names(preset: str) -> None:
    days = make(preset).views(series(places=12))["days_views"]
    same = days[:, 0] == days[:, 1]
    assert bool(same.all()) if preset in ("moco_v2", "saco", "saco_plus", "saco_reference") else not bool(same.any())
    if preset in ("saco", "saco_plus", "saco_reference"):
        assert not bool((days[:, 2] == days[:, 0]).any())
    if preset in ("seco", "caco"):
        assert torch.equal(days[:, 3], days[:, 0]) and bool((days[:, :3].sort(1).values.diff(dim=1) > 0).all())
    if preset == "caco":
        assert bool((days[:, :4].amax(1) < days[:, 4:].amin(1)).all())


def test_the_reference_step_is_the_published_formula_on_golden_numbers(golden_dir: Path) -> None:
    arrays = np.load(golden_dir / "saco" / "losses.npz")
    golden = json.loads((golden_dir / "saco" / "losses.json").read_text())
    q, k, k2, queue = (torch.from_numpy(arrays[name]).double() for name in ("q", "k", "k2", "queue"))
    method = make("saco_reference", projection=(8, 6), queue=10)
    method.queue.double().enqueue(queue)
    groups = _groups_with_mean(q)
    projections = {"groups": groups, "keys": torch.stack([k, k2], 1)}
    out = method.criterion(projections, {})
    expected = golden["two_positives_t0.05 (q,k)+(q,k2)"] + float(group_attraction(groups, form="reference_margin"))
    # The method normalises keys in float32.
    assert float(out.loss) == pytest.approx(expected, abs=2e-5)
    assert float(out.parts["groups"]) == pytest.approx(_published_band_loss(groups), abs=1e-9)


def _groups_with_mean(q: Tensor) -> Tensor:
    offsets = torch.randn(4, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return q[:, None] * 1.3 + offsets - offsets.mean(1, keepdim=True)


def _published_band_loss(groups: Tensor) -> float:
    """training_method.py of SACo: each group's distance to the normalised mean, as PairwiseDistance computes it."""
    mean = F.normalize(groups.mean(1), dim=1)
    terms = [(1 - nn.PairwiseDistance()(groups[:, g], mean)).square().mean() for g in range(groups.shape[1])]
    return float(torch.stack(terms).mean())


def test_seco_is_the_golden_loss_on_golden_numbers(golden_dir: Path) -> None:
    arrays = np.load(golden_dir / "saco" / "losses.npz")
    golden = json.loads((golden_dir / "saco" / "losses.json").read_text())
    zq, zk, queue = (torch.from_numpy(arrays[name]) for name in ("seco_zq", "seco_zk", "seco_queue"))
    method = make("seco", projection=(8, zq.shape[-1]), queue=queue.shape[1])
    assert isinstance(method, SeCo)
    method.queue.double().enqueue(queue.transpose(0, 1).flatten(1))
    # [i, j]: key view j through head i -> [B, 1, j, i]
    out = method.criterion({"query": zq.transpose(0, 1)[:, None], "keys": zk.permute(2, 1, 0, 3)[:, None]}, {})
    assert float(out.loss) == pytest.approx(golden["seco_total"], abs=1e-4)
    assert [float(out.parts[f"head_{i}"]) for i in range(3)] == pytest.approx(golden["seco_heads_t0.07"], abs=1e-4)


def test_moco_v2_is_moco() -> None:
    method, batch = make("moco_v2"), series()
    batch = method.views(batch)
    found = method.project(batch)
    assert found["groups"].shape == (12, 1, 8) and not found["keys"].requires_grad
    expected = info_nce(found["groups"][:, 0], found["keys"][:, 0], temperature=0.1)
    torch.testing.assert_close(method.step(batch).loss, expected)
    other = {**batch, "views": batch["views"].clone()}
    other["views"][:, :, [BANDS.index(b) for b in BANDS if b not in ("B02", "B03", "B04")]] = 0
    torch.testing.assert_close(method.project(other)["groups"], found["groups"])


def test_older_keys_of_the_own_place_are_masked_unless_told_otherwise() -> None:
    for mask in (True, False):
        method = make("saco", mask_same_place=mask, in_batch=False)
        train(method, 1)
        assert torch.equal(method.queue.labels[:12], torch.arange(12))
        batch = method.views(series(1))
        batch = {key: value[:1] for key, value in batch.items()}
        loss = method.step(batch).parts["nce"]
        method._fresh.clear()
        method.queue.keys[0] = -method.queue.keys[0]  # the place's own key
        assert torch.equal(method.step(batch).parts["nce"], loss) is mask


@pytest.mark.parametrize("preset", ["saco", "seco", "caco"])
def test_clouded_places_leave_loss_and_queue(preset: str) -> None:
    method, batch = make(preset), series()
    batch["valid"] = batch["valid"].clone()
    batch["valid"][3:5] = False
    batch["valid"][6, :, :3] = False  # less than half of any view
    out = method.step(batch)
    keep = torch.tensor([0, 1, 2, 5, 6, 7, 8, 9, 10, 11])
    clear = {key: value[keep] for key, value in batch.items()}
    torch.testing.assert_close(out.loss, copy.deepcopy(method).step(clear).loss, atol=1e-5, rtol=1e-5)
    method.after_step()
    rows = 2 if preset == "caco" else 1
    assert int(method.queue.count) == 10 * rows
    batch["valid"][:] = False
    with pytest.warns(UserWarning, match="0 of 0 anchors"):
        nothing = method.step(batch).loss
    nothing.backward()
    assert float(nothing.detach()) == 0


def test_normalising_groups_together_or_apart() -> None:
    method = make("saco_plus", name="resnet18", head_norm="batch")
    norms = [m for m in method.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(getattr(norm, "groups", 0) == 11 for norm in norms)
    method.step(series()).loss.backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_caco_finds_changed_places_once_the_batches_repeat() -> None:
    method, source = make("caco"), torch.Generator().manual_seed(0)
    place = 3 * F.normalize(torch.randn(12, 1, 3, 8, generator=source), dim=3).repeat(1, 2, 1, 1)
    place[:3, 1] *= -1  # the first three places changed between the halves
    for number in range(3):
        noise = [F.normalize(torch.randn(place.shape, generator=source), dim=3) for _ in range(5)]
        now, query, *keys = (place + 0.3 * part for part in noise)
        projections = {"now": now, "query": query, "keys": torch.stack(keys, 2)}
        method.criterion(projections, {"index": torch.arange(12)})
        method.after_step()
        assert bool(method.flags.visited[:24].all()) and not bool(method.flags.visited[24:].any())
        if number == 0:
            assert not bool(method.flags.changed.any())
    assert method.flags.changed[:6].all() and not method.flags.changed[6:].any()
    assert float(method.criterion(projections, {"index": torch.arange(12)}).parts["changed"]) == 0.25
    with pytest.raises(ConfigError, match=r"method.places"):
        method.criterion(projections, {"index": torch.arange(12) + 16})


def test_a_skipped_step_leaves_nothing() -> None:
    for preset in ("saco", "caco"):
        method = make(preset)
        method.step(series())
        method.skip_step()
        method.after_step()
        assert int(method.queue.count) == 0


def test_evaluation_does_not_fill_the_queue() -> None:
    for preset in ("saco", "caco"):
        method = make(preset).eval()
        method.step(series())
        method.after_step()
        assert int(method.queue.count) == 0


@pytest.mark.parametrize(
    ("preset", "options", "message"),
    [
        ("saco", {"positives": "same_date"}, r"views.count.*expected 2"),
        ("moco_v2", {"group_loss": "attract"}, "one group of bands"),
        ("saco", {"min_valid": 1.5}, "min_valid"),
        ("seco", {"negatives": "caco"}, r"views.count.*expected 8"),
        ("saco", {"positives": "any"}, "positives"),
    ],
)
def test_settings_that_do_not_fit_are_refused(preset: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(preset, **options)


def test_dates_need_seasonal_views_and_series_enough_dates() -> None:
    encoder = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16, groups="saco")
    with pytest.raises(ConfigError, match="seasonal"):
        nearfar.create("saco", channels=S2, encoder=encoder, views=ViewsConfig(count=3))
    with pytest.raises(ConfigError, match="seasonal"):
        nearfar.create("seco", channels=S2, encoder=encoder, views=ViewsConfig(count=4))
    with pytest.raises(DataError, match=r"2 different dates.*1 dates"):
        make("saco").step(series(dates=1))
    for preset in ("saco", "seco"):
        with pytest.raises(ShapeError, match=r"\[B, V, C, h, w\]"):
            make(preset).step(series() | {"views": torch.rand(12, 1, 12, 16, 16)})


def test_the_teacher_moves_after_the_step() -> None:
    method = make("saco")
    assert isinstance(method, SACo)
    before = copy.deepcopy(method.teacher.state_dict())
    with torch.no_grad():
        for parameter in method.head.parameters():
            parameter.add_(1.0)
    method.after_step()
    for key, value in method.teacher.state_dict().items():
        if ".head." in key:
            torch.testing.assert_close(value, before[key] + 0.1)
