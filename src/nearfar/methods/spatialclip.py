"""SpatialCLIP: a picture, its caption and its labelled boxes, aligned with each other and judged together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar import parallel
from nearfar.config import Stage, ViewsConfig
from nearfar.data import SampleDataset
from nearfar.data.study import MODALITIES, OBJECT_CLASSES, StudyDataset
from nearfar.encoders.boxes import BoxSetEncoder
from nearfar.encoders.gates import Fusion
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.encoders.text import WordTokenizer, build_text, tokenizer_from_state
from nearfar.errors import ConfigError, DataError
from nearfar.losses.classification import preservation
from nearfar.methods import spatialclip_losses as losses
from nearfar.methods.base import Batch, Method, Output, Projections, check_views, labels_of
from nearfar.methods.spatialclip_config import PAIRS, PARTS, SpatialClipConfig, check
from nearfar.methods.spatialclip_features import ModalityFeatures
from nearfar.methods.spatialclip_inputs import present, require, single_to_batch, to_predict, tokenised
from nearfar.methods.spatialclip_parts import Anchors, Classifier, alignment_heads, dropped, full
from nearfar.spatial.boxes import trim
from nearfar.views.study import StudyViews


class SpatialCLIP(Method):
    """SpatialCLIP (published code: ZhuyuanQin/SpatialCLIP), as its authors describe it rather than as that code trains.

    Of each modality k (image, text, boxes) an encoder gives features f_k, a projection the unit embedding e_k:

        logit  = w . fusion(g e_image, g e_text, g e_boxes) + b,    g = exp(log_gain) learned
        a_k    = head_k(f_k), of unit length: what is aligned, apart from what the classifier sees
        loss   = binary_loss(logit, label) + sum over pairs of weight_kl clip_loss(a_k, a_l, scale)
                 + preservation * mean of 1 - cos(f_k, f_k at the beginning)
                 + structures * binary_loss(which classes of boxes there are, from f_image)

    Batches have `image`, `text` (list of captions), `objects` [B, M, 5], `object_labels` [B, M] and `label` (0 or 1),
    perhaps `present` bool [B, 3]: which modalities there are. Samples without a label take no part in the loss.
    `prepare` takes the vocabulary and the names of the classes of boxes from the training data; both are in the state.

    Raises ConfigError, and DataError for batches that lack a modality without saying so.
    """

    Config = SpatialClipConfig
    config: SpatialClipConfig
    needs_labels = True
    class_counts: Tensor
    head_scale: Tensor

    def __init__(self, config: SpatialClipConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        views = views if views is not None else ViewsConfig(recipe="study", count=1, flip_horizontal=0.0, strength=0.1)
        check(config, views)
        super().__init__(config, encoder, views)
        self.tokenizer, self.text_encoder = build_text(config.text, None)
        self._set_classes(OBJECT_CLASSES)
        text_dim = cast(int, self.text_encoder.feature_dim)
        widths = {"image": encoder.feature_dim, "text": text_dim, "boxes": config.box_dim}
        self.projections = nn.ModuleDict({name: nn.Linear(width, config.dim) for name, width in widths.items()})
        self.classifier = Classifier(Fusion(config.dim, config.fusion, len(MODALITIES)), config.learn_gain)
        self.head, self.heads = alignment_heads(config, widths)
        scale = torch.tensor(-math.log(config.temperature))
        if config.learn_temperature:
            self.head_scale = nn.Parameter(scale)
        else:
            self.register_buffer("head_scale", scale)
        self.anchors = Anchors(self._learned() if config.preservation else {})
        self.register_buffer("class_counts", torch.ones(2, dtype=torch.int64))
        self.weights = config.weights()
        still = StudyViews(self.views_config, encoder.channels, encoder.config.size).still
        self.cached = ModalityFeatures(config.cache and still, padding=config.box_variant != "default")

    # What is learned of the training data, and the state.

    def prepare(self, dataset: SampleDataset) -> None:
        """Vocabulary, classes of boxes, scale of their geometry and class counts, of the training data. DataError."""
        if not isinstance(dataset, StudyDataset):
            raise DataError(
                "SpatialCLIP learns from a study: images with captions and labelled boxes",
                found=type(dataset).__name__,
                fix="Give --data.train FILE.json, or --data.root with train.json, val.json and test.json.",
            )
        if self.config.text.kind == "word":
            self.tokenizer = WordTokenizer.build(dataset.captions, self.config.text.vocabulary, self.config.text.length)
        self._set_classes(tuple(dataset.object_classes))
        device = self.class_counts.device
        self.box_encoder.standardise(*(part.to(device) for part in trim(*dataset.all_objects())))
        counts = np.bincount(dataset.labels[dataset.labels >= 0], minlength=2)
        self.class_counts.copy_(torch.from_numpy(counts))

    def get_extra_state(self) -> Tensor:
        """Tokenizer and classes of boxes as bytes of JSON: a tensor, which every way of saving takes."""
        told = {"tokenizer": self.tokenizer.state(), "object_classes": self.object_classes}
        return torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """Take the saved tokenizer and classes. Raises ConfigError where they are of another configuration."""
        told = json.loads(bytes(state.tolist()))
        saved = told["tokenizer"]
        if saved["kind"] != self.tokenizer.kind:
            raise ConfigError(
                "the weights were learned with another tokenizer",
                where="method.text.kind",
                found=self.tokenizer.kind,
                expected=saved["kind"],
            )
        self.tokenizer = tokenizer_from_state(saved, self.config.text.path)
        self._set_classes(tuple(told["object_classes"]))

    def _set_classes(self, names: tuple[str, ...]) -> None:
        self.object_classes = names
        old = getattr(self, "box_encoder", None)
        if old is not None and old.classes == len(names):
            return
        config = self.config
        made = BoxSetEncoder(
            len(names),
            config.box_dim,
            config.box_heads,
            config.box_layers,
            config.box_relations and config.box_variant == "default",
            config.box_drop,
            config.box_variant,
            config.box_feedforward or None,
        )
        told = nn.Linear(self.encoder.feature_dim, len(names)) if config.structures else None
        device = self.encoder.mean.device
        self.box_encoder, self.structure_head = made.to(device), told.to(device) if told is not None else None

    def _learned(self) -> dict[str, nn.Module]:
        """The encoders that preservation compares with what they were."""
        encoders: dict[str, nn.Module] = {"image": self.encoder, "text": self.text_encoder}
        return {name: encoder for name, encoder in encoders.items() if name in self.config.modalities}

    # Stages.

    @property
    def loss_parts(self) -> tuple[str, ...]:  # type: ignore[override]
        """Parts that a stage may weigh; preservation and structures only where the configuration has them."""
        absent = {name for name in ("preservation", "structures") if not getattr(self.config, name)}
        return tuple(part for part in PARTS if part not in absent)

    def set_stage(self, stage: Stage) -> None:
        """Take its loss weights; what is preserved are the encoders as the first stage finds them that trains any."""
        configured = self.config.weights()
        self.weights = {**configured, **{k: v for k, v in stage.losses.items() if k in configured}}
        trained = [name for name, _ in self.named_parameters() if any(fnmatchcase(name, p) for p in stage.train)]
        learns = any(name.startswith(("encoder.", "text_encoder.")) for name in trained)
        if self.config.preservation and learns and not self.anchors.taken:
            self.anchors.remember(self._learned(), taken=True)

    def train(self, mode: bool = True) -> SpatialCLIP:
        super().train(mode)
        self.anchors.eval()
        return self

    def after_step(self) -> None:
        with torch.no_grad():
            self.head_scale.clamp_(0.0, math.log(self.config.largest_scale))

    def chance(self, batch_size: int) -> float:
        """The loss of guessing: the entropy of the labels, and of each pair the log of the batch."""
        share = self.class_counts.double() / self.class_counts.sum()
        aligned = sum(self.weights.get(f"{a}-{b}", 0.0) for a, b in PAIRS)
        entropy = float(torch.special.entr(share).sum())
        return self.weights["classify"] * entropy + aligned * math.log(max(1, batch_size))

    # One step.

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """As `Method.views`, with `objects_views` [B, 1, M, 5]; and what `project` needs besides.

        `text_ids` int64 [B, L], `text_mask` bool [B, L]; `text_group` int64 [B], equal for equal captions; `shown`
        bool [B, 3], the modalities there are after modality dropout.
        """
        require(sample, self.config.modalities)
        if sample["image"].ndim == 3:
            return {**{key: value[0] for key, value in self.views(single_to_batch(sample)).items()}, **sample}
        batch = super().views(sample)
        if "text" in self.config.modalities:
            batch |= tokenised(self.tokenizer, sample, sample["image"].device)
        batch["shown"] = present(batch, self.config.modalities)
        if self.training and self.config.modality_dropout:
            batch["shown"] = dropped(batch["shown"], batch["seed"], self.config.modality_dropout)
        return batch

    def project(self, batch: Batch) -> Projections:
        """{"logit" [B], "a/image" .. [B, D], "scale" [B], its logarithm, and where they count "preserved" [B] and
        "structures" [B, classes]}.

        The scale goes through here so that a two-pass step and DDP see its gradient like that of any other weight.
        """
        check_views(batch["views"])
        shown = batch["shown"] if "shown" in batch else present(batch, self.config.modalities)
        features = {name: self._features(name, batch) for name in self.config.modalities}
        z = self._embeddings(features)
        out = {"logit": self._judged(z, shown)[0], **self._aligned(features, z)}
        out["scale"] = self.head_scale.expand(len(shown))
        if self.weights["preservation"]:
            out["preserved"] = self._preserved(features, batch)
        if self.structure_head is not None:
            seen = features["image"] if "image" in features else self._features("image", batch)
            out["structures"] = full(self.structure_head(seen))
        if parallel.world_size() > 1 and len(self.config.modalities) < len(MODALITIES):
            out["logit"] = out["logit"] + self._unseen()
        return out

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The weighted sum of the parts, over samples with a label, and each part by name."""
        labels = labels_of(batch).to(projections["logit"].device)
        rows = labels >= 0
        z = {name: value[rows] for name, value in projections.items()}
        names = ("shown", "present", "text_group", "object_labels")
        known = {name: batch[name][rows] for name in names if name in batch}
        return losses.weighted(z, known, labels[rows], self.config, self.weights, self.class_counts)

    # What the classifier and the alignment see.

    def _features(self, name: str, batch: Batch) -> Tensor:
        return self.cached(name, self._encoder(name), batch)

    def _encoder(self, name: str) -> nn.Module:
        return {"image": self.encoder, "text": self.text_encoder, "boxes": self.box_encoder}[name]

    def _embeddings(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit embeddings [B, dim] by modality."""
        return {name: F.normalize(full(self.projections[name](f)), dim=1) for name, f in features.items()}

    def _judged(self, z: Mapping[str, Tensor], shown: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B], and gates [B, 3] where the fusion has them."""
        empty = torch.zeros_like(next(iter(z.values())))
        used = torch.tensor([name in z for name in MODALITIES], device=shown.device)
        judged = self.classifier(torch.stack([z.get(name, empty) for name in MODALITIES], 1), shown & used)
        return cast(tuple[Tensor, Tensor | None], judged)

    def _aligned(self, features: Mapping[str, Tensor], z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit embeddings that are compared over modalities, as "a/image" and so on."""
        if self.config.shared_heads:
            return {f"a/{name}": value for name, value in z.items()}
        heads = {"image": self.head, **self.heads}
        sources = {name: f.detach() if self.config.detach else f for name, f in features.items()}
        return {f"a/{name}": F.normalize(full(heads[name](f)), dim=1) for name, f in sources.items()}

    def _unseen(self) -> Tensor:
        """Zero, with the weights of modalities that are not seen in its graph: DDP waits for the gradient of each.

        They are not frozen, so that the patterns of stages mean the same whatever modalities a run leaves out.
        """
        heads = {"image": self.head, **self.heads}
        names = [name for name in MODALITIES if name not in self.config.modalities]
        parts = [part for name in names for part in (self._encoder(name), self.projections[name], heads.get(name))]
        weights = {p for part in parts if part is not None for p in part.parameters() if p.requires_grad}
        return torch.stack([self.class_counts.sum() * 0.0, *(p.sum() * 0.0 for p in weights)]).sum()

    def _preserved(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B]: 1 - cosine to the features of the copies, summed over encoders."""
        changes = []
        for name, frozen in self.anchors.copies.items():
            with torch.no_grad():
                before = self.cached(name, frozen, batch, cache=f"anchor {name}")
            changes.append(preservation(features[name], before))
        return torch.stack(changes).sum(0)

    # After training.

    @torch.no_grad()
    def predict(self, batch: Mapping[str, Any], drop: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """What the method says of unaugmented samples, in evaluation mode, on its device; modes are restored.

        {"logit" [B], "gates" [B, 3] (not with concat), "z/image" .. [B, dim], what the classifier sees, "a/image" ..
        [B, D], what is aligned}, both of unit length, zero where the modality is missing: by `present`, because the
        batch has no such key, or because it is named in `drop`. Raises ConfigError for unknown names, DataError for
        a sample of which nothing is left.
        """
        config, device = self.config, self.class_counts.device
        given, shown = to_predict(batch, self.tokenizer, config.modalities, drop, device)
        column = {name: shown[:, MODALITIES.index(name), None] for name in config.modalities}
        with evaluating(self):
            features = {name: self._features(name, given) for name in config.modalities if column[name].any()}
            z = self._embeddings(features)
            logit, gates = self._judged(z, shown)
            named = {**{f"z/{name}": value for name, value in z.items()}, **self._aligned(features, z)}
        out = {"logit": logit} if gates is None else {"logit": logit, "gates": gates}
        return out | {name: torch.where(column[name[2:]], value, 0.0) for name, value in named.items()}
