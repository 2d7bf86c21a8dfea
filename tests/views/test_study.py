"""Views of a study: the picture and its boxes under one mirror, mild changes of values, the same in any batch."""

import pytest
import torch

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.views import build_views
from nearfar.views.study import StudyViews

GREY = Channels.of({"image": [""]})
Batch = dict[str, torch.Tensor]


def make(size: int = 32, count: int = 1, **options: float) -> StudyViews:
    settings = {"strength": 0.0, "flip_horizontal": 0.0, **options}
    views = build_views(ViewsConfig(recipe="study", count=count, **settings), GREY, size)  # type: ignore[arg-type]
    assert isinstance(views, StudyViews)
    return views


def framed(count: int = 12) -> Batch:
    """One bright rectangle a picture, and its box; the second row of objects is empty."""
    random = torch.Generator().manual_seed(0)
    image = 0.2 * torch.rand(count, 1, 32, 32, generator=random)
    objects = torch.zeros(count, 2, 5)
    for i in range(count):
        x, y, w, h = 2 + i, 3 + i // 2, 6, 4
        image[i, :, y : y + h, x : x + w] = 1.0
        objects[i, 0] = torch.tensor([x / 32, y / 32, w / 32, h / 32, 0.9])
    return {"image": image, "objects": objects, "seed": torch.arange(count)}


def box_of(view: torch.Tensor) -> list[float]:
    rows, columns = (view[0] > 0.7).nonzero().T
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    return [float(low[0]) / 32, float(low[1]) / 32, float(high[0] - low[0]) / 32, float(high[1] - low[1]) / 32]


@pytest.mark.parametrize("options", [{"flip_horizontal": 0.5}, {"flip_vertical": 0.5}, {"flip_horizontal": 1.0}])
def test_the_boxes_lie_where_the_mirrored_picture_shows_them(options: dict[str, float]) -> None:
    batch = framed()
    made = make(count=2, **options)(batch)
    moved = 0
    for i in range(12):
        for view, objects in zip(made["views"][i], made["objects_views"][i], strict=True):
            assert objects[0, :4].tolist() == pytest.approx(box_of(view), abs=1e-6)
            assert not objects[1].any() and float(objects[0, 4]) == pytest.approx(0.9)
            moved += not torch.equal(view, batch["image"][i])
    assert moved == 24 if options.get("flip_horizontal") == 1.0 else 4 < moved < 20


def test_the_boxes_move_with_the_picture() -> None:
    batch = framed()
    batch["objects"][:, 0, :2] += 8 / 32
    batch["image"] = batch["image"].roll((8, 8), (2, 3))
    made = make(count=3, shift=0.1)(batch)
    steps = (made["objects_views"] - batch["objects"][:, None])[:, :, 0, :2] * 32
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert {-3, 0, 3} <= set(steps.round().int().flatten().tolist()) <= set(range(-3, 4))
    assert not made["objects_views"][:, :, 1].any()
    for i in range(12):
        for view, objects in zip(made["views"][i], made["objects_views"][i], strict=True):
            assert objects[0, :4].tolist() == pytest.approx(box_of(view), abs=1e-5)


def test_without_changes_the_view_is_the_picture_whatever_the_seed() -> None:
    views, batch = make(), framed()
    assert (
        views.still
        and not make(strength=0.1).still
        and not make(shift=0.1).still
        and not make(flip_horizontal=0.1).still
    )
    made = views(batch | {"seed": batch["seed"] + 99})
    assert torch.equal(made["views"][:, 0], batch["image"])
    assert torch.equal(made["objects_views"][:, 0], batch["objects"])
    small = make(size=16)(batch)["views"]
    assert small.shape == (12, 1, 1, 16, 16)
    torch.testing.assert_close(small.mean((1, 2, 3, 4)), batch["image"].mean((1, 2, 3)), atol=2e-3, rtol=0)


def test_values_change_a_little_and_only_they() -> None:
    batch = framed()
    made = make(strength=0.5)(batch)
    change = made["views"][:, 0] - batch["image"]
    assert torch.equal(made["objects_views"][:, 0], batch["objects"])
    assert 0.005 < float(change.abs().mean()) < 0.1
    for view, image in zip(made["views"][:, 0], batch["image"], strict=True):
        pair = torch.stack([view.flatten(), image.flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.98


def test_a_view_does_not_depend_on_its_batch_and_repeats() -> None:
    views, batch = make(strength=0.5, flip_horizontal=0.5, count=2), framed()
    made = views(batch)
    part = views({key: value[3:5] for key, value in batch.items()})
    single = views({"image": batch["image"][3], "objects": batch["objects"][3], "seed": 3, "text": "a caption"})
    for key in ("views", "objects_views"):
        assert torch.equal(part[key], made[key][3:5]) and torch.equal(single[key], made[key][3])
    assert single["text"] == "a caption"
    assert not torch.equal(views(batch | {"seed": batch["seed"] + 50})["views"], made["views"])
    assert "objects_views" not in views({"image": batch["image"], "seed": batch["seed"]})
