"""What a method that fuses several modalities says of samples: logits, gates, embeddings, and those of changed input.

Such a method has `predict(batch, drop=())`, see `nearfar.methods.spatialclip`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import Batch, make_loader
from nearfar.data.study import MODALITIES, StudyDataset
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.attribution import leave_one_out

if TYPE_CHECKING:
    from nearfar.train.run import Run

Array = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """What a method says of n samples and what is known about them, row by row in the order of the dataset."""

    logit: Array
    """float64 [n], of label 1"""
    gates: Array | None
    """float64 [n, 3]; None where the fusion has none"""
    z: dict[str, Array]
    """by modality: embeddings [n, D] that the classifier sees"""
    aligned: dict[str, Array]
    """by modality: embeddings of length 1 that the alignment compares; empty where there is none"""
    present: Array
    """bool [n, 3], in the order of `MODALITIES`"""
    label: Array
    """int64 [n], -1 where unknown"""
    id: Array
    group: Array
    """the patient of each sample, or the sample's own id: what intervals draw"""
    patient: Array
    """the patient of each sample, "" where unknown"""
    table: dict[str, Array] = field(default_factory=dict)
    """columns of the data [n] by name, "" where unknown"""
    captions: Array | None = None

    def __len__(self) -> int:
        return len(self.logit)

    @property
    def labelled(self) -> Array:
        """Positions of samples whose label is known."""
        return np.flatnonzero(self.label >= 0)

    def where(self, rows: Array) -> Scores:
        """The samples at these positions."""
        chosen: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, dict):
                chosen[item.name] = {name: column[rows] for name, column in value.items()}
            elif value is not None:
                chosen[item.name] = value[rows]
        return replace(self, **chosen)

    def with_modality(self, name: str) -> Array:
        """Positions of the samples that have a modality."""
        return np.flatnonzero(self.present[:, MODALITIES.index(name)])

    def column(self, name: str) -> Array:
        """A column of the data, "" for every sample where the data lack it."""
        return self.table.get(name, np.full(len(self), "", dtype="U1"))


def diagnostic_method(run: Run) -> nn.Module:
    """The run's method, on a GPU where there is one and the run may use it.

    Raises ConfigError where it does not fuse modalities into a diagnosis, ResumeError without a checkpoint, DataError
    where the checkpoint is of another method.
    """
    if not diagnoses(run):
        raise ConfigError(
            "the method of this run makes no diagnosis from image, text and boxes",
            where=run.path,
            found=run.config.preset,
            expected="a run of spatialclip or one of its variants",
        )
    allowed = run.config.train.accelerator != "cpu" and torch.cuda.is_available()
    try:
        return run.method().to("cuda" if allowed else "cpu").eval()
    except RuntimeError as error:  # load_state_dict names every key that does not fit
        raise DataError(
            "the checkpoint is of another method or configuration than config.yaml says",
            where=run.checkpoints,
            found=" ".join(str(error).split())[:160],
            fix="Take the config.yaml that the run was trained with.",
        ) from error


def diagnoses(run: Run) -> bool:
    """Whether the run's method has `predict`; nothing is loaded for it."""
    from nearfar.methods import load_method_class
    from nearfar.presets import PRESETS

    preset = PRESETS.get(run.config.preset)
    return preset is not None and hasattr(load_method_class(preset.method), "predict")


def as_study(dataset: SampleDataset) -> StudyDataset:
    """The dataset, whose samples are images, captions and boxes. Raises DataError where they are not."""
    if not isinstance(dataset, StudyDataset):
        raise DataError(
            "the data are no study of images, captions and boxes",
            where=dataset.root,
            found=type(dataset).__name__,
            fix="Give a JSON file as docs/guides/clinical.md describes it.",
        )
    return dataset


