"""Counter-based random numbers: known values, laws, independence of the batch."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.views import random


def test_bits_are_splitmix64() -> None:
    # First outputs of the reference implementation (Vigna, splitmix64.c) for the states 0 and 1234567.
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    words = random.bits(torch.tensor([0, 1234567]), (3,))
    assert [int(word) & (2**64 - 1) for word in words[0]] == first
    assert [int(word) & (2**64 - 1) for word in words[1]][:2] == [6457827717110365317, 3203168211198807973]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6), st.integers(1, 9))
def test_a_sample_is_the_same_in_every_batch(seeds: list[int], length: int) -> None:
    for draw in (random.uniform, random.normal):
        together = draw(random.derive(torch.tensor(seeds), "a", 1), (length,))
        alone = torch.cat([draw(random.derive(torch.tensor([seed]), "a", 1), (length,)) for seed in seeds])
        assert torch.equal(together, alone)
        assert torch.equal(draw(random.derive(torch.tensor(seeds), "a", 1), (length + 3,))[:, :length], together)


def test_names_give_independent_streams() -> None:
    key = torch.arange(4000)
    draws = [random.uniform(random.derive(key, *names)) for names in (("crop",), ("flip",), ("view", 0), ("view", 1))]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(4)
    assert correlation.abs().max() < 0.06


def test_neighbouring_seeds_give_unrelated_numbers() -> None:
    draws = random.uniform(torch.arange(2000), (50,))
    assert torch.corrcoef(draws[:2]).abs()[0, 1] < 0.5
    assert abs((draws[:-1] - draws.mean()).mul(draws[1:] - draws.mean()).mean()) < 1e-3


def test_uniform_fills_its_interval() -> None:
    draws = random.uniform(torch.tensor([7]), (100_000,), -2.0, 3.0)
    assert -2 <= draws.min() < -1.999 and 2.999 < draws.max() < 3
    assert torch.histc(draws, 10).div(10_000).sub(1).abs().max() < 0.05


def test_normal_has_the_moments_of_a_normal() -> None:
    draws = random.normal(torch.tensor([11]), (200_001,))
    assert abs(draws.mean()) < 0.01 and abs(draws.std() - 1) < 0.01
    assert abs(draws.pow(3).mean()) < 0.03 and abs(draws.pow(4).mean() - 3) < 0.08


def test_chance_has_its_probability() -> None:
    key = torch.arange(20_000)
    assert not random.chance(key, 0.0).any()
    assert random.chance(key, 1.0).all()
    assert abs(random.chance(key, 0.3).float().mean() - 0.3) < 0.015
