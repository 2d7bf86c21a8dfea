"""Losses: one file a loss, the formula in the docstring, function and Module twin that compute the same.

All of them: embeddings of any scale (normalised inside), float32 or better whatever the autocast, exact over ranks
with any row counts. With a process group each rank returns its share, whose average over ranks is the loss of the
joined batch; the shares may be larger or smaller than it.

memory: "dense" keeps matrices of all pairs, "tiled" computes them in tiles, forward and again backward, in memory
    linear in the rows (docs/core.md); "auto" chooses by size. The numbers are the same.
exchange: how rows meet those of other ranks: "gather" holds all ranks' rows at once, "ring" passes them round, so that
    a rank holds those of one other at a time; always in tiles, with the same gradient.
"""

from nearfar.losses.change import ChangeFlags, change_ratio
from nearfar.losses.classification import BinaryLoss, binary_loss, effective_number_weights, preservation
from nearfar.losses.evidential import EvidentialLoss, evidential
from nearfar.losses.graph import G2GInfoNCE, NodeInfoNCE, g2g_info_nce, node_info_nce
from nearfar.losses.groups import GroupAttraction, group_attraction
from nearfar.losses.hcl import HCL, hcl
from nearfar.losses.info_nce import CLIPLoss, InfoNCE, NTXent, clip_loss, info_nce, nt_xent
from nearfar.losses.mirror import MirrorNCE, mirror_nce, published_mirror_loss
from nearfar.losses.pairwise import PairwiseInfoNCE, pairwise_info_nce
from nearfar.losses.places import PlaceNCE, place_nce
from nearfar.losses.relations import Relations
from nearfar.losses.spectral import FocalFrequency, SpectralContrast, focal_frequency, spectral_contrast
from nearfar.losses.supcon import SupConLoss, supcon
from nearfar.losses.temporal import TemporalNCE, temporal_nce, temporal_nce_heads

__all__ = [
    "HCL",
    "BinaryLoss",
    "CLIPLoss",
    "ChangeFlags",
    "EvidentialLoss",
    "FocalFrequency",
    "G2GInfoNCE",
    "GroupAttraction",
    "InfoNCE",
    "MirrorNCE",
    "NTXent",
    "NodeInfoNCE",
    "PairwiseInfoNCE",
    "PlaceNCE",
    "Relations",
    "SpectralContrast",
    "SupConLoss",
    "TemporalNCE",
    "binary_loss",
    "change_ratio",
    "clip_loss",
    "effective_number_weights",
    "evidential",
    "focal_frequency",
    "g2g_info_nce",
    "group_attraction",
    "hcl",
    "info_nce",
    "mirror_nce",
    "node_info_nce",
    "nt_xent",
    "pairwise_info_nce",
    "place_nce",
    "preservation",
    "published_mirror_loss",
    "spectral_contrast",
    "supcon",
    "temporal_nce",
    "temporal_nce_heads",
]
