"""Losses: one file a loss, the formula in the docstring, function and Module twin that compute the same.

All of them: embeddings of any scale (normalised inside), float32 or better whatever the autocast, exact over ranks
with any row counts. With a process group each rank returns its share, whose average over ranks is the loss of the
joined batch; the shares may be larger or smaller than it.
"""

from nearfar.losses.evidential import EvidentialLoss, evidential
from nearfar.losses.info_nce import CLIPLoss, InfoNCE, NTXent, clip_loss, info_nce, nt_xent
from nearfar.losses.supcon import SupConLoss, supcon

__all__ = [
    "CLIPLoss",
    "EvidentialLoss",
    "InfoNCE",
    "NTXent",
    "SupConLoss",
    "clip_loss",
    "evidential",
    "info_nce",
    "nt_xent",
    "supcon",
]
