"""The order is a pure function of (seed, epoch, step), and ranks share every batch exactly."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.data.sampler import StepSampler, epoch_length, epoch_order, item_seed, splitmix
from nearfar.errors import ConfigError

LABELS = st.lists(st.integers(-1, 3), min_size=4, max_size=40).map(np.array).filter(lambda x: (x >= 0).sum() >= 4)
ORDERS = st.sampled_from(["shuffle", "balanced", "sequential"])


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, order=ORDERS, seed=st.integers(-(2**63), 2**63), batch=st.integers(1, 4), cut=st.integers(0, 15))
def test_resuming_goes_on_where_it_stopped(labels: np.ndarray, order: str, seed: int, batch: int, cut: int) -> None:
    whole = list(StepSampler(labels, batch, order=order, seed=seed, steps=20))
    assert list(StepSampler(labels, batch, order=order, seed=seed, start_step=cut, steps=20 - cut)) == whole[cut:]


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, order=ORDERS, world=st.integers(1, 3), batch=st.integers(3, 4), start=st.integers(0, 5))
def test_ranks_partition_the_batch(labels: np.ndarray, order: str, world: int, batch: int, start: int) -> None:
    one = list(StepSampler(labels, batch, order=order, start_step=start, steps=7))
    parts = [
        list(StepSampler(labels, batch, order=order, start_step=start, steps=7, rank=r, world=world))
        for r in range(world)
    ]
    assert [list(chain(*shares)) for shares in zip(*parts, strict=True)] == one
    assert all(max(map(len, shares)) - min(map(len, shares)) <= 1 for shares in zip(*parts, strict=True))


@settings(max_examples=40, deadline=None)
@given(labels=LABELS, seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_balanced_epochs(labels: np.ndarray, seed: int, epoch: int) -> None:
    order = epoch_order("balanced", labels, seed, epoch)
    assert len(order) == epoch_length("balanced", labels)
    drawn = np.bincount(labels[order], minlength=4)
    present = np.unique(labels[labels >= 0])
    assert set(drawn[present]) == {len(order) // len(present)}
    assert len(order) >= (labels >= 0).sum()


def test_balanced_classes_are_walked_through_in_passes() -> None:
    labels = np.array([0] * 10 + [1] * 3)
    orders = [epoch_order("balanced", labels, 0, epoch) for epoch in range(10)]
    for label, members in ((0, 10), (1, 3)):
        drawn = np.concatenate([order[labels[order] == label] for order in orders])
        for start in range(0, len(drawn) - members + 1, members):
            assert len(set(drawn[start : start + members])) == members


def test_every_batch_is_nearly_balanced() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2] * 11)
    for keys in StepSampler(labels, 8, order="balanced", steps=12):
        counts = np.bincount(labels[[key.index for key in keys]], minlength=3)
        assert counts.max() - counts.min() <= 2  # a row may be cut at either end


def test_shuffle_visits_all_and_differs_between_epochs_and_seeds() -> None:
    labels = np.zeros(30, np.int64)
    orders = [tuple(epoch_order("shuffle", labels, s, e)) for s in range(3) for e in range(3)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len(set(orders)) == 9


def test_epoch_ends_with_or_without_the_rest() -> None:
    labels = np.zeros(10, np.int64)
    assert [len(b) for b in StepSampler(labels, 4, order="sequential")] == [4, 4]
    assert [len(b) for b in StepSampler(labels, 4, order="sequential", drop_last=False)] == [4, 4, 2]
    assert len(StepSampler(labels, 4, drop_last=False, start_step=4)) == 2


def test_item_seeds_do_not_collide() -> None:
    seeds = {item_seed(s, e, i) for s in range(4) for e in range(20) for i in range(200)}
    assert len(seeds) == 16000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_item_seeds_never_change_between_versions() -> None:
    assert splitmix(0) == 0xE220A8397B1DCDAF  # the first output of the published generator seeded with 0
    assert item_seed(0, 1, 2) == splitmix(splitmix(splitmix(0) ^ 1) ^ 2) >> 1 == 3384391416029321617


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"order": "shufle"}, r"'shufle'.*shuffle \| balanced"),
        ({"batch_size": 11}, "batch_size 11 for 10 samples.*10 or less"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"batch_size": 1, "world": 2}, "smaller than the world"),
        ({"order": "balanced"}, "needs labels"),
        ({"start_step": -1}, "negative"),
        ({"batch_size": 9, "drop_last": False, "world": 2}, "last batch"),
    ],
)
def test_impossible_batches(options: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        StepSampler(np.full(10, -1), **({"batch_size": 4} | options))
