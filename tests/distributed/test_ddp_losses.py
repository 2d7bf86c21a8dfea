"""Every loss of the registry on 2 and 3 gloo ranks, ragged batches, equals one process with the joined batch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
import rank_tasks
from gloo_pool import GlooPool, RankError
from loss_batch import LossCase
from loss_cases import LOSS_CASES, TILED

LABELS = [0, 1, 0, 2, 1, 0, 3]
WORLDS = [2, 3]
SIZES = {2: [(4, 3), (6, 1), (7, 0)], 3: [(3, 2, 2), (5, 1, 1), (1, 0, 6)]}


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[int, GlooPool]]:
    started = {world: GlooPool(world) for world in WORLDS}
    yield started
    for pool in started.values():
        pool.close()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", LOSS_CASES, ids=lambda case: case.name)
def test_gradient_equals_the_joined_batch(pools: dict[int, GlooPool], world: int, case: LossCase) -> None:
    _check_shares(pools[world], world, case, "function")


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", TILED, ids=lambda case: case.name)
def test_keys_round_a_ring_give_the_same_gradient(pools: dict[int, GlooPool], world: int, case: LossCase) -> None:
    """The registry's tiled cases exchange keys round a ring in their module form."""
    _check_shares(pools[world], world, case, "module")


def _check_shares(pool: GlooPool, world: int, case: LossCase, form: str) -> None:
    # One view leaves rows 3 and 6 without a positive, so the ranks' numbers of anchors differ from their rows.
    for views in (1, 2) if case.labelled else (2,):
        loss, gradient = rank_tasks.joined(case.name, LABELS, views)
        for sizes in SIZES[world]:
            shares = pool.run(rank_tasks.loss_share, case.name, LABELS, views, sizes, form)
            averaged = np.mean([share[1] for share in shares], axis=0)
            assert np.linalg.norm(averaged - gradient) <= 1e-12 * np.linalg.norm(gradient), (views, sizes)
            assert np.mean([share[0] for share in shares]) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("case", [case for case in LOSS_CASES if case.labelled], ids=lambda case: case.name)
def test_no_positive_in_the_world_is_one_warning_and_a_zero_gradient(
    pools: dict[int, GlooPool], case: LossCase
) -> None:
    shares = pools[3].run(rank_tasks.loss_share, case.name, [10, 11, 12, 13], 1, (2, 0, 2))
    assert all(loss == 0 and not gradient.any() for loss, gradient, _ in shares)
    messages = [message for share in shares for message in share[2]]
    assert len(messages) == 1 and "0 of 4 anchors on 3 rank(s)" in messages[0]


@pytest.mark.parametrize("world", WORLDS)
def test_distributed_data_parallel(pools: dict[int, GlooPool], world: int) -> None:
    for sizes in SIZES[world]:
        model = rank_tasks.TwoViews()
        model(rank_tasks.ddp_inputs(sum(sizes))).backward()
        expected = rank_tasks.parameter_gradients(model)
        for got in pools[world].run(rank_tasks.ddp_share, sizes):
            assert np.linalg.norm(got - expected) <= 1e-12 * np.linalg.norm(expected), sizes


@pytest.mark.parametrize("world", WORLDS)
def test_second_derivatives_go_through_other_ranks(pools: dict[int, GlooPool], world: int) -> None:
    for sizes in SIZES[world]:
        expected = rank_tasks.curvature_share(0, (sum(sizes),))
        got = np.concatenate(pools[world].run(rank_tasks.curvature_share, sizes))
        assert np.linalg.norm(got - expected) <= 1e-12 * np.linalg.norm(expected), sizes


IDS = {"own pairs": None, "several": LABELS, "one thing": [0] * 7, "unknown too": [-1, 0, 0, -1, 1, 0, 1]}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("use", ["ignore", "target"])
@pytest.mark.parametrize("ids", list(IDS))
def test_both_sides_of_clip_in_tiles(pools: dict[int, GlooPool], world: int, ids: str, use: str) -> None:
    """Also where a rank has no rows, or no row that is far from some column; the scale learns."""
    if IDS[ids] is None and use != "ignore":
        pytest.skip("nothing is known")
    for temperature in (1e-3, 0.1, 50.0):
        loss, gradient, _ = rank_tasks.clip_in_tiles(0, (7,), IDS[ids], use, temperature)
        for sizes in SIZES[world]:
            shares = pools[world].run(rank_tasks.clip_in_tiles, sizes, IDS[ids], use, temperature)
            averaged = np.mean([share[1] for share in shares], axis=0)
            assert np.linalg.norm(averaged - gradient) <= 1e-12 * np.linalg.norm(gradient), (temperature, sizes)
            assert np.mean([share[0] for share in shares]) == pytest.approx(loss, rel=1e-12, abs=1e-300)
            if temperature == 0.1:
                assert [share[2] for share in shares] == [7 * n for n in sizes], "one pass serves both sides"


