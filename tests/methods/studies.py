"""A small SpatialCLIP and batches of a study in which every modality tells something."""

from typing import Any

import torch

import nearfar
from nearfar.config import EncoderConfig, TextConfig, ViewsConfig
from nearfar.data.sample import Channels
from nearfar.methods.base import Batch
from nearfar.methods.spatialclip import SpatialCLIP

ENCODER = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16)
STILL = ViewsConfig(recipe="study", count=1, flip_horizontal=0.0, strength=0.0)
GREY = Channels.of({"image": [""]})


def make(preset: str = "spatialclip", views: ViewsConfig = STILL, dropout: float = 0.0, **options: Any) -> SpatialCLIP:
    """In training mode; no random numbers but modality dropout, and only where it is asked for."""
    torch.manual_seed(0)
    small = {
        "text": TextConfig("byte", dim=16, layers=1),
        "dim": 16,
        "box_dim": 16,
        "box_drop": 0.0,
        "projection": (12,),
        "modality_dropout": dropout,
        **options,
    }
    method = nearfar.create(preset, channels=GREY, encoder=ENCODER, views=views, **small)
    assert isinstance(method, SpatialCLIP)
    for part in method.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    return method.train()


def study(count: int = 10) -> Batch:
    """Every second sample is standard; captions repeat after four samples; boxes without and with neighbours."""
    random = torch.Generator().manual_seed(3)
    ids = torch.arange(count)
    labels = torch.where(torch.arange(3) <= (ids % 4)[:, None], torch.randint(0, 14, (count, 3), generator=random), -1)
    objects = torch.rand(count, 3, 5, generator=random) * 0.4 + 0.1
    return {
        "image": torch.rand(count, 1, 16, 16, generator=random) * 0.5 + 0.4 * (ids % 2)[:, None, None, None],
        "text": [f"view {i % 4}, week {11 + i % 4}" for i in range(count)],
        "objects": torch.where(labels[..., None] >= 0, objects, 0.0),
        "object_labels": labels,
        "label": ids % 2,
        "index": ids,
        "seed": ids + 7,
    }
