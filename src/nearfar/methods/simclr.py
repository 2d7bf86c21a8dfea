"""SimCLR, the plain baseline without labels: views of one image attract each other, all other images repel."""

from __future__ import annotations

from nearfar.losses import nt_xent
from nearfar.methods.base import Batch, Method, Output, Projections, ids_of


class SimCLR(Method):
    """Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (NT-Xent)."""

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The loss over all views of the batch; repeated images (same `index`) are positives, never negatives."""
        z = projections["z"]
        return Output(nt_xent(z, ids_of(batch, z), temperature=self.config.temperature))
