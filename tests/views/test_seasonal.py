"""Views over time: dates, one geometry for all bands and the mask, exact crops, ground units."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.views import build_views
from nearfar.views.seasonal import SeasonalViews, Shot

BANDS = Channels.of({"s2": ["B02", "B03", "B04", "B08"]})
PLAIN = ViewsConfig(recipe="seasonal", strength=0.0, erase=0.0)


def made(shots: list[Shot], config: ViewsConfig = PLAIN, size: int = 8, halves: bool = False) -> SeasonalViews:
    return SeasonalViews(config, BANDS, size, tuple(shots), halves)


def coordinates(places: int = 5, dates: int = 4, side: int = 12) -> dict[str, Any]:
    """Bands that say row, column, date and place of each pixel; every pixel differs."""
    row, column = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    series = torch.zeros(places, dates, 4, side, side)
    series[:, :, 0], series[:, :, 1] = row, column
    series[:, :, 2] = torch.arange(float(dates))[None, :, None, None]
    series[:, :, 3] = torch.arange(float(places))[:, None, None, None]
    valid = (row + column)[None, None] >= torch.arange(dates)[None, :, None, None]
    return {
        "image": series[:, 0],
        "series": series,
        "valid": valid.expand(places, -1, -1, -1),
        "days": 737000 + 30 * torch.arange(dates).expand(places, -1),
        "gsd": torch.full((places,), 10.0, dtype=torch.float64),
        "seed": torch.arange(places) * 31 + 5,
    }


def dates_of(views: Tensor) -> Tensor:
    """[B, V]: the date that each view shows."""
    return views[:, :, 2].flatten(2).median(2).values


def test_equal_numbers_are_equal_dates_and_others_never() -> None:
    out = made([Shot(0), Shot(0), Shot(1), Shot(2)])(coordinates(places=200))
    shown = dates_of(out["views"])
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert not (shown[:, 0] == shown[:, 2]).any() and not (shown[:, 2] == shown[:, 3]).any()
    assert torch.bincount(shown[:, 0].long()).min() > 25  # of 50 expected: any date may come first
    assert torch.equal(out["days_views"], 737000 + 30 * shown.long())


def test_halves_keep_the_older_dates_from_the_newer() -> None:
    batch = coordinates(places=50, dates=7)
    order = torch.randperm(7)
    batch["series"], batch["days"] = batch["series"][:, order], batch["days"][:, order]
    out = made([Shot(0), Shot(1), Shot(2)], halves=True)(batch)
    assert out["views"].shape[1] == 6
    shown = dates_of(out["views"])
    assert shown[:, :3].max() <= 2 and shown[:, 3:].min() >= 3
    assert all(len(set(row.tolist())) == 3 for row in shown[:, :3])


def test_a_crop_is_the_pixels_themselves_in_one_of_eight_orientations_for_bands_and_mask_alike() -> None:
    out = made([Shot(0), Shot(1)])(coordinates(places=60))
    rows, columns = out["views"][:, :, 0], out["views"][:, :, 1]
    assert torch.equal(rows, rows.round()) and torch.equal(columns, columns.round())
    for r, c in zip(rows.flatten(0, 1), columns.flatten(0, 1), strict=True):
        assert r.unique().diff().eq(1).all() and len(r.unique()) == 8 == len(c.unique())
    expected = rows + columns >= dates_of(out["views"])[:, :, None, None]
    assert torch.equal(out["valid_views"], expected)
    down, right = rows.diff(dim=2)[..., 0, 0].flatten(), rows.diff(dim=3)[..., 0, 0].flatten()
    orientation = {tuple(x) for x in torch.stack([down, right, columns.diff(dim=3)[..., 0, 0].flatten()], 1).tolist()}
    assert len(orientation) == 6  # turned or not, and the signs; vertical flips are off, but two turns have them
    corners = {(int(r.min()), int(c.min())) for r, c in zip(rows[:, 0], columns[:, 0], strict=True)}
    assert len(corners) > 15 and max(map(max, corners)) == 4


def test_a_shot_without_geometry_is_the_middle_as_it_is() -> None:
    batch = coordinates()
    out = made([Shot(0, geometric=False)])(batch)
    assert torch.equal(out["views"][:, 0, :2], batch["series"][:, 0, :2, 2:10, 2:10])


def test_zoom_and_metres_measure_the_ground() -> None:
    config = ViewsConfig(recipe="seasonal", strength=0.0, erase=0.0, crop_metres=100.0)
    batch = coordinates()
    batch["gsd"][:2] = 20.0  # 100 m are then five pixels, not ten
    views = made([Shot(0)], config, size=20)(batch)["views"][:, 0]
    span = views[:, 0].amax((1, 2)) - views[:, 0].amin((1, 2))
    torch.testing.assert_close(
        span[:2] * 20 / 19, torch.full((2,), 5.0), atol=0.55, rtol=0
    )  # at the border, pixels end
    torch.testing.assert_close(span[2:] * 20 / 19, torch.full((3,), 10.0), atol=0.55, rtol=0)
    del batch["gsd"]
    with pytest.raises(DataError, match="size of the pixels"):
        made([Shot(0)], config)(batch)
    zoomed = ViewsConfig(recipe="seasonal", strength=0.0, erase=0.0, zoom=(0.5, 1.4))
    views = made([Shot(0)], zoomed, size=8)(coordinates(places=100))["views"][:, 0]
    span = (views[:, 0].amax((1, 2)) - views[:, 0].amin((1, 2))) * 8 / 7
    assert 3.8 < span.min() < 4.6 and 10.4 < span.max() < 11.4


def test_interpolation_turns_and_flips_as_the_exact_way_does() -> None:
    batch = coordinates(places=40)
    config = ViewsConfig(recipe="seasonal", strength=0.0, erase=0.0, flip_vertical=0.5)
    near = ViewsConfig(recipe="seasonal", strength=0.0, erase=0.0, flip_vertical=0.5, zoom=(1.0, 1.0 + 1e-6))
    exact, smooth = (made([Shot(0), Shot(1)], c)(batch) for c in (config, near))
    # The spot is rounded to a pixel in one and not in the other.
    assert (exact["views"] - smooth["views"])[:, :, :2].abs().max() < 1.01
    assert not torch.equal(exact["views"], smooth["views"])
    assert (smooth["valid_views"].float().mean() - exact["valid_views"].float().mean()).abs() < 0.05


def test_photometric_changes_are_common_to_the_bands_and_leave_plain_shots_alone() -> None:
    batch = coordinates(places=40)
    batch["series"] = batch["image"] = torch.ones(40, 2, 4, 12, 12)
    del batch["days"], batch["valid"]
    config = ViewsConfig(recipe="seasonal", strength=1.0, erase=0.0)
    views = made([Shot(0), Shot(0, photometric=False)], config)(batch)["views"]
    assert torch.equal(views[:, 1], torch.ones(40, 4, 8, 8))
    gain = views[:, 0].mean((2, 3))
    assert gain.mean(1).std() > 0.15 and 0.02 < gain.std(1).mean() < 0.1


def test_views_do_not_depend_on_the_batch_and_a_sample_is_a_batch_of_one() -> None:
    batch = coordinates()
    make = made([Shot(0), Shot(1)], ViewsConfig(recipe="seasonal", zoom=(0.8, 1.0)))
    whole = make(batch)
    for i in range(5):
        sample = {k: v[i] for k, v in batch.items()} | {"seed": int(batch["seed"][i]), "gsd": 10.0, "id": "x"}
        one = make(sample)
        assert torch.equal(one["views"], whole["views"][i]) and torch.equal(one["valid_views"], whole["valid_views"][i])
        assert one["id"] == "x"
    assert not torch.equal(make({**batch, "seed": batch["seed"] + 1})["views"], whole["views"])


def test_single_images_give_all_views() -> None:
    batch = {"image": torch.rand(3, 4, 8, 8), "seed": torch.arange(3)}
    out = build_views(ViewsConfig(recipe="seasonal", count=4), BANDS, 8, [Shot(0), Shot(1)], True)(batch)
    assert out["views"].shape == (3, 4, 4, 8, 8) and "days_views" not in out and "valid_views" not in out
    assert not torch.equal(out["views"][:, 0], out["views"][:, 1])


def test_any_method_gets_a_date_a_view() -> None:
    out = build_views(ViewsConfig(recipe="seasonal", count=3), BANDS, 8)(coordinates())
    assert all(len(set(row.tolist())) == 3 for row in out["days_views"])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"3 different dates.*2 dates"):
        made([Shot(2)])(coordinates(dates=2))
    with pytest.raises(DataError, match="3 different dates in each half"):
        made([Shot(2)], halves=True)(coordinates(dates=5))
    with pytest.raises(DataError, match="need days"):
        made([Shot(0)], halves=True)({k: v for k, v in coordinates().items() if k != "days"})
    with pytest.raises(ShapeError, match="B02"):
        made([Shot(0)])({"image": torch.rand(2, 3, 8, 8), "seed": torch.arange(2)})
    with pytest.raises(ConfigError, match=r"views.count.*3"):
        build_views(ViewsConfig(recipe="seasonal", count=2), BANDS, 8, [Shot(0)] * 3)
    with pytest.raises(ConfigError, match=r"views.zoom"):
        build_views(ViewsConfig(recipe="seasonal", zoom=(2.0, 1.0)), BANDS, 8)
