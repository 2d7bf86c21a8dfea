"""Where a place changed between two periods, found from its features while training (CACo, Mall et al. 2023)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.losses._common import embeddings, full_precision


@full_precision
def change_ratio(now: Tensor, far: Tensor, near: Tensor, eps: float = 1e-4) -> Tensor:
    """[N]: long-term over short-term difference, |now - far| / (|now - near| + eps), without a graph.

    Features [N, D] of one place, as they are: of the anchor, of its other period, and of another date of its own
    period. Raises ShapeError where the three differ.
    """
    if now.dim() != 2 or not now.shape == far.shape == near.shape:
        raise ShapeError(
            "features of a place must have one shape",
            found=f"now {tuple(now.shape)}, far {tuple(far.shape)}, near {tuple(near.shape)}",
            expected="[N, D] all three",
        )
    now, far, near = (embeddings(x.detach(), normalize=False) for x in (now, far, near))
    ratio: Tensor = (now - far).norm(dim=1) / ((now - near).norm(dim=1) + eps)
    return ratio


class ChangeFlags(nn.Module):
    """Running change ratio of every place, and which places have changed.

    Buffers: ratio [size] float64, visited [size] bool, changed [size] bool (none at first). A visit moves the ratio:
    the first sets it, later ones give (weight * old + new) / (weight + 1), weight 4 as published. Once an epoch `refit`
    splits the ratios of the visited places by a Gaussian mixture of two components; those of the component with the
    larger mean are changed. With a process group the visits of all ranks are gathered, so every rank holds the same.

    Rows may be places, or halves of places where the two directions are to be kept apart as in CACo's code.
    """

    ratio: Tensor
    visited: Tensor
    changed: Tensor

    def __init__(self, size: int, weight: float = 4.0) -> None:
        super().__init__()
        if size < 1 or not weight >= 0:
            raise ConfigError("a positive size and weight", where="ChangeFlags", found=f"size {size}, weight {weight}")
        self.weight = weight
        self.register_buffer("ratio", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("visited", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("changed", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def visit(self, places: Tensor, ratios: Tensor) -> None:
        """Move the ratios of `places` [n] int64 towards `ratios` [n]; several visits of one place count by their mean.

        Raises ShapeError where the two do not fit, DataError for a place out of range or a ratio that is not finite.
        """
        if places.dim() != 1 or places.shape != ratios.shape:
            raise ShapeError(
                "one ratio a place",
                where="ChangeFlags.visit",
                found=f"places {tuple(places.shape)}, ratios {tuple(ratios.shape)}",
                expected="[n] both",
            )
        counts = parallel.sizes(len(places))
        places = parallel.gather(places.to(self.ratio.device, torch.int64), counts)
        ratios = parallel.gather(ratios.detach().to(self.ratio), counts)
        self._check(places, ratios)
        total = torch.zeros_like(self.ratio).index_add_(0, places, ratios)
        visits = torch.zeros_like(self.ratio).index_add_(0, places, torch.ones_like(ratios))
        new, seen = total / visits.clamp(min=1), visits > 0
        moved = (self.weight * self.ratio + new) / (self.weight + 1)
        self.ratio.copy_(torch.where(seen, torch.where(self.visited, moved, new), self.ratio))
        self.visited |= seen

    @torch.no_grad()
    def refit(self, seed: int = 0) -> Tensor:
        """Set `changed` from the ratios of the visited places and return it; none where they are fewer than two."""
        seen = self.visited.cpu().numpy()
        flags = np.zeros(len(seen), dtype=bool)
        flags[seen] = _larger_component(self.ratio.cpu().numpy()[seen], seed)
        self.changed.copy_(torch.from_numpy(flags))
        return self.changed

    def _check(self, places: Tensor, ratios: Tensor) -> None:
        size = len(self.ratio)
        if len(places) and not (int(places.min()) >= 0 and int(places.max()) < size):
            found = f"{int(places.min())} to {int(places.max())}"
            raise DataError("a place out of range", where="ChangeFlags.visit", found=found, expected=f"0 to {size - 1}")
        if not bool(ratios.isfinite().all()):
            raise DataError(
                "a change ratio is not finite",
                where="ChangeFlags.visit",
                found=f"{int((~ratios.isfinite()).sum())} of {len(ratios)}",
                fix="Look for NaN in the features.",
            )


def _larger_component(ratios: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.mixture import GaussianMixture  # slow to import, needed once an epoch

    if len(np.unique(ratios)) < 2:
        return np.zeros(len(ratios), dtype=bool)
    mixture = GaussianMixture(2, random_state=seed).fit(ratios[:, None])
    larger: np.ndarray = mixture.predict(ratios[:, None]) == mixture.means_[:, 0].argmax()
    return larger
