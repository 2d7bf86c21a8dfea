"""Views of pairs: one mirror for image, masks, boxes, banner and relation; values of the image alone change."""

import pickle

import pytest
import torch
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import DataError, ShapeError
from nearfar.spatial import force_banner
from nearfar.views import build_views
from nearfar.views.pairs import (
    PairViews,
    mirrored,
    mirrored_boxes,
    mirrored_classes,
)

CHANNELS = Channels.of({"rgb": ["r", "g", "b"], "masks": ["subject", "object"]})
CLASSES = ("left of", "right of", "above", "on", "next to")


def batch(count: int = 16, size: int = 16) -> dict[str, Tensor]:
    """A box in the upper left and one in the lower right, whose places are in image, masks and boxes alike."""
    random = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, 2, size, size)
    boxes = torch.zeros(count, 2, 4)
    for i in range(count):
        for k, (low, high) in enumerate(((0, 6), (8, 14))):
            x, y = torch.randint(low, high - 2, (2,), generator=random).tolist()
            masks[i, k, y : y + 3, x : x + 2] = 1
            boxes[i, k] = torch.tensor([x, y, x + 2, y + 3]) / size
    image = torch.cat([torch.rand(count, 3, size, size, generator=random), masks], 1)
    return {
        "image": image,
        "masks": masks,
        "boxes": boxes,
        "label": torch.arange(count) % 5,
        "seed": torch.arange(count),
    }


def config(**values: object) -> ViewsConfig:
    return ViewsConfig(**{"recipe": "pairs", "count": 2, "strength": 0.0, "erase": 0.0, **values})  # type: ignore[arg-type]


def extent(mask: Tensor) -> list[float]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return [float(edge) / len(mask) for edge in edges]


@pytest.mark.parametrize("vertical", [0.0, 0.5])
def test_image_masks_and_boxes_are_mirrored_together(vertical: float) -> None:
    views = build_views(config(flip_vertical=vertical), CHANNELS, 16)(batch())
    assert views["views"].shape == (16, 2, 5, 16, 16)
    assert torch.equal(views["views"][:, :, 3:], views["masks_views"])
    for masks, boxes in zip(views["masks_views"].flatten(0, 2), views["boxes_views"].flatten(0, 2), strict=True):
        assert extent(masks) == pytest.approx(boxes.tolist())
    subject, other = views["boxes_views"][..., 1].unbind(-1)
    assert bool((subject > other).any()) == (vertical > 0)


def test_a_mirror_is_exact_and_without_one_nothing_changes() -> None:
    given = batch()
    still = build_views(config(flip_horizontal=0.0, count=1), CHANNELS, 16)(given)
    assert torch.equal(still["views"][:, 0], given["image"])
    turned = build_views(config(flip_horizontal=1.0, count=1), CHANNELS, 16)(given)
    assert torch.equal(turned["views"][:, 0], given["image"].flip(-1))
    assert torch.equal(turned["masks_views"][:, 0], given["masks"].flip(-1))


def test_masks_keep_their_values_while_colours_change() -> None:
    given = batch()
    made = build_views(config(flip_horizontal=0.0, strength=1.0, erase=1.0, count=1), CHANNELS, 16)(given)
    assert torch.equal(made["views"][:, 0, 3:], given["masks"])
    assert ((made["views"][:, 0, :3] - given["image"][:, :3]).abs().amax((1, 2, 3)) > 0.01).all()


def test_a_view_depends_on_its_seed_alone() -> None:
    views, given = build_views(config(strength=1.0, erase=0.5, flip_vertical=0.5), CHANNELS, 16), batch()
    whole = views(given)
    single = views({key: value[5] for key, value in given.items()} | {"seed": 5, "id": "x"})
    for key in ("views", "masks_views", "boxes_views"):
        assert torch.equal(single[key], whole[key][5]), key
    assert single["id"] == "x"
    assert not torch.equal(whole["views"][:, 0], whole["views"][:, 1])
    assert torch.equal(pickle.loads(pickle.dumps(views))(given)["views"], whole["views"])


def test_other_sizes_are_resampled() -> None:
    assert build_views(config(), CHANNELS, 8)(batch())["views"].shape[-2:] == (8, 8)
    assert build_views(config(), CHANNELS, 8)(batch())["masks_views"].shape[-2:] == (16, 16)


def test_relations_are_mirrored_where_their_names_are_known() -> None:
    given = batch()
    made = PairViews(config(flip_horizontal=1.0, count=1), CHANNELS, 16, CLASSES)(given)
    assert made["label_views"][:5, 0].tolist() == [1, 0, 2, 3, 4]
    assert torch.equal(made["label"], given["label"])  # that of the image, which stays as it was
    made = PairViews(config(flip_horizontal=0.0, flip_vertical=1.0, count=1), CHANNELS, 16, CLASSES)(given)
    assert made["label_views"][:5, 0].tolist() == [0, 1, -1, -1, 4]
    unknown = {**given, "label": torch.full((16,), -1)}
    made = PairViews(config(flip_horizontal=1.0, count=1), CHANNELS, 16, CLASSES)(unknown)
    assert (made["label_views"] == -1).all()
    assert "label_views" not in build_views(config(), CHANNELS, 16)(given)


def test_mirror_images_of_relations() -> None:
    published = ["above", "behind", "in", "in front of", "next to", "on", "to the left of", "to the right of", "under"]
    assert mirrored_classes(published, "horizontal") == [0, 1, 2, 3, 4, 5, 7, 6, 8]
    assert mirrored_classes(published, "vertical") == [8, 1, 2, 3, 4, -1, 6, 7, 0]
    assert mirrored_classes(["Left_of", "right-of", "riding"], "horizontal") == [1, 0, 2]
    assert mirrored_classes(["to the left of"], "horizontal") == [-1]
    assert mirrored_classes(["on top of", "riding"], "vertical") == [-1, -1]


@pytest.mark.parametrize(("across", "down"), [(True, False), (False, True), (True, True)])
def test_the_banner_of_mirrored_masks_is_the_mirrored_banner(across: bool, down: bool) -> None:
    masks = batch(4)["masks"].double()
    hits = torch.tensor([across] * 4), torch.tensor([down] * 4)
    other = mirrored(masks, *hits)
    found = force_banner(other[:, 0], other[:, 1], [-1.0, 0.0, 2.0], 24)
    expected, column = force_banner(masks[:, 0], masks[:, 1], [-1.0, 0.0, 2.0], 24), torch.arange(24)
    expected = expected[..., (12 - column) % 24] if across else expected
    expected = expected[..., -column % 24] if down else expected
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_boxes_stay_boxes() -> None:
    boxes, yes = torch.tensor([[[0.1, 0.2, 0.4, 0.9]]]), torch.tensor([True])
    torch.testing.assert_close(mirrored_boxes(boxes, yes, yes), torch.tensor([[[0.6, 0.1, 0.9, 0.8]]]))


def test_bad_input() -> None:
    views, given = build_views(config(), CHANNELS, 16), batch()
    with pytest.raises(ShapeError, match=r"rgb.r, rgb.g"):
        views({**given, "image": given["image"][:, :3]})
    with pytest.raises(DataError, match="no seed"):
        views({"image": given["image"]})
