"""build_views: seeded per sample, independent of the batch, one geometry, any number of channels."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.views import build_views

RECIPES = ("standard", "thermal", "thermal_legacy", "weak", "none")
RANDOM = RECIPES[:4]
MIXED = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""], "depth": [""]})
ONLY_THERMAL = Channels.of({"thermal": [""]})


def config(recipe: str, **values: Any) -> ViewsConfig:
    return ViewsConfig(recipe=recipe, **values)  # type: ignore[arg-type]


def batch(n: int = 6, channels: int = 5, size: tuple[int, int] = (33, 29)) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(n)
    return {
        "image": torch.rand(n, channels, *size, generator=generator),
        "seed": torch.arange(n) * 7919 - 3,
        "mask": torch.rand(n, *size, generator=generator) > 0.5,
        "boxes": torch.tensor([[2.0, 3.0, 20.0, 15.0]]).expand(n, 1, 4),
        "label": torch.arange(n),
    }


def cut(full: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {name: value[rows] for name, value in full.items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_shapes_and_untouched_keys(recipe: str) -> None:
    given_batch = batch()
    image = given_batch["image"].clone()
    out = build_views(config(recipe, count=3), MIXED, 24)(given_batch)
    assert out["views"].shape == (6, 3, 5, 24, 24) and out["views"].dtype == torch.float32
    assert out["mask_views"].shape == (6, 3, 24, 24) and out["mask_views"].dtype == torch.bool
    assert out["boxes_views"].shape == (6, 3, 1, 4)
    assert torch.equal(out["image"], image) and out["label"] is given_batch["label"]
    assert "views" not in given_batch
    assert out["views"].isfinite().all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sample_has_the_same_views_in_every_batch(recipe: str) -> None:
    make, full = build_views(config(recipe), MIXED, 27), batch(9)
    together = make(full)
    for rows in (slice(0, 4), slice(4, 9), slice(7, 8)):
        part = make(cut(full, rows))
        for name in ("views", "mask_views", "boxes_views"):
            assert torch.equal(part[name], together[name][rows]), name
    single = make({"image": full["image"][5], "seed": int(full["seed"][5]), "mask": full["mask"][5], "id": "x"})
    assert torch.equal(single["views"], together["views"][5])
    assert torch.equal(single["mask_views"], together["mask_views"][5])
    assert single["id"] == "x"


@settings(max_examples=15, deadline=None)
@given(st.integers(-(2**62), 2**62), st.sampled_from(RANDOM), st.integers(9, 40), st.integers(8, 30))
def test_one_sample_is_bit_equal_alone_and_among_others(seed: int, recipe: str, side: int, size: int) -> None:
    make, full = build_views(config(recipe, strength=1.0), MIXED, size), batch(5, size=(side, side + 3))
    full["seed"][2] = seed
    assert torch.equal(make(full)["views"][2:3], make(cut(full, slice(2, 3)))["views"])


@pytest.mark.parametrize("recipe", RANDOM)
def test_seed_decides(recipe: str) -> None:
    make, full = build_views(config(recipe), MIXED, 24), batch()
    assert torch.equal(make(full)["views"], make(full)["views"])
    other = make({**full, "seed": full["seed"] + 1})["views"]
    same = (make(full)["views"] == other).flatten(2).all(-1)
    assert same.float().mean() < 0.2
    two = make(full)["views"]
    assert not torch.equal(two[:, 0], two[:, 1])


def test_views_do_not_depend_on_their_number() -> None:
    two, four = (build_views(config("standard", count=count), MIXED, 24)(batch())["views"] for count in (2, 4))
    assert torch.equal(two, four[:, :2])


@pytest.mark.parametrize("recipe", RANDOM)
def test_geometry_is_one_for_all_modalities(recipe: str) -> None:
    one = torch.rand(8, 1, 32, 32) + 0.1
    sample = {"image": one.expand(8, 5, 32, 32), "seed": torch.arange(8)}
    quiet = config(recipe, strength=0.0, erase=0.0, rotate=30.0)
    channels = Channels.of({"rgb": ["r", "g", "b"], "depth": [""], "other": [""]})
    if recipe.startswith("thermal"):
        channels = Channels.of({"rgb": ["r", "g", "b"], "other": [""], "thermal": [""]})
    views = build_views(quiet, channels, 32)(sample)["views"]
    untouched = views[:, :, :4]
    torch.testing.assert_close(untouched, untouched[:, :, :1].expand_as(untouched), atol=1e-6, rtol=0)
    assert not torch.allclose(views[:, 0, 0], one[:, 0])


@pytest.mark.parametrize("recipe", ["standard", "thermal", "weak"])
def test_mask_and_boxes_follow_the_image(recipe: str) -> None:
    mask = torch.zeros(20, 48, 48, dtype=torch.bool)
    mask[:, 16:30, 14:34] = True
    boxes = torch.tensor([[14.0, 16.0, 34.0, 30.0]]).expand(20, 1, 4)
    sample = {"image": mask[:, None].float(), "seed": torch.arange(20), "mask": mask, "boxes": boxes}
    quiet = config(recipe, strength=0.0, erase=0.0, rotate=0.0, flip_vertical=0.5)
    out = build_views(quiet, Channels.of({"thermal": [""]}), 48)(sample)
    shown = out["views"][:, :, 0] > 0.5
    assert (shown == out["mask_views"]).float().mean() > 0.995
    for seen, box in zip(out["mask_views"].flatten(0, 1), out["boxes_views"].flatten(0, 2), strict=True):
        rows, columns = seen.nonzero(as_tuple=True)
        if recipe != "weak" and len(rows):
            found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
            torch.testing.assert_close(found, box, atol=1.01, rtol=0)


@pytest.mark.parametrize("count", range(1, 14))
def test_any_number_of_channels(count: int) -> None:
    channels = Channels.of({"bands": [f"b{i:02d}" for i in range(count)]})
    views = build_views(config("standard"), channels, 16)(batch(3, count, (20, 20)))["views"]
    assert views.shape == (3, 2, count, 16, 16)


@pytest.mark.parametrize("recipe", ["standard", "thermal"])
def test_temperatures_stay_temperatures(recipe: str) -> None:
    sample = {"image": torch.rand(16, 1, 32, 32) * 12 + 290, "seed": torch.arange(16)}
    views = build_views(config(recipe, strength=1.0), ONLY_THERMAL, 32)(sample)["views"]
    assert views.min() > 270 and views.max() < 325
    assert views.std() > 1


def test_strength_and_erase_zero_leave_the_values_alone() -> None:
    sample = {"image": torch.rand(4, 5, 16, 16), "seed": torch.arange(4)}
    still = config("standard", strength=0.0, erase=0.0, crop_scale=(1.0, 1.0), rotate=0.0, flip_horizontal=0.0)
    views = build_views(still, MIXED, 16)(sample)["views"]
    assert (views - sample["image"][:, None]).abs().median() < 0.1
    assert views.min() >= sample["image"].min() - 1e-5 and views.max() <= sample["image"].max() + 1e-5


def test_none_gives_equal_views_and_the_image_itself() -> None:
    sample = batch(3, 5, (24, 24))
    views = build_views(config("none"), MIXED, 24)(sample)["views"]
    torch.testing.assert_close(views, sample["image"][:, None].expand_as(views), atol=1e-5, rtol=0)


def test_erase_covers_all_channels_with_their_mean() -> None:
    image = torch.rand(12, 5, 32, 32)
    quiet = config("standard", strength=0.0, erase=1.0)
    views = build_views(quiet, MIXED, 32)({"image": image, "seed": torch.arange(12)})["views"]
    flat = (views[..., 1:, 1:] == views[..., :-1, :-1]).all(2).flatten(2).sum(-1)
    assert (flat >= 25).all()


@pytest.mark.parametrize("recipe", ["thermal", "thermal_legacy"])
def test_thermal_recipes_occlude_the_thermal_channel(recipe: str) -> None:
    image = torch.rand(40, 5, 32, 32) + 0.5
    out = build_views(config(recipe, strength=0.0, erase=1.0), MIXED, 32)({"image": image, "seed": torch.arange(40)})
    flat = (out["views"][..., 1:] == out["views"][..., :-1]).flatten(3).sum(-1).flatten(0, 1)
    assert (flat[:, 3] > 60).float().mean() > (0.99 if recipe == "thermal" else 0.2)
    assert (flat[:, :3] < 20).all()


def test_missing_depth_stays_missing() -> None:
    image = torch.rand(4, 5, 32, 32) + 0.5
    image[:, 4, 8:24, 8:24] = 0
    depth = build_views(config("standard", strength=1.0, erase=0.0), MIXED, 32)(
        {"image": image, "seed": torch.arange(4)}
    )["views"][:, :, 4]
    assert (depth == 0).flatten(2).sum(-1).ge(30).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_image_is_kept(dtype: torch.dtype) -> None:
    sample = batch()
    views = build_views(config("standard"), MIXED, 16)({**sample, "image": sample["image"].to(dtype)})["views"]
    assert views.dtype == dtype and views.isfinite().all()


def test_views_can_be_sent_to_workers() -> None:
    make = build_views(config("standard"), MIXED, 16)
    assert torch.equal(pickle.loads(pickle.dumps(make))(batch())["views"], make(batch())["views"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 0),
        ("crop_scale", (0.9, 0.5)),
        ("crop_scale", (0.0, 1.0)),
        ("rotate", -1.0),
        ("strength", 1.5),
        ("erase", float("nan")),
        ("flip_vertical", 2.0),
    ],
)
def test_values_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"views\.{name}"):
        build_views(config("standard", **{name: value}), MIXED, 16)


def test_unknown_recipe_suggests_the_near_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'thermal_legacy'"):
        build_views(config("thermal_legasy"), MIXED, 16)


def test_size_must_be_a_pixel() -> None:
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        build_views(config("none"), MIXED, 0)


def test_thermal_recipe_needs_a_thermal_modality_among_several() -> None:
    near_infrared = Channels.of({"rgb": ["r", "g", "b"], "nir": [""]})
    with pytest.raises(ConfigError, match="rgb, nir"):
        build_views(config("thermal"), near_infrared, 16)
    build_views(config("thermal"), Channels.of({"grey": [""]}), 16)
    build_views(config("thermal"), Channels.of({"rgb": ["r", "g", "b"], "flir_LWIR": [""]}), 16)


def test_bad_batches_are_named() -> None:
    make, sample = build_views(config("standard"), MIXED, 16), batch()
    with pytest.raises(ShapeError, match=r"\[6, 4, 33, 29\].*5"):
        make({**sample, "image": sample["image"][:, :4]})
    with pytest.raises(DataError, match=r"uint8.*65535"):
        make({**sample, "image": (sample["image"] * 255).to(torch.uint8)})
    with pytest.raises(DataError, match="seed"):
        make({"image": sample["image"]})
    with pytest.raises(ShapeError, match=r"2 seeds.*6"):
        make({**sample, "seed": sample["seed"][:2]})