@pytest.mark.parametrize("temperature", [1e-6, 1e-2, 50.0])
def test_clip_over_ranks_is_finite_in_single_precision(pools: dict[int, GlooPool], temperature: float) -> None:
    for ids in IDS.values():
        expected = rank_tasks.clip_in_tiles(0, (7,), ids, "target", temperature)[:2]
        shares = pools[3].run(rank_tasks.clip_in_tiles, (1, 0, 6), ids, "target", temperature, "float32")
        for k in (0, 1):
            got = np.mean([share[k] for share in shares], axis=0)
            error = np.linalg.norm(got - expected[k])
            assert error <= 1e-4 * np.linalg.norm(expected[k]), (ids, k)


def test_scatter_sum_is_the_transpose_of_gather(pools: dict[int, GlooPool]) -> None:
    for sizes in [*SIZES[3], (0, 0, 0)]:
        n, shares = sum(sizes), pools[3].run(rank_tasks.scatter_share, sizes)
        rows = np.arange(n * 2.0).reshape(-1, 2)
        assert np.array_equal(np.concatenate([share[0] for share in shares]), 6 * rows)
        for _, gradient, largest in shares:
            assert np.array_equal(gradient, np.repeat(np.arange(n * 1.0)[:, None], 2, 1))
            assert np.array_equal(largest, -rows)


@pytest.mark.parametrize("fallback", [False, True], ids=["tensor collectives", "all_reduce"])
@pytest.mark.parametrize("world", WORLDS)
def test_gather(pools: dict[int, GlooPool], world: int, fallback: bool) -> None:
    for sizes in [*SIZES[world], (0,) * world]:
        n = sum(sizes)
        rows = np.arange(n * 6).reshape(-1, 3, 2) % 5
        for dtype in ("float64", "float32", "int64", "uint8", "bool"):
            shares = pools[world].run(rank_tasks.gather_share, sizes, dtype, fallback)
            for gathered, _ in shares:
                assert gathered.dtype == np.dtype(dtype) and np.array_equal(gathered, rows.astype(dtype))
            if dtype.startswith("float"):
                gradient = np.concatenate([share[1] for share in shares])
                weight = np.arange(n)[:, None, None] * sum(range(1, world + 1))
                assert np.array_equal(gradient, np.broadcast_to(weight, rows.shape))


def test_sizes_offsets_sums_and_means(pools: dict[int, GlooPool]) -> None:
    answers = pools[3].run(rank_tasks.bookkeeping, (4, 0, 2))
    assert [a["rank"] for a in answers] == [0, 1, 2]
    assert [a["offset"] for a in answers] == [0, 4, 4]
    assert all(a["world"] == 3 and a["sizes"] == (4, 0, 2) and a["sum"] == [6, 3] for a in answers)
    assert [a["mean"] for a in answers] == [4.0, 0.0, 2.0]


def test_every_rank_has_the_same_queue(pools: dict[int, GlooPool]) -> None:
    for keys, labels in pools[3].run(rank_tasks.enqueue_shares, (4, 0, 3)):
        assert labels.tolist() == [5, 6, 2, 3, 4] and np.array_equal(keys[:, 0], labels)


def test_errors_of_a_rank_are_named(pools: dict[int, GlooPool]) -> None:
    with pytest.raises(RankError, match="rank 0: KeyError"):
        pools[2].run(rank_tasks.loss_share, "no such loss", LABELS, 1, (4, 3))


def test_a_dead_rank_is_an_error_not_a_hang() -> None:
    pool, started = GlooPool(2), time.monotonic()
    try:
        with pytest.raises(RankError, match=r"rank 0: .*rank 1: died"):
            pool.run(rank_tasks.die_or_gather, 1, timeout=40)
        assert time.monotonic() - started < 35
    finally:
        pool.close()
