"""Health of an embedding without labels: alignment, uniformity, effective rank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.data import Key, SampleDataset, collate
from nearfar.methods.base import Method

SUBSET = 256
"""samples that the measurement during training looks at"""


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared distance of positive pairs, row i of x [N, D] with row i of y, after normalisation.

    0 is perfect, 2 is chance (Wang & Isola 2020, eq. 5 with alpha = 2).
    """
    return (F.normalize(x.float(), dim=1) - F.normalize(y.float(), dim=1)).square().sum(1).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """Log of the mean Gaussian potential over all pairs of rows of x [N, D], after normalisation.

    0 is collapse, -4 the limit for an even spread at t = 2 (Wang & Isola 2020, eq. 6).
    """
    squared = torch.pdist(F.normalize(x.float(), dim=1)).square()
    return torch.logsumexp(-t * squared, 0) - torch.log(torch.tensor(float(squared.numel())))


def effective_rank(x: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of x [N, D], centred (Roy & Vetterli 2007).

    1 is one direction, min(N - 1, D) the most; 0 where all rows are equal.
    """
    centred = x.double() - x.double().mean(0)
    values = torch.linalg.svdvals(centred)
    if float(values[0]) <= 1e-12 * max(1.0, float(x.abs().max())):
        return torch.zeros((), device=x.device)
    share = values / values.sum()
    return torch.exp(torch.special.entr(share).sum()).float()


@torch.no_grad()
def measure(method: Method, dataset: SampleDataset, device: torch.device, batch_size: int = 64) -> dict[str, float]:
    """`health/uniformity` and `health/effective_rank` of the features; `health/alignment` where there are two views.

    Always the same samples and views, spread evenly over the dataset; random states and modes stay untouched.
    """
    count = min(SUBSET, len(dataset))
    chosen = [i * len(dataset) // count for i in range(count)]
    plain, first, second = [], [], []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for start in range(0, count, batch_size):
            batch = collate([dataset[Key(i, i)] for i in chosen[start : start + batch_size]])
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            plain.append(method.encode(moved["image"]))
            views = method.views(moved)["views"]
            first.append(method.encode(views[:, 0]))
            second.append(method.encode(views[:, -1]))
    features = torch.cat(plain)
    # A single view says nothing about the distance of two.
    pair = {"health/alignment": float(alignment(torch.cat(first), torch.cat(second)))} if views.shape[1] > 1 else {}
    return pair | {
        "health/uniformity": float(uniformity(features)),
        "health/effective_rank": float(effective_rank(features)),
    }
