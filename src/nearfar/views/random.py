"""Random numbers without a generator: a hash of (sample seed, names, counter).

A sample's numbers depend on its own seed alone, not on the batch, the worker, the device or what was drawn before, so
a view can be computed again anywhere. The hash is splitmix64 (Steele, Lea & Flood, 2014) on wrapping int64 tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from math import prod

import torch
from torch import Tensor


def _signed(word: int) -> int:
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; the one of torch keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


@cache
def _word(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def derive(key: Tensor, *names: str | int) -> Tensor:
    """Independent keys int64 [...] for a purpose, from keys of the same shape."""
    for name in names:
        key = _mix(_mix(key + _STEP) ^ _word(str(name)))
    return key


def view_keys(seed: Tensor, count: int) -> Tensor:
    """int64 [B V] from seeds [B]: what is drawn for each of `count` views, a sample's views in a row."""
    return torch.stack([derive(seed, "view", number) for number in range(count)], 1).reshape(-1)


def bits(key: Tensor, shape: Sequence[int]) -> Tensor:
    """64 random bits a number: int64 [N, *shape] from keys [N]."""
    counter = torch.arange(1, prod(shape) + 1, device=key.device)
    return _mix(key[:, None] + counter * _STEP).reshape(len(key), *shape)


def uniform(key: Tensor, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform float32 in [low, high), [N, *shape], from keys int64 [N]; 24 bits, the same on every device."""
    unit = _shift(bits(key, shape), 40).to(torch.float32) * 2.0**-24
    return unit * (high - low) + low


@cache
def _quantiles(device: str) -> Tensor:
    middle = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    table: Tensor = torch.special.ndtri(middle).to(torch.float32).to(device)
    return table


def normal(key: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """Standard normal float32 [N, *shape] from keys int64 [N], by table.

    The 65,536 quantiles (+-4.3 sigma) need no transcendental function, whose last bit differs between devices, and
    one hash serves four numbers.
    """
    count = prod(shape)
    words = bits(key, ((count + 3) // 4,)).contiguous().view(torch.int16)
    table: Tensor = _quantiles(str(key.device))
    return table[words[:, :count].to(torch.int64) + (1 << 15)].reshape(len(key), *shape)


def chance(key: Tensor, probability: float) -> Tensor:
    """True with the given probability: bool [N] from keys int64 [N]."""
    return uniform(key) < probability