def score(method: Any, dataset: StudyDataset, *, batch_size: int = 64) -> Scores:
    """What the method says of every sample, in evaluation mode and in the dataset's order.

    Raises DataError where there are none, or a logit is not finite (naming the sample).
    """
    if not len(dataset):
        raise DataError("no samples to judge", where=dataset.root)
    loader = make_loader(dataset, batch_size=batch_size, sampler="sequential", drop_last=False)
    parts = [{**predicted(method, batch), "present": batch["present"]} for batch in loader]
    return _scores(dataset, _joined(parts))


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Array]:
    """All batches, one after the other; zeros where one has no embedding, because nothing in it has the modality."""
    like = {name: value for part in parts for name, value in part.items()}
    return {
        name: torch.cat(
            [part.get(name, value.new_zeros(len(part["logit"]), *value.shape[1:])).cpu() for part in parts]
        ).numpy()
        for name, value in like.items()
    }


def predicted(method: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """`method.predict` of a batch that was brought to its device."""
    found: dict[str, Tensor] = method.predict(to_device(batch, device_of(method)))
    return found


def fusing(method: Any) -> Callable[[Mapping[str, Array], Array], Array]:
    """A function (embeddings [n, D] by modality, present bool [n, K] in their order) -> logits float64 [n].

    What `Scores.z` and presence give is `Scores.logit`; nothing is encoded anew.
    """

    def logits(embedded: Mapping[str, Array], present: Array) -> Array:
        some = next(iter(embedded.values()))
        z, there = np.zeros((len(some), len(MODALITIES), some.shape[1]), np.float32), np.zeros((len(some), 3), bool)
        for k, name in enumerate(embedded):
            place = MODALITIES.index(name)
            z[:, place], there[:, place] = embedded[name], present[:, k]
        device = device_of(method)
        with torch.no_grad(), evaluating(method):
            judged, _ = method.classifier(torch.from_numpy(z).to(device), torch.from_numpy(there).to(device))
            return np.asarray(judged.double().cpu().numpy())

    return logits


def box_changes(method: Any, batch: Mapping[str, Any], scores: Scores) -> Array:
    """`leave_one_out` of a batch [B, M], whose `scores` are known: only boxes are encoded anew. NaN without boxes."""
    fuse, names = fusing(method), list(scores.z)
    present = columns(scores.present, names)
    labels = torch.where(batch["present"][:, MODALITIES.index("boxes"), None], batch["object_labels"], -1)
    if "boxes" not in names:
        return np.full(labels.shape, np.nan)

    def logits(objects: Tensor, named: Tensor, rows: Tensor) -> Tensor:
        index = rows.cpu().numpy()
        z = {name: rows_of[index] for name, rows_of in scores.z.items()}
        made = predicted(method, {"objects": objects, "object_labels": named})["z/boxes"]
        return torch.from_numpy(fuse({**z, "boxes": made.float().cpu().numpy()}, present[index]))

    return leave_one_out(logits, batch["objects"], labels).numpy()


def columns(present: Array, names: Sequence[str]) -> Array:
    """The columns of present [n, 3] that belong to these modalities."""
    return present[:, [MODALITIES.index(name) for name in names]]


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def device_of(method: nn.Module) -> torch.device:
    """Where the method's parameters are."""
    return next((p.device for p in method.parameters()), torch.device("cpu"))


def _scores(dataset: StudyDataset, found: Mapping[str, Array]) -> Scores:
    logit = found["logit"].astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(logit))
    if bad.size:
        raise DataError(
            f"{bad.size} of {len(logit)} logits are NaN or infinite",
            where=dataset.ids[bad[0]],
            fix="Check the data with `nearfar data check`, or the run for a diverged model.",
        )
    groups = [group or id for group, id in zip(dataset.groups, dataset.ids, strict=True)]
    return Scores(
        logit=logit,
        gates=found["gates"].astype(np.float64) if "gates" in found else None,
        z={name: found[f"z/{name}"] for name in MODALITIES if f"z/{name}" in found},
        aligned={name: found[f"a/{name}"] for name in MODALITIES if f"a/{name}" in found},
        present=found["present"].astype(bool),
        label=np.asarray(dataset.labels, dtype=np.int64),
        id=np.array(dataset.ids, dtype=np.str_),
        group=np.array(groups, dtype=np.str_),
        patient=np.array(dataset.patients, dtype=np.str_),
        table={name: np.array(values, dtype=np.str_) for name, values in dataset.table.items()},
        captions=np.array(dataset.captions, dtype=np.str_),
    )
