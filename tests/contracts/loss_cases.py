"""The registry of losses under contract: add a `LossCase` here and every suite (contracts, distributed) runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from evidential_oracle import principled_oracle
from graph_oracles import graph_oracle, node_oracle
from group_oracles import group_oracle, place_oracle, temporal_inputs, temporal_oracle
from loss_oracles import (
    clip_oracle,
    hcl_oracle,
    info_nce_oracle,
    pair_weights,
    pairwise_oracle,
    related_oracle,
    smooth_clip_oracle,
    supervised_oracle,
    teacher,
)
from mirror_oracles import focal_oracle, maps, mirror_ids, mirror_oracle, published_oracle, spectral_oracle

from nearfar.losses import (
    HCL,
    CLIPLoss,
    EvidentialLoss,
    FocalFrequency,
    G2GInfoNCE,
    GroupAttraction,
    InfoNCE,
    MirrorNCE,
    NodeInfoNCE,
    NTXent,
    PairwiseInfoNCE,
    PlaceNCE,
    Relations,
    SpectralContrast,
    SupConLoss,
    TemporalNCE,
    clip_loss,
    evidential,
    focal_frequency,
    g2g_info_nce,
    group_attraction,
    hcl,
    info_nce,
    mirror_nce,
    node_info_nce,
    nt_xent,
    pairwise_info_nce,
    place_nce,
    published_mirror_loss,
    spectral_contrast,
    supcon,
    temporal_nce,
)
from nearfar.losses.core import tile


@dataclass(frozen=True)
class LossBatch:
    """z [n, V, D]; labels and uid [n] (uid: unique over ranks); keys [K, D] and key_labels [K], equal on all ranks."""

    z: Tensor
    labels: Tensor
    uid: Tensor
    keys: Tensor
    key_labels: Tensor
    temperature: float = 0.2

    def rows(self, index: Tensor) -> LossBatch:
        return replace(self, z=self.z[index], labels=self.labels[index], uid=self.uid[index])


def make_batch(labels: list[int], *, views: int = 2, dim: int = 4, dtype: torch.dtype = torch.float64) -> LossBatch:
    source = torch.Generator().manual_seed(5)
    n = len(labels)
    z = torch.randn(n, views, dim, generator=source, dtype=torch.float64).to(dtype)
    keys = torch.randn(3, dim, generator=source, dtype=torch.float64).to(dtype)
    return LossBatch(z, torch.tensor(labels), torch.arange(n), keys, torch.tensor([0, 1, -1]))


Loss = Callable[[LossBatch], Tensor]


@dataclass(frozen=True)
class LossCase:
    """A loss in three forms. `labelled`: positives come from labels, so there may be none; otherwise V must be 2."""

    name: str
    function: Loss
    module: Loss
    oracle: Callable[[LossBatch], float] | None
    labelled: bool
    skips: dict[str, str] = field(default_factory=dict)
    """tests of the contract that the formula cannot meet: name -> reason"""


# Calls


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


STOPPED = {
    "test_gradcheck": "weights and beta carry no gradient by definition; tests/losses/test_evidential.py freezes them"
}
COUNTED = {"test_anchors_without_positive_leave_the_mean": "the formula counts or ranks the other rows, a lone one too"}


def _evidential(
    name: str,
    oracle: Callable[[LossBatch], float] | None = None,
    *,
    skips: dict[str, str],
    keys: bool = False,
    progress: float = 0.3,
    **options: Any,
) -> LossCase:
    def bank(b: LossBatch) -> dict[str, Tensor]:
        return {"keys": b.keys, "key_labels": b.key_labels} if keys else {}

    def function(b: LossBatch) -> Tensor:
        return evidential(b.z, b.labels, b.uid, progress=progress, temperature=b.temperature, **options, **bank(b))

    def module(b: LossBatch) -> Tensor:
        loss = EvidentialLoss(temperature=b.temperature, **options)
        return loss(b.z, b.labels, b.uid, progress=progress, **bank(b))

    return LossCase(f"evidential[{name}]", function, module, oracle, labelled=True, skips=skips)


EVIDENTIAL = [
    _evidential("principled", principled_oracle(progress=0.3), skips=STOPPED | COUNTED),
    _evidential(
        "gamma 0", principled_oracle(progress=0.3, gamma=0.0, margin=0.5), skips=STOPPED, gamma=0.0, margin=0.5
    ),
    _evidential(
        "keys,balanced",
        principled_oracle(progress=0.3, keys=True, balanced=True),
        skips=STOPPED | COUNTED,
        keys=True,
        class_balanced=True,
    ),
    _evidential("log_likelihood_ratio", skips=STOPPED | COUNTED, evidence="log_likelihood_ratio"),
    _evidential("neighbourhood", skips=STOPPED | COUNTED, evidence="neighbourhood", neighbours=3),
    _evidential("reference", skips={}, mode="reference", progress=0.0),
    _evidential(
        "reference,class", skips=COUNTED, mode="reference", rank_scope="class", eps=None, self_is_negative=False
    ),
    _evidential("later", skips=COUNTED, mode="later"),
]

UNCOMPILED = {"test_compile_equals_eager": "loops over tiles stay out of the graph; tests/losses/core compiles them"}


def in_tiles(
    name: str, oracle: Callable[[LossBatch], float] | None, labelled: bool, call: Any, **skips: str
) -> LossCase:
    """A case in tiles of three rows: call(batch, memory=..., exchange=...)."""

    def function(b: LossBatch) -> Tensor:
        with tile(3):
            return call(b, memory="tiled")

    def round_a_ring(b: LossBatch) -> Tensor:
        with tile(3):
            return call(b, exchange="ring")

    return LossCase(f"{name}[tiled]", function, round_a_ring, oracle, labelled, UNCOMPILED | skips)


def _tiled_evidential(
    name: str,
    oracle: Callable[[LossBatch], float] | None = None,
    *,
    skips: dict[str, str],
    keys: bool = False,
    ring: bool = True,
    progress: float = 0.3,
    **options: Any,
) -> LossCase:
    def call(b: LossBatch, memory: str = "auto", exchange: str = "gather") -> Tensor:
        bank = {"keys": b.keys, "key_labels": b.key_labels} if keys else {}
        chosen = {"memory": memory, "exchange": exchange} if ring else {"memory": "tiled"}
        loss = EvidentialLoss(temperature=b.temperature, **options, **chosen)
        return loss(b.z, b.labels, b.uid, progress=progress, **bank)

    return in_tiles(f"evidential[{name}]", oracle, True, call, **skips)


TILED_EVIDENTIAL = [
    _tiled_evidential("principled", principled_oracle(progress=0.3), skips=STOPPED | COUNTED),
    _tiled_evidential(
        "gamma 0", principled_oracle(progress=0.3, gamma=0.0, margin=0.5), skips=STOPPED, gamma=0.0, margin=0.5
    ),
    _tiled_evidential(
        "keys,balanced",
        principled_oracle(progress=0.3, keys=True, balanced=True),
        skips=STOPPED | COUNTED,
        keys=True,
        class_balanced=True,
    ),
    _tiled_evidential("log_likelihood_ratio,keys", skips=STOPPED | COUNTED, keys=True, evidence="log_likelihood_ratio"),
    _tiled_evidential("reference", skips={}, ring=False, mode="reference", progress=0.0),
    _tiled_evidential(
        "reference,class",
        skips=COUNTED,
        ring=False,
        mode="reference",
        rank_scope="class",
        eps=None,
        self_is_negative=False,
    ),
    _tiled_evidential("later", skips=COUNTED, ring=False, mode="later"),
    _tiled_evidential("reference evidence", skips=STOPPED | COUNTED, ring=False, evidence="reference"),
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


def _related(use: str, *, ids: bool, similar: bool, keys: bool = False) -> list[LossCase]:
    """InfoNCE (with keys) or CLIP where something is known of its pairs, dense and in tiles."""

    def call(b: LossBatch, **options: Any) -> Tensor:
        if similar:
            options.pop("exchange", None)
            options.setdefault("memory", "tiled")
        t = teacher(b)
        known = Relations(b.labels if ids else None, (t, t.flip(1)) if similar else None, use, 0.4, 0.3)  # type: ignore[arg-type]
        views = b.z[:, 0], b.z[:, 1]
        if keys:
            return info_nce(*views, temperature=b.temperature, keys=b.keys, relations=known, **options)
        return clip_loss(*views, scale=1 / b.temperature, relations=known, **options)

    name = f"{'info_nce,keys' if keys else 'clip_loss'}[{use},{'ids' if ids else ''},{'similar' if similar else ''}]"
    oracle = related_oracle(use, ids, similar, keys, 1 if keys else 2)
    dense = LossCase(name, lambda b: call(b, memory="dense"), lambda b: call(b, memory="dense"), oracle, labelled=False)
    return [dense, in_tiles(name, oracle, False, call)]


RELATED = [
    *_related("ignore", ids=True, similar=False),
    *_related("ignore", ids=False, similar=True, keys=True),
    *_related("weigh", ids=True, similar=True),
    *_related("target", ids=True, similar=False, keys=True),
    *_related("target", ids=True, similar=False),
    *_related("target", ids=True, similar=True),
]

PAIRS = {("image", "text"): 0.5, ("boxes", "image"): 0.25, ("text", "boxes"): 1.0}


def _pairwise(form: str, **skips: str) -> list[LossCase]:
    """Three modalities, dense and in tiles; form: plain, groups (equal captions), labels, or present."""

    def inputs(b: LossBatch) -> tuple[dict[str, Tensor], dict[str, Any]]:
        z = {"image": b.z[:, 0], "text": b.z[:, 1], "boxes": b.z[:, 1].roll(1, 1)}
        known = {"groups": {"groups": {"text": b.labels}}, "labels": {"labels": b.labels}}
        present = {"present": torch.stack([b.uid % 4 != k for k in range(3)], 1)}
        return z, (known | {"present": present}).get(form, {})

    def call(b: LossBatch, **options: Any) -> Tensor:
        z, known = inputs(b)
        return pairwise_info_nce(z, scale=1 / b.temperature, weights=PAIRS, **known, **options)[0]

    def module(b: LossBatch) -> Tensor:
        z, known = inputs(b)
        loss = PairwiseInfoNCE(PAIRS, temperature=b.temperature, largest=200.0).to(b.z.dtype)
        value: Tensor = loss(z, **known)[0]
        return value

    name, oracle = f"pairwise[{form}]", pairwise_oracle(form, PAIRS)
    dense = LossCase(name, lambda b: call(b, memory="dense"), module, oracle, labelled=False, skips=skips)
    return [dense, in_tiles(name, oracle, False, call, **skips)]


SELECTED = {"test_compile_equals_eager": "how many rows hold both modalities is only known at run time"}
PAIRWISE = [
    *_pairwise("plain"),
    *_pairwise("groups"),
    *_pairwise("labels"),
    *_pairwise("present", **SELECTED),
]


def _graphs(name: str, loss: Any, twin: Any, oracle: Callable[[LossBatch], float], **options: Any) -> list[LossCase]:
    """Two views of graphs or nodes, dense and in tiles."""

    def call(b: LossBatch, **how: Any) -> Tensor:
        return loss(b.z[:, 0], b.z[:, 1], temperature=b.temperature, **options, **how)

    def module(b: LossBatch) -> Tensor:
        return twin(temperature=b.temperature, **options)(b.z[:, 0], b.z[:, 1])

    return [LossCase(name, call, module, oracle, labelled=False), in_tiles(name, oracle, False, call)]


GRAPHS = [
    *_graphs("g2g_info_nce", g2g_info_nce, G2GInfoNCE, graph_oracle),
    *_graphs("node_info_nce", node_info_nce, NodeInfoNCE, node_oracle(True)),
    *_graphs("node_info_nce[other view]", node_info_nce, NodeInfoNCE, node_oracle(False), same_view=False),
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
    *(_group_attraction(form) for form in ("attract", "simclr", "reference_margin")),
    _places(in_batch=True),
    _places(in_batch=False),
    *(_temporal(negatives) for negatives in ("queue", "other_keys", "caco")),
    *MIRROR,
    *EVIDENTIAL,
    *RELATED[::2],
    *PAIRWISE[::2],
    *GRAPHS[::2],
    *TILED,
]
BY_NAME = {case.name: case for case in LOSS_CASES}
