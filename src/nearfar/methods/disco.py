"""DiSCO: class labels decide near and far, as far as an opinion about each pair supports them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses.evidential import EvidentialLoss, pair_opinions
from nearfar.methods.base import Batch, Method, Output, Projections, ids_of, labels_of

Evidence = Literal["hinge", "softplus", "log_likelihood_ratio", "neighbourhood", "reference", "exp_tanh", "none"]


@dataclass(frozen=True)
class DiscoConfig(MethodConfig):
    """Options of DiSCO; the names are those of `nearfar.losses.evidential`.

    An option that the chosen mode does not take must keep its default.
    """

    mode: Literal["principled", "reference", "later"] = "principled"
    """principled: what the theory asks for; reference: the published code; later: the authors' rewrite"""
    evidence: Evidence = "hinge"
    """principled: how a cosine becomes evidence for and against a pair; none: every positive weighs the same"""
    margin: float | Literal["adaptive"] = "adaptive"
    """principled: cosine that speaks neither for nor against; adaptive: midpoint of two-view and of unlike pairs"""
    kappa: float = 10.0
    """principled: pseudo-observations that full similarity is worth"""
    prior_weight: float = 2.0
    """W, the pseudo-observations that halve the uncertainty"""
    gamma: float = 1.0
    """principled: how far hard negatives count more; 0: all alike"""
    curriculum: Literal["linear", "cosine", "step", "exp", "tanh", "none"] | None = None
    """principled: linear (its default), cosine, step or none; reference: exp (its default), tanh or none"""
    class_balanced: bool = False
    """principled: mean over classes of the mean over their anchors"""
    neighbours: int = 10
    """principled: of the evidence neighbourhood"""
    matches: Literal["all", "best"] = "all"
    """principled and dense: the pairs of patches whose evidence is fused"""
    momentum: float = 0.0
    """principled: of the running pair statistics behind the adaptive margin; 0: those of the batch"""
    dense: bool = False
    """contrast patches, not images; principled: with one opinion a pair of images, fused from those of their patches"""
    self_is_negative: bool = True
    """reference: an anchor is its own negative, as published"""
    detach_beta: bool = False
    """reference: no gradient through the weights of the negatives"""
    rank_scope: Literal["row", "class"] = "row"
    """reference: what the rank in the curriculum is divided by"""
    variant: Literal["full", "no_uncertainty", "uncertainty_curriculum_lr", "no_weighting", "uncertainty_only"] = "full"
    """later: the five published ablations"""


LOGGED_ROWS = 256
"""rows of a batch whose pairs are opined about in the log"""
COMMON = frozenset(field.name for field in fields(MethodConfig)) | {"mode", "dense", "prior_weight"}
TAKEN: dict[str, frozenset[str]] = {
    "principled": frozenset(
        {"evidence", "margin", "kappa", "gamma", "curriculum", "class_balanced", "neighbours", "matches", "momentum"}
    ),
    "reference": frozenset({"curriculum", "self_is_negative", "detach_beta", "rank_scope"}),
    "later": frozenset({"variant"}),
}
"""which options beside the common ones each mode takes"""


