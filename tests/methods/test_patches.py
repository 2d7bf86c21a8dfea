"""The contrast of places: what is a label, what is a negative, and what training gains."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import nearfar
from nearfar.config import EncoderConfig, ViewsConfig
from nearfar.errors import ConfigError, DataError
from nearfar.losses import supcon
from nearfar.methods.base import Batch
from nearfar.methods.patches import Patches

ENCODER = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=32)


def make(**options: object) -> Patches:
    options = {"projection": (16,), "grid": 4, "stride": 1, **options}
    made = nearfar.create("patches", channels=3, encoder=ENCODER, **options)
    assert isinstance(made, Patches)
    return made


def toy(seed: int = 0, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = 0.3 + 0.05 * torch.randn(count, 3, 32, 32, generator=generator)
    image[:, :, 8:20, 10:22] = 0.9
    return {"image": image, "seed": torch.arange(count) + 100 * seed, "index": torch.arange(count)}


def test_every_second_view_has_a_defect_and_the_others_none() -> None:
    batch = make().views(toy())
    assert batch["views"].shape == (8, 2, 3, 32, 32) and batch["defects"].shape == (8, 2, 32, 32)
    assert not batch["defects"][:, 0].any() and batch["defects"][:, 1].flatten(1).any(1).sum() >= 5


def test_one_sample_has_the_views_that_it_has_in_a_batch() -> None:
    method, batch = make(), toy()
    whole = method.views(batch)
    one = method.views({"image": batch["image"][3], "seed": int(batch["seed"][3])})
    torch.testing.assert_close(one["views"], whole["views"][3])
    assert torch.equal(one["defects"], whole["defects"][3])


def test_the_loss_is_supcon_with_places_as_labels_and_defects_as_negatives() -> None:
    method = make()
    z = torch.randn(8, 2, 4, 4, 16)
    defects = torch.zeros(8, 2, 32, 32, dtype=torch.bool)
    defects[0, 1, :8, :8] = True  # the whole of cell 0: a negative
    defects[1, 1, 8:10, 8:12] = True  # an eighth of cell 5: neither normal nor a defect
    found = method.criterion({"z": z}, {"defects": defects, "seed": torch.arange(8)}).loss
    labels = torch.arange(16).expand(8, 2, 16).reshape(8, 2, 4, 4).clone()
    labels[0, 1, 0, 0] = -1
    used = torch.ones(8, 2, 4, 4, dtype=torch.bool)
    used[1, 1, 1, 1] = False
    torch.testing.assert_close(found, supcon(z[used], labels[used], temperature=0.1))


def test_a_sublattice_leaves_out_the_neighbours() -> None:
    method = make(stride=2)
    z = torch.randn(4, 2, 4, 4, 16, requires_grad=True)
    batch = {"defects": torch.zeros(4, 2, 32, 32, dtype=torch.bool), "seed": torch.arange(4)}
    method.criterion({"z": z}, batch).loss.backward()
    assert z.grad is not None
    rows, columns = (z.grad.abs().sum((0, 1, 4)) > 0).nonzero(as_tuple=True)
    assert len(rows) == 4 and (rows.unique().diff() == 2).all() and (columns.unique().diff() == 2).all()


def test_the_sublattice_follows_from_the_seeds_of_the_batch_in_any_order() -> None:
    method = make(grid=4, stride=4)
    offsets = {method._offset(torch.arange(4) + n) for n in range(60)}
    assert len(offsets) > 10
    assert method._offset(torch.tensor([5, 2, 9])) == method._offset(torch.tensor([9, 5, 2]))


def separation(method: Patches) -> float:
    """How much nearer a normal cell is to its place in another image than a defect at that place is."""
    batch = method.views(toy(99, 32))
    z = method.patches(batch["views"].flatten(0, 1)).unflatten(0, (32, 2))
    share = F.adaptive_avg_pool2d(batch["defects"].float(), 4)[:, 1]
    normal = F.normalize(z[:, 0].mean(0), dim=0)
    similar: Tensor = (z[:, 1] * normal).sum(1)
    return float(similar[share < 0.05].mean() - similar[share > 0.5].mean())


def test_training_moves_defects_away_from_their_place() -> None:
    torch.manual_seed(0)
    method = make()
    before = separation(method)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for number in range(30):
        method.step(toy(number)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert separation(method) > before + 0.1


def test_patches_are_of_unit_length_and_the_mode_stays() -> None:
    method = make().train()
    cells = method.patches(toy()["image"])
    assert cells.shape == (8, 16, 4, 4) and method.training and not cells.requires_grad
    torch.testing.assert_close(cells.norm(dim=1), torch.ones(8, 4, 4))


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.stride.*found 9"):
        make(stride=9)
    with pytest.raises(ConfigError, match=r"views.count.*at least 2"):
        make(views=ViewsConfig(count=1, recipe="none"))
    with pytest.raises(DataError, match=r"batch\['defects'\].*method.views"):
        make().step({"views": torch.rand(2, 2, 3, 32, 32), "seed": torch.arange(2)})
