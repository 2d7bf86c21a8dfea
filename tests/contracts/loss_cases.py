"""The registry of losses under contract: add a `LossCase` here and every suite (contracts, distributed) runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from evidential_cases import COUNTED, EVIDENTIAL, TILED_EVIDENTIAL
from loss_batch import LossBatch, LossCase, in_tiles
from loss_oracles import clip_oracle, hcl_oracle, info_nce_oracle, pair_weights, smooth_clip_oracle, supervised_oracle
from pair_cases import GRAPHS, PAIRWISE, RELATED
from place_cases import MIRROR, PLACES

from nearfar.losses import HCL, CLIPLoss, InfoNCE, NTXent, SupConLoss, clip_loss, hcl, info_nce, nt_xent, supcon


def _clip_module(b: LossBatch, **options: float) -> Tensor:
    loss: nn.Module = CLIPLoss(temperature=b.temperature, **options)
    return loss.double()(b.z[:, 0], b.z[:, 1]) if b.z.dtype == torch.float64 else loss(b.z[:, 0], b.z[:, 1])


def _nt_xent(form: str) -> LossCase:
    return LossCase(
        f"nt_xent[{form}]",
        lambda b: nt_xent(b.z, b.labels, temperature=b.temperature, form=form),
        lambda b: NTXent(temperature=b.temperature, form=form)(b.z, b.labels),
        supervised_oracle(form),
        labelled=True,
    )


def _supcon(form: str) -> list[LossCase]:
    def full(b: LossBatch) -> dict[str, Tensor]:
        return {"weights": pair_weights(b), "keys": b.keys, "key_labels": b.key_labels}

    return [
        LossCase(
            f"supcon[{form}]",
            lambda b: supcon(b.z, b.labels, temperature=b.temperature, form=form),
            lambda b: SupConLoss(temperature=b.temperature, form=form)(b.z, b.labels),
            supervised_oracle(form),
            labelled=True,
        ),
        LossCase(
            f"supcon[{form},weights,keys]",
            lambda b: supcon(b.z, b.labels, temperature=b.temperature, form=form, **full(b)),
            lambda b: SupConLoss(temperature=b.temperature, form=form)(b.z, b.labels, **full(b)),
            supervised_oracle(form, weighted=True, keys=True),
            labelled=True,
        ),
    ]


def _nce(b: LossBatch, **options: Any) -> Tensor:
    return info_nce(b.z[:, 0], b.z[:, 1], temperature=b.temperature, **options)


def _tiled_supervised(form: str) -> list[LossCase]:
    def plain(b: LossBatch, **options: Any) -> Tensor:
        return supcon(b.z, b.labels, temperature=b.temperature, form=form, **options)

    def keys(b: LossBatch, **options: Any) -> Tensor:
        return plain(b, keys=b.keys, key_labels=b.key_labels, **options)

    def weighted(b: LossBatch, **options: Any) -> Tensor:
        options["exchange"] = "gather"
        return keys(b, weights=pair_weights(b), **{"memory": "tiled"} | options)

    return [
        in_tiles(f"supcon[{form}]", supervised_oracle(form), True, plain),
        in_tiles(f"supcon[{form},keys]", supervised_oracle(form, keys=True), True, keys),
        in_tiles(f"supcon[{form},weights,keys]", supervised_oracle(form, weighted=True, keys=True), True, weighted),
    ]


TILED = [
    in_tiles("info_nce", info_nce_oracle(keys=False), False, _nce),
    in_tiles("info_nce[keys]", info_nce_oracle(keys=True), False, lambda b, **o: _nce(b, keys=b.keys, **o)),
    in_tiles(
        "info_nce[moco]",
        info_nce_oracle(keys=True, in_batch=False),
        False,
        lambda b, **o: _nce(b, keys=b.keys, in_batch=False, **o),
    ),
    in_tiles(
        "clip_loss", clip_oracle, False, lambda b, **o: clip_loss(b.z[:, 0], b.z[:, 1], scale=1 / b.temperature, **o)
    ),
    in_tiles(
        "clip_loss[label_smoothing]",
        smooth_clip_oracle(0.2),
        False,
        lambda b, **o: clip_loss(b.z[:, 0], b.z[:, 1], scale=1 / b.temperature, label_smoothing=0.2, **o),
    ),
    *(
        in_tiles(
            f"nt_xent[{form}]",
            supervised_oracle(form),
            True,
            lambda b, form=form, **o: nt_xent(b.z, b.labels, temperature=b.temperature, form=form, **o),
        )
        for form in ("pair", "out", "in")
    ),
    in_tiles("hcl", hcl_oracle, True, lambda b, **o: hcl(b.z, b.labels, temperature=b.temperature, **o), **COUNTED),
    *_tiled_supervised("out"),
    *_tiled_supervised("in"),
    *TILED_EVIDENTIAL,
    *RELATED[1::2],
    *PAIRWISE[1::2],
    *GRAPHS[1::2],
]

LOSS_CASES: list[LossCase] = [
    LossCase(
        "info_nce",
        lambda b: info_nce(b.z[:, 0], b.z[:, 1], temperature=b.temperature),
        lambda b: InfoNCE(temperature=b.temperature)(b.z[:, 0], b.z[:, 1]),
        info_nce_oracle(keys=False),
        labelled=False,
    ),
    LossCase(
        "info_nce[keys]",
        lambda b: info_nce(b.z[:, 0], b.z[:, 1], temperature=b.temperature, keys=b.keys),
        lambda b: InfoNCE(temperature=b.temperature)(b.z[:, 0], b.z[:, 1], b.keys),
        info_nce_oracle(keys=True),
        labelled=False,
    ),
    LossCase(
        "info_nce[moco]",
        lambda b: info_nce(b.z[:, 0], b.z[:, 1], temperature=b.temperature, keys=b.keys, in_batch=False),
        lambda b: InfoNCE(temperature=b.temperature, in_batch=False)(b.z[:, 0], b.z[:, 1], b.keys),
        info_nce_oracle(keys=True, in_batch=False),
        labelled=False,
    ),
    LossCase(
        "clip_loss",
        lambda b: clip_loss(b.z[:, 0], b.z[:, 1], scale=1 / b.temperature),
        _clip_module,
        clip_oracle,
        labelled=False,
    ),
    LossCase(
        "clip_loss[label_smoothing]",
        lambda b: clip_loss(b.z[:, 0], b.z[:, 1], scale=1 / b.temperature, label_smoothing=0.2),
        lambda b: _clip_module(b, label_smoothing=0.2),
        smooth_clip_oracle(0.2),
        labelled=False,
    ),
    *(_nt_xent(form) for form in ("pair", "out", "in")),
    *_supcon("out"),
    *_supcon("in"),
    LossCase(
        "hcl",
        lambda b: hcl(b.z, b.labels, temperature=b.temperature),
        lambda b: HCL(temperature=b.temperature)(b.z, b.labels),
        hcl_oracle,
        labelled=True,
        skips=COUNTED,
    ),
    *PLACES,
    *MIRROR,
    *EVIDENTIAL,
    *RELATED[::2],
    *PAIRWISE[::2],
    *GRAPHS[::2],
    *TILED,
]
BY_NAME = {case.name: case for case in LOSS_CASES}
