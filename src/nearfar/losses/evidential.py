"""The evidential contrastive loss of DiSCO: labels are believed as far as the opinions about pairs allow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.losses._common import full_precision, inverse, one_of
from nearfar.losses._evidential_tiled import batch_statistics
from nearfar.losses._opinion_weights import PairStatistics, pair_masks, pair_statistics
from nearfar.losses.core import tiled
from nearfar.losses.evidential_principled import checked, gathered, pair_opinions, principled
from nearfar.losses.evidential_reference import later, reference
from nearfar.spatial.evidence import Gaussian

__all__ = ["MODES", "EvidentialLoss", "PairStatistics", "evidential", "pair_opinions"]

Mode = Literal["principled", "reference", "later"]
MODES: dict[str, Callable[..., Tensor]] = {"principled": principled, "reference": reference, "later": later}


@full_precision
def evidential(
    z: Tensor,
    labels: Tensor,
    ids: Tensor | None = None,
    *,
    progress: float = 0.0,
    temperature: float = 0.1,
    mode: Mode = "principled",
    **options: Any,
) -> Tensor:
    """Contrast z [N, D] by labels [N], or z [B, V, D] (V views or patches an image) by labels [B]; a scalar.

    ids: [N] or [B] int, which image a row shows: rows of one image are certain positives. Default: every leading row is
        its own image, so the V rows of [B, V, D] belong together. Unique over ranks.
    progress: share of the run that is done, 0 to 1, for the curriculum (published: epoch / T).
    mode and options:
        "principled" (default): evidence="hinge", margin="adaptive", kappa=10, prior_weight=2, gamma=1,
            curriculum="linear", class_balanced=False, neighbours=10, matches="all", statistics, keys, key_labels;
            formula and meaning in `nearfar.losses.evidential_principled.principled`.
        "reference": the published code, with prior_weight, self_is_negative, detach_beta, curriculum, rank_scope, eps;
            see `nearfar.losses.evidential_reference.reference`.
        "later": the authors' rewrite, with variant (five ablations), prior_weight, eps; see `...reference.later`.
    All take normalize=True, memory and exchange (see `nearfar.losses`). Embeddings of any scale and dtype;
    similarities in float32 or better.

    Anchors without a positive (or without a negative) leave the mean; none in the world gives a zero with a graph and a
    warning. Exact over ranks of any batch sizes. Labels below zero are unknown. Raises ShapeError where shapes do not
    fit, ConfigError for unknown names or values out of range.
    """
    _check_options(mode, options)
    return MODES[mode](z, labels, ids, progress=progress, temperature=temperature, **options)


def _check_options(mode: str, options: dict[str, Any]) -> None:
    one_of("mode", mode, tuple(MODES))
    allowed = [name for name in inspect.signature(MODES[mode]).parameters if name not in ("z", "labels", "ids")]
    for name in options:
        one_of(f"option of mode {mode!r}", name, allowed)


class EvidentialLoss(nn.Module):
    """Module twin of `evidential`: `loss(z, labels, ids, progress=...)`, the other arguments at construction.

    momentum: with 0 < momentum < 1 the pair statistics behind the adaptive margin and the log-likelihood ratio are
    moving averages over training steps (buffer `moments`, saved with the model), which small batches need; 0 uses the
    batch's own, and then function and module are equal. Mode "principled" only.
    """

    moments: Tensor

    def __init__(
        self, *, temperature: float = 0.1, mode: Mode = "principled", momentum: float = 0.0, **options: Any
    ) -> None:
        super().__init__()
        _check_options(mode, options)
        inverse(temperature)
        if not 0 <= momentum < 1 or (momentum and mode != "principled"):
            raise ConfigError(
                "momentum", found=f"{momentum} in mode {mode!r}", expected="0 <= momentum < 1, principled"
            )
        self.temperature, self.mode, self.momentum, self.options = temperature, mode, momentum, options
        # near mean, near std, far mean, far std; NaN until the first training step
        self.register_buffer("moments", torch.full((4,), torch.nan))

    def forward(
        self,
        z: Tensor,
        labels: Tensor,
        ids: Tensor | None = None,
        *,
        progress: float = 0.0,
        keys: Tensor | None = None,
        key_labels: Tensor | None = None,
    ) -> Tensor:
        """See `evidential`."""
        options = dict(self.options)
        if keys is not None or key_labels is not None:
            options |= {"keys": keys, "key_labels": key_labels}
        if self.momentum:
            options["statistics"] = self._statistics(z, labels, ids)
        return evidential(z, labels, ids, progress=progress, temperature=self.temperature, mode=self.mode, **options)

    @torch.no_grad()
    def _statistics(self, z: Tensor, labels: Tensor, ids: Tensor | None) -> PairStatistics:
        if self.training or bool(self.moments.isnan().any()):
            near, far = _batch_statistics(z, labels, ids, normalize=self.options.get("normalize", True))
            batch = torch.stack([torch.as_tensor(x) for x in (*near, *far)]).to(self.moments)
            moved = torch.lerp(batch, self.moments, self.momentum)
            self.moments.copy_(torch.where(self.moments.isnan(), batch, moved))
        return PairStatistics(Gaussian(self.moments[0], self.moments[1]), Gaussian(self.moments[2], self.moments[3]))


@full_precision
def _batch_statistics(z: Tensor, labels: Tensor, ids: Tensor | None, *, normalize: bool) -> Any:
    inputs = checked(z, labels, ids, normalize=normalize)
    if tiled("auto", "gather", inputs.x) and inputs.one_label_an_image():
        return batch_statistics(inputs, True, "gather")
    rows = gathered(inputs)
    whole = max(1, len(rows.anchors))
    return pair_statistics(rows.anchors @ rows.columns.T, lambda part: pair_masks(rows, part), whole)
