"""SupCon, the plain baseline with labels: views and images of one class attract each other, all others repel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from nearfar.config import MethodConfig
from nearfar.losses import supcon
from nearfar.methods.base import Batch, Method, Output, Projections, labels_of


@dataclass(frozen=True)
class SupConConfig(MethodConfig):
    """Options of SupCon."""

    form: Literal["out", "in"] = "out"
    """out: the mean over positives outside the logarithm (equation 2 of the paper); in: inside (equation 3)"""


class SupCon(Method):
    """Khosla et al. 2020, "Supervised Contrastive Learning"."""

    Config = SupConConfig
    needs_labels: ClassVar[bool] = True
    config: SupConConfig

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The loss over all views of the labelled images; images without a label take no part."""
        labels = labels_of(batch).to(projections["z"].device)
        known = labels >= 0
        z = projections["z"][known]
        return Output(supcon(z, labels[known], temperature=self.config.temperature, form=self.config.form))
