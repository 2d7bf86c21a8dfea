"""InfoNCE over places: golden values, what is masked, and the plain loss as a special case."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.errors import ShapeError
from nearfar.losses import info_nce, place_nce


@pytest.mark.parametrize("temperature", [0.07, 0.05, 0.2])
def test_golden(golden_dir: Path, temperature: float) -> None:
    arrays = np.load(golden_dir / "saco" / "losses.npz")
    golden = json.loads((golden_dir / "saco" / "losses.json").read_text())
    q, k, k2, queue = (torch.from_numpy(arrays[name]) for name in ("q", "k", "k2", "queue"))
    losses = place_nce(q, torch.stack([k, k2]), keys=queue, temperature=temperature, in_batch=False)
    assert losses.shape == (2,)
    assert float(losses[0]) == pytest.approx(golden[f"infonce_t{temperature}"], abs=1e-9)
    if temperature == 0.05:
        assert float(losses.sum()) == pytest.approx(golden["two_positives_t0.05 (q,k)+(q,k2)"], abs=1e-9)


@pytest.mark.parametrize("in_batch", [True, False])
def test_without_places_it_is_info_nce(in_batch: bool) -> None:
    source = torch.Generator().manual_seed(0)
    q, k, queue = (torch.randn(n, 5, generator=source, dtype=torch.float64) for n in (6, 6, 4))
    expected = info_nce(q, k, keys=queue, in_batch=in_batch)
    torch.testing.assert_close(place_nce(q, k[None], keys=queue, in_batch=in_batch)[0], expected)
    empty = place_nce(q, k[None], keys=queue[:0])[0]
    torch.testing.assert_close(empty, info_nce(q, k))


def test_keys_and_rows_of_the_own_place_are_no_negatives() -> None:
    source = torch.Generator().manual_seed(1)
    q, k, queue = (torch.randn(n, 5, generator=source, dtype=torch.float64) for n in (4, 4, 6))
    ids, key_ids = torch.tensor([7, 8, 8, -1]), torch.tensor([7, 7, 8, 9, -1, -1])
    got = place_nce(q[:1], k[None, :1], keys=queue, ids=ids[:1], key_ids=key_ids)
    torch.testing.assert_close(got, place_nce(q[:1], k[None, :1], keys=queue[2:]))
    moved = queue.clone()
    moved[:2] = q[0]  # the masked ones may be anything
    torch.testing.assert_close(place_nce(q[:1], k[None, :1], keys=moved, ids=ids[:1], key_ids=key_ids), got)
    rows = place_nce(q[1:3], k[None, 1:3], keys=queue[:0], ids=ids[1:3], key_ids=key_ids[:0])
    assert float(rows) == 0  # two views of one place and nothing else
    unknown = place_nce(q[3:], k[None, 3:], keys=queue, ids=ids[3:], key_ids=key_ids)
    torch.testing.assert_close(unknown, place_nce(q[3:], k[None, 3:], keys=queue))


def test_shapes_are_checked() -> None:
    q, k, queue = torch.rand(3, 4), torch.rand(2, 3, 4), torch.rand(5, 4)
    with pytest.raises(ShapeError, match=r"k \[P, N, D\]"):
        place_nce(q, k[0], keys=queue)
    with pytest.raises(ShapeError, match="or none at all"):
        place_nce(q, k, keys=queue, ids=torch.arange(3))
    with pytest.raises(ShapeError, match="do not fit"):
        place_nce(q, k, keys=queue[:, :2])
