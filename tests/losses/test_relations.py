"""Relations between pairs at their limits; their values are in the contracts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import CLIPLoss, InfoNCE, Relations, clip_loss, info_nce
from nearfar.losses.core import tile

N = 23
IDS = torch.arange(N)


def views() -> tuple[Tensor, Tensor]:
    return torch.randn(N, 6, dtype=torch.float64), torch.randn(N, 6, dtype=torch.float64)


def calls(known: Relations | None) -> list[Callable[..., Tensor]]:
    return [
        lambda a, b, **o: info_nce(a, b, relations=known, **o),
        lambda a, b, **o: clip_loss(a, b, scale=10.0, relations=known, **o),
    ]


@pytest.mark.parametrize("memory", ["dense", "tiled"])
@pytest.mark.parametrize(
    "known",
    [
        Relations(IDS),
        Relations(IDS, use="target"),
        Relations(torch.full((N,), -1), use="target"),
        Relations(similar=(torch.eye(N), torch.eye(N))),
        Relations(similar=(torch.eye(N), torch.eye(N)), use="weigh"),
        Relations(similar=(torch.eye(N), torch.eye(N)), use="target", share=0.0),
        Relations(similar=(torch.eye(N), torch.eye(N)), use="target", temperature=1e-3),
    ],
    ids=["own ids", "own targets", "unknown", "unlike", "unlike, weighed", "no share", "sharp"],
)
def test_pairs_without_relation_are_the_plain_loss(known: Relations, memory: Any) -> None:
    a, b = views()
    for related, plain in zip(calls(known), calls(None), strict=True):
        with tile(5):
            torch.testing.assert_close(related(a, b, memory=memory), plain(a, b, memory=memory), rtol=1e-12, atol=0)


@pytest.mark.parametrize("use", ["ignore", "weigh", "target"])
@pytest.mark.parametrize("ids", [None, IDS % 4], ids=["", "ids"])
@pytest.mark.parametrize("similar", [False, True], ids=["", "similar"])
def test_dense_and_tiled_agree(use: Any, ids: Tensor | None, similar: bool) -> None:
    if ids is None and not similar:
        pytest.skip("nothing is known")
    a, b = (x.requires_grad_() for x in views())
    pair = (torch.randn(N, 3).double(), torch.randn(N, 3).double()) if similar else None
    for call in calls(Relations(ids, pair, use, 0.3)):
        dense, tiled = call(a, b, memory="dense"), call(a, b, memory="tiled")
        with tile(4):
            small = call(a, b, memory="tiled")
        for loss in (tiled, small):
            torch.testing.assert_close(loss, dense, rtol=1e-12, atol=0)
            got, expected = (torch.autograd.grad(x, (a, b), retain_graph=True) for x in (loss, dense))
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("use", ["ignore", "target"])
def test_a_scale_learns_through_tiles(use: Any) -> None:
    a, b = views()
    scale = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    known, slopes = Relations(IDS // 3, use=use), []
    for memory in ("dense", "tiled"):
        slopes += torch.autograd.grad(clip_loss(a, b, scale=scale, relations=known, memory=memory), scale)  # type: ignore[arg-type]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-10, atol=0)


def test_ignored_rows_may_be_copies_of_each_other() -> None:
    """Two captions of one image: as negatives they keep the loss up, ignored they do not."""
    a = torch.eye(4).repeat(2, 1)
    ids = torch.arange(4).repeat(2)
    assert clip_loss(a, a, scale=50.0) > 0.6
    assert clip_loss(a, a, scale=50.0, relations=Relations(ids)) < 1e-10
    target = clip_loss(a, a, scale=50.0, relations=Relations(ids, use="target"))
    assert float(target) == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-5)


def test_modules_take_them_too() -> None:
    a, b = (x.float() for x in views())
    known = Relations(IDS // 2)
    assert torch.equal(InfoNCE()(a, b, relations=known), info_nce(a, b, relations=known))
    module = CLIPLoss(temperature=0.1)
    torch.testing.assert_close(module(a, b, known), clip_loss(a, b, scale=10.0, relations=known))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (Relations, ConfigError, "no relation"),
        (lambda: Relations(IDS, use="targets"), ConfigError, "Did you mean 'target'"),
        (lambda: Relations(IDS, threshold=1.0), ConfigError, "threshold"),
        (lambda: Relations(IDS, temperature=0.0), ConfigError, "temperature"),
        (lambda: calls(Relations(IDS[:3]))[0](*views()), ShapeError, "one integer id a row"),
        (lambda: calls(Relations(IDS.double()))[0](*views()), ShapeError, "one integer id a row"),
        (lambda: calls(Relations(similar=(torch.ones(3, 2),) * 2))[0](*views()), ShapeError, "second pair"),
        (lambda: calls(Relations(similar=(torch.ones(N, 2),) * 2))[1](*views(), exchange="ring"), ConfigError, "ring"),
        (lambda: info_nce(*views(), keys=views()[0], in_batch=False, relations=Relations(IDS)), ConfigError, "batch"),
    ],
)
def test_wrong_use_is_refused(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
