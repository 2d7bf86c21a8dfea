"""Losses of places, band groups, dates, mirrored views and spectra under contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from group_oracles import group_oracle, place_oracle, temporal_inputs, temporal_oracle
from loss_batch import LossBatch, LossCase
from mirror_oracles import focal_oracle, maps, mirror_ids, mirror_oracle, published_oracle, spectral_oracle
from torch import Tensor

from nearfar.losses import (
    FocalFrequency,
    GroupAttraction,
    MirrorNCE,
    PlaceNCE,
    SpectralContrast,
    TemporalNCE,
    focal_frequency,
    group_attraction,
    mirror_nce,
    place_nce,
    published_mirror_loss,
    spectral_contrast,
    temporal_nce,
)


def _group_attraction(form: str) -> LossCase:
    scale = {"test_scale_invariance": "the published form measures raw embeddings"}
    return LossCase(
        f"group_attraction[{form}]",
        lambda b: group_attraction(b.z, form=form, temperature=b.temperature),
        lambda b: GroupAttraction(form=form, temperature=b.temperature)(b.z),
        group_oracle(form),
        labelled=False,
        skips=scale if form == "reference_margin" else {},
    )


def _temporal(negatives: str) -> LossCase:
    def call(b: LossBatch, loss: Callable[..., Tensor], **options: Any) -> Tensor:
        inputs, known = temporal_inputs(b)
        return loss(*inputs, **options, **(known if negatives == "caco" else {}))

    return LossCase(
        f"temporal_nce[{negatives}]",
        lambda b: call(b, temporal_nce, temperature=b.temperature, negatives=negatives),
        lambda b: call(b, TemporalNCE(temperature=b.temperature, negatives=negatives)),
        temporal_oracle(negatives),
        labelled=False,
    )


def _places(in_batch: bool) -> LossCase:
    def call(b: LossBatch, loss: Callable[..., Tensor], **options: Any) -> Tensor:
        known = {"keys": b.keys, "ids": b.labels, "key_ids": b.key_labels}
        return loss(b.z[:, 0], torch.stack([b.z[:, 1], -b.z[:, 1]]), **known, **options).sum()

    return LossCase(
        f"place_nce[{'batch' if in_batch else 'queue'}]",
        lambda b: call(b, place_nce, temperature=b.temperature, in_batch=in_batch),
        lambda b: call(b, PlaceNCE(temperature=b.temperature, in_batch=in_batch)),
        place_oracle(in_batch),
        labelled=False,
    )


def _mirror(in_batch: bool) -> LossCase:
    """Labels are pictures: of anchors, and so shifted of positives and negatives, which also some labels leave out."""

    def call(b: LossBatch, loss: Callable[..., Tensor], **options: Any) -> Tensor:
        known = {"valid": b.labels != 1, "ids": mirror_ids(b)}
        return loss(b.z[:, 0], b.z[:, 1], b.z[:, 1].roll(1, 1), **known, **options)

    return LossCase(
        f"mirror_nce[{'batch' if in_batch else 'own'}]",
        lambda b: call(b, mirror_nce, temperature=b.temperature, in_batch=in_batch),
        lambda b: call(b, MirrorNCE(temperature=b.temperature, in_batch=in_batch)),
        mirror_oracle(in_batch),
        labelled=False,
    )


SCALED = {
    "test_scale_invariance": "spectra of maps are compared as they are",
    "test_exceptions": "there is no temperature; tests/losses/test_spectral.py holds what is refused",
}
WEIGHTS = {"test_gradcheck": "weights carry no gradient by definition; tests/losses/test_spectral.py leaves them out"}
MIRROR = [
    _mirror(in_batch=True),
    _mirror(in_batch=False),
    LossCase(
        "published_mirror_loss",
        lambda b: published_mirror_loss(*maps(b), temperature=b.temperature),
        lambda b: published_mirror_loss(*maps(b), temperature=b.temperature),
        published_oracle,
        labelled=False,
    ),
    LossCase(
        "focal_frequency",
        lambda b: focal_frequency(*maps(b)[:2], alpha=1.5, log=True),
        lambda b: FocalFrequency(alpha=1.5, log=True)(*maps(b)[:2]),
        focal_oracle(1.5, log=True),
        labelled=False,
        skips=SCALED | WEIGHTS,
    ),
    LossCase(
        "spectral_contrast",
        lambda b: spectral_contrast(*maps(b), valid=b.labels != 1, margin=0.3),
        lambda b: SpectralContrast(margin=0.3)(*maps(b), b.labels != 1),
        spectral_oracle(0.3),
        labelled=False,
        skips=SCALED | WEIGHTS,
    ),
]

PLACES = [
    *(_group_attraction(form) for form in ("attract", "simclr", "reference_margin")),
    _places(in_batch=True),
    _places(in_batch=False),
    *(_temporal(negatives) for negatives in ("queue", "other_keys", "caco")),
]