class Disco(Method):
    """SpatialCL / DiSCO in the principled form of its documentation page, or as published (`mode`).

    Weakly labelled images: pairs of one label attract each other with the weight b + a(t) u of the opinion about the
    pair, where a(t) rises over the run (`set_progress`), so what is believed comes first and what is merely plausible
    later; pairs known to be unlike are never forced together. Raises ConfigError for options the mode does not take.
    """

    Config = DiscoConfig
    needs_labels: ClassVar[bool] = True
    config: DiscoConfig

    def __init__(self, config: DiscoConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        self.loss = EvidentialLoss(temperature=config.temperature, mode=config.mode, **loss_options(config))
        if config.dense:
            _check_patches(encoder)

    def project(self, batch: Batch) -> Projections:
        """{"z"}: [B, V, D], or with `dense` [B, V, P, D] for P patches."""
        if not self.config.dense:
            return super().project(batch)
        views = batch["views"]
        if views.ndim != 5:
            raise ShapeError("views have five dimensions", found=tuple(views.shape), expected="[B, V, C, h, w]")
        cells = self.encoder.dense(views.flatten(0, 1)).flatten(2).transpose(1, 2)
        z = cast(Tensor, self.head(cells.flatten(0, 1)))
        return {"z": z.reshape(*views.shape[:2], cells.shape[1], -1)}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The evidential loss over all views of the labelled images; images without a label take no part."""
        z = projections["z"]
        labels, ids = labels_of(batch).to(z.device), ids_of(batch, z)
        known = labels >= 0
        z, labels, ids = z[known], labels[known], ids[known]
        if self.config.dense:
            labels, ids = labels.repeat_interleave(z.shape[1]), ids.repeat_interleave(z.shape[1])
            z = z.flatten(0, 1)
        return Output(self.loss(z, labels, ids, progress=self.progress), self._opinions(z, labels, ids))

    @torch.no_grad()
    def _opinions(self, z: Tensor, labels: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Mean belief, disbelief and uncertainty of the pairs that share a label and not an image, for the log.

        Of the first rows only, since all pairs would cost as much as the loss; nothing in a mode without opinions.
        """
        if self.config.mode != "principled" or self.config.dense or self.config.evidence == "none":
            return {}
        shown = slice(0, LOGGED_ROWS)
        settings = {name: getattr(self.config, name) for name in ("margin", "kappa", "prior_weight", "neighbours")}
        opinion, pairs = pair_opinions(
            z[shown].detach(), labels[shown], ids[shown], evidence=self.config.evidence, **settings
        )
        weak = pairs.positive & ~pairs.strong
        count = weak.sum().clamp(min=1)
        parts = {"belief": opinion.b, "disbelief": opinion.d, "uncertainty": opinion.u}
        return {name: torch.where(weak, value, 0.0).sum() / count for name, value in parts.items()}


def loss_options(config: DiscoConfig) -> dict[str, Any]:
    """The keyword arguments of `EvidentialLoss` beside mode and temperature. ConfigError for what the mode ignores."""
    taken = TAKEN.get(config.mode, frozenset())
    for field in fields(config):
        if field.name not in COMMON | taken and getattr(config, field.name) != field.default:
            homes = " or ".join(mode for mode, names in TAKEN.items() if field.name in names)
            raise ConfigError(
                f'the mode "{config.mode}" has no such option',
                where=f"method.{field.name}",
                found=getattr(config, field.name),
                fix=f"Leave it out, or set method.mode to {homes}.",
            )
    options = {name: getattr(config, name) for name in (*taken, "prior_weight")}
    if options.get("curriculum", "") is None:
        del options["curriculum"]
    if config.mode == "principled":
        options["evidence"] = _evidence(config)
    return options


def _evidence(config: DiscoConfig) -> str | None:
    if config.dense and config.evidence not in ("hinge", "none"):
        raise ConfigError(
            "dense mode fuses the hinge evidence of patches",
            where="method.evidence",
            found=config.evidence,
            expected="hinge, or none for equal weights",
        )
    if config.evidence == "none":
        return None
    return "patches" if config.dense else config.evidence


@torch.no_grad()
def _check_patches(encoder: ImageEncoder) -> None:
    size, like = encoder.config.size, encoder.mean
    with evaluating(encoder):
        found = encoder.dense(like.new_zeros(1, len(like), size, size))
    if found.shape[1] != encoder.feature_dim or found[0, 0].numel() < 2:
        raise ConfigError(
            f"{encoder.config.name} has no patches that the projection head fits",
            where="method.dense",
            found=f"a map of shape {tuple(found.shape[1:])}",
            expected=f"({encoder.feature_dim}, rows, columns) with at least two cells",
            fix="Use a larger encoder.size, a ViT or nano_cnn.",
        )
