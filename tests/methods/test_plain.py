"""SupCon, SimCLR and MoCo: what is their own."""

import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig, ViewsConfig
from nearfar.errors import ConfigError
from nearfar.losses import info_nce, nt_xent, supcon
from nearfar.methods.base import Batch
from nearfar.methods.moco import MoCo

SMALL = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16)


def batch_of(count: int = 8, views: int = 2) -> Batch:
    return {
        "views": torch.rand(count, views, 3, 16, 16),
        "label": torch.arange(count) % 2,
        "index": torch.arange(count),
    }


@pytest.mark.parametrize("form", ["out", "in"])
def test_supcon_is_its_loss_in_the_named_form(form: str) -> None:
    method, batch = nearfar.create("supcon", encoder=SMALL, form=form, temperature=0.3), batch_of()
    expected = supcon(method.embed(batch["views"]), batch["label"], temperature=0.3, form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(method.step(batch).loss, expected)


def test_simclr_takes_repeated_images_as_positives() -> None:
    method, batch = nearfar.create("simclr", encoder=SMALL, views=ViewsConfig(count=3)), batch_of(views=3)
    batch["index"] = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7])
    expected = nt_xent(method.embed(batch["views"]), batch["index"], temperature=0.1)
    torch.testing.assert_close(method.step(batch).loss, expected)
    assert not torch.isclose(method.step(batch | {"index": torch.arange(8)}).loss, expected)


def moco(**options: object) -> MoCo:
    method = nearfar.create("moco", encoder=SMALL, **{"queue": 12, "momentum": 0.75, **options})
    assert isinstance(method, MoCo)
    return method


def test_moco_keeps_its_keys_for_the_next_step() -> None:
    method, batch = moco().train(), batch_of()
    first = method.step(batch)
    key = method.project(batch)["key"]
    method.after_step()
    stored, _ = method.queue.contents()
    torch.testing.assert_close(stored, torch.nn.functional.normalize(key, dim=1))
    query, key = method.project(batch)["query"], method.project(batch)["key"]
    expected = info_nce(query, key, temperature=0.2, keys=stored)
    second = method.step(batch)
    torch.testing.assert_close(second.loss, expected)
    assert float(first.parts["queue"]) == 0
    assert float(second.parts["queue"]) == 8


def test_moco_accumulates_the_keys_of_every_micro_batch() -> None:
    method = moco().train()
    method.step(batch_of(4))
    method.step(batch_of(6))
    method.after_step()
    assert int(method.queue.count) == 10
    method.after_step()
    assert int(method.queue.count) == 10


def test_moco_moves_the_teacher_by_its_momentum() -> None:
    method = moco()
    before = method.teacher.module[1][0].weight.clone()
    with torch.no_grad():
        method.head[0].weight.add_(1.0)  # type: ignore[index, union-attr, operator]
    method.after_step()
    torch.testing.assert_close(method.teacher.module[1][0].weight, before + 0.25)
    assert all(not p.requires_grad for p in method.teacher.parameters())


def test_moco_does_not_fill_its_queue_in_evaluation() -> None:
    method = moco().eval()
    method.step(batch_of())
    method.after_step()
    assert int(method.queue.count) == 0


def test_moco_keeps_its_teacher_in_evaluation_mode() -> None:
    method = moco(head_norm="batch").train()
    assert method.training and method.head.training
    assert not any(module.training for module in method.teacher.modules())


def test_moco_has_one_key_a_query() -> None:
    with pytest.raises(ConfigError, match=r"views\.count"):
        nearfar.create("moco", encoder=SMALL, views=ViewsConfig(count=3))


def test_moco_forgets_the_keys_of_a_skipped_step() -> None:
    method = moco(queue=32)
    method.step({"image": torch.full((4, 3, 16, 16), torch.nan), "index": torch.arange(4)})
    method.skip_step()
    method.step({"image": torch.rand(4, 3, 16, 16), "index": torch.arange(4)})
    method.after_step()
    assert int(method.queue.count) == 4
    assert torch.isfinite(method.queue.contents()[0]).all()
