"""The evidential loss under contract, dense and in tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evidential_oracle import principled_oracle
from loss_batch import LossBatch, LossCase, in_tiles
from torch import Tensor

from nearfar.losses import EvidentialLoss, evidential

STOPPED = {
    "test_gradcheck": "weights and beta carry no gradient by definition; tests/losses/test_evidential.py freezes them"
}
COUNTED = {"test_anchors_without_positive_leave_the_mean": "the formula counts or ranks the other rows, a lone one too"}


def _evidential(
    name: str,
    oracle: Callable[[LossBatch], float] | None = None,
    *,
    skips: dict[str, str],
    keys: bool = False,
    progress: float = 0.3,
    **options: Any,
) -> LossCase:
    def bank(b: LossBatch) -> dict[str, Tensor]:
        return {"keys": b.keys, "key_labels": b.key_labels} if keys else {}

    def function(b: LossBatch) -> Tensor:
        return evidential(b.z, b.labels, b.uid, progress=progress, temperature=b.temperature, **options, **bank(b))

    def module(b: LossBatch) -> Tensor:
        loss = EvidentialLoss(temperature=b.temperature, **options)
        return loss(b.z, b.labels, b.uid, progress=progress, **bank(b))

    return LossCase(f"evidential[{name}]", function, module, oracle, labelled=True, skips=skips)


EVIDENTIAL = [
    _evidential("principled", principled_oracle(progress=0.3), skips=STOPPED | COUNTED),
    _evidential(
        "gamma 0", principled_oracle(progress=0.3, gamma=0.0, margin=0.5), skips=STOPPED, gamma=0.0, margin=0.5
    ),
    _evidential(
        "keys,balanced",
        principled_oracle(progress=0.3, keys=True, balanced=True),
        skips=STOPPED | COUNTED,
        keys=True,
        class_balanced=True,
    ),
    _evidential("log_likelihood_ratio", skips=STOPPED | COUNTED, evidence="log_likelihood_ratio"),
    _evidential("neighbourhood", skips=STOPPED | COUNTED, evidence="neighbourhood", neighbours=3),
    _evidential("reference", skips={}, mode="reference", progress=0.0),
    _evidential(
        "reference,class", skips=COUNTED, mode="reference", rank_scope="class", eps=None, self_is_negative=False
    ),
    _evidential("later", skips=COUNTED, mode="later"),
]


def _tiled_evidential(
    name: str,
    oracle: Callable[[LossBatch], float] | None = None,
    *,
    skips: dict[str, str],
    keys: bool = False,
    ring: bool = True,
    progress: float = 0.3,
    **options: Any,
) -> LossCase:
    def call(b: LossBatch, memory: str = "auto", exchange: str = "gather") -> Tensor:
        bank = {"keys": b.keys, "key_labels": b.key_labels} if keys else {}
        chosen = {"memory": memory, "exchange": exchange} if ring else {"memory": "tiled"}
        loss = EvidentialLoss(temperature=b.temperature, **options, **chosen)
        return loss(b.z, b.labels, b.uid, progress=progress, **bank)

    return in_tiles(f"evidential[{name}]", oracle, True, call, **skips)


TILED_EVIDENTIAL = [
    _tiled_evidential("principled", principled_oracle(progress=0.3), skips=STOPPED | COUNTED),
    _tiled_evidential(
        "gamma 0", principled_oracle(progress=0.3, gamma=0.0, margin=0.5), skips=STOPPED, gamma=0.0, margin=0.5
    ),
    _tiled_evidential(
        "keys,balanced",
        principled_oracle(progress=0.3, keys=True, balanced=True),
        skips=STOPPED | COUNTED,
        keys=True,
        class_balanced=True,
    ),
    _tiled_evidential("log_likelihood_ratio,keys", skips=STOPPED | COUNTED, keys=True, evidence="log_likelihood_ratio"),
    _tiled_evidential("reference", skips={}, ring=False, mode="reference", progress=0.0),
    _tiled_evidential(
        "reference,class",
        skips=COUNTED,
        ring=False,
        mode="reference",
        rank_scope="class",
        eps=None,
        self_is_negative=False,
    ),
    _tiled_evidential("later", skips=COUNTED, ring=False, mode="later"),
    _tiled_evidential("reference evidence", skips=STOPPED | COUNTED, ring=False, evidence="reference"),
]
