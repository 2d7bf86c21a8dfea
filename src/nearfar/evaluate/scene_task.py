"""What segmentation and change detection share: from a run and labelled scenes to a head, numbers and pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nearfar.config import DataConfig, EvalConfig
from nearfar.data.sample import band_names
from nearfar.data.scenes import SceneSet, open_scenes
from nearfar.errors import ConfigError, NearfarError
from nearfar.evaluate.decoders import build_decoder
from nearfar.evaluate.dense import DenseModel, Kind, layout
from nearfar.evaluate.dense_fit import Fit, fit_decoder
from nearfar.evaluate.dense_maps import DenseMaps
from nearfar.evaluate.embed import run_encoder
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.heads import Predictor, predictor, save_head
from nearfar.evaluate.scene_test import SceneResult, judge, pictures
from nearfar.evaluate.tiles import Tiles, tile_statistics, tiles_of
from nearfar.evaluate.transfer import BandChoice, choose_bands, set_statistics

if TYPE_CHECKING:
    from nearfar.train.run import Run

TILES = {"segment": 128, "change": 96}
WIDTH = 16  # channels of the decoder's finest level
SPLITS = (0.6, 0.2, 0.2)
"""shares where the data bring no split; where they bring no validation scenes, a quarter of training is held out"""


@dataclass(frozen=True)
class SceneOutcome:
    """A head trained, kept in the run folder, and judged on the test scenes."""

    scenes: SceneSet
    results: list[SceneResult]
    settings: dict[str, Any]

    @property
    def confusions(self) -> Any:
        """[S, K, K], a scene a row."""
        return np.stack([result.confusion for result in self.results])


def run_scenes(run: Run, config: EvalConfig, kind: Kind) -> SceneOutcome:
    """Train a head for `kind` on the training scenes, keep it, judge it on the test scenes.

    Writes heads/KIND.safetensors and arrays/KIND.npz, which also holds `confusions` [S, K, K] and `scene` [S] of every
    test scene, for comparisons of runs on the same scenes. Raises ConfigError where there are no data for the task,
    DataError where a split is empty.
    """
    scenes = labelled_scenes(run, config, kind)
    model, choice, side = _model(run, config, scenes, kind)
    train, test = scenes.of_split("train"), scenes.of_split("test")
    val = [scene for scene in scenes.scenes if scene.split == "val"]
    parts = {name: Tiles(tiles_of(s, side), choice, model, side) for name, s in (("train", train), ("val", val))}
    fit = fit_decoder(model, parts["train"], parts["val"], config.decoder_epochs, config.seed)
    meta = _meta(config, scenes, model, choice, fit)
    _keep(run, meta, model)
    tested = ready(meta, model)
    bands = band_names(scenes.channels)
    results = [judge(tested, scene, choice.channels) for scene in test]
    arrays = pictures(results, scenes, bands)
    counted = {"confusions": np.stack([r.confusion for r in results]), "scene": np.array([r.scene.id for r in results])}
    save_arrays(run.arrays / f"{kind}.npz", **arrays, **counted)
    sizes = {f"{name}_tiles": len(part) for name, part in parts.items()}
    return SceneOutcome(scenes, results, {**_settings(config, meta, fit), **sizes})


def labelled_scenes(run: Run, config: EvalConfig, kind: Kind) -> SceneSet:
    """The scenes of the task: those of `config`, or else the run's own data where they are such scenes.

    Raises ConfigError where neither serves or the scenes are of another kind.
    """
    root: Path | None = getattr(config, kind)
    given = None if root is None else DataConfig(root=root, protocol=config.protocol, splits=SPLITS)
    scenes = _own_scenes(run, kind) if given is None else open_scenes(given)
    if scenes.kind != kind:
        raise ConfigError(f"the scenes are for {scenes.kind}", where=f"eval.{kind}", found=root, expected=kind)
    return scenes


def ready(meta: dict[str, Any], model: DenseModel) -> Predictor:
    """The predictor that the head's file will give, from the model in memory."""
    _, multiple = layout(model.encoder)
    window = model.encoder.config.size if model.encoder.grid is not None else 0
    return predictor(meta, DenseMaps(model, tuple(meta["index"]), multiple, meta["threshold"], window))


def _own_scenes(run: Run, kind: Kind) -> SceneSet:
    try:
        scenes = open_scenes(run.config.data)
    except NearfarError:
        scenes = None
    if scenes is None or scenes.kind != kind:
        raise ConfigError(
            f"no labelled scenes for {kind}",
            where=f"eval.{kind}",
            fix=f"Name their folder: nearfar eval RUN --task {kind} --root DATA.",
        )
    return scenes


def _model(run: Run, config: EvalConfig, scenes: SceneSet, kind: Kind) -> tuple[DenseModel, BandChoice, int]:
    encoder = run_encoder(run)
    choice = choose_bands(encoder, band_names(scenes.channels), scenes.sensor)
    side = encoder.config.size if encoder.grid is not None else config.tile or TILES[kind]
    if config.statistics == "target":
        set_statistics(encoder, *tile_statistics(tiles_of(scenes.of_split("train"), side), choice, side))
    side_by_side = config.group_maps == "each"
    widths, _ = layout(encoder, side_by_side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoder = build_decoder(config.decoder, widths, len(scenes.classes), WIDTH)
    model = DenseModel(encoder, decoder.to(encoder.mean.device), kind, config.finetune, side_by_side)
    return model, choice, side


def _meta(config: EvalConfig, scenes: SceneSet, model: DenseModel, choice: BandChoice, fit: Fit) -> dict[str, Any]:
    return {
        "task": model.kind,
        "classes": list(scenes.classes),
        "times": 2 if model.kind == "change" else 1,
        "bands": list(choice.bands),
        "sensor": choice.sensor,
        "index": list(choice.index),
        "size_multiple": layout(model.encoder)[1],
        "colours": None if scenes.colours is None else np.asarray(scenes.colours).tolist(),
        "gsd": scenes.gsd,
        "decoder": config.decoder,
        "decoder_width": WIDTH,
        "group_maps": config.group_maps,
        "threshold": fit.threshold,
        "statistics": config.statistics,
    }


def _keep(run: Run, meta: dict[str, Any], model: DenseModel) -> None:
    state: dict[str, Tensor] = {f"decoder.{k}": v for k, v in model.decoder.state_dict().items()}
    if model.finetune:
        state |= {f"encoder.{k}": v for k, v in model.encoder.state_dict().items()}
    save_head(run, meta["task"], {**state, "mean": model.encoder.mean, "std": model.encoder.std}, meta)


def _settings(config: EvalConfig, meta: dict[str, Any], fit: Fit) -> dict[str, Any]:
    names = ("decoder", "group_maps", "statistics", "threshold", "bands", "sensor")
    score = None if math.isnan(fit.score) else fit.score
    chosen = {"epochs": fit.epochs, "best_epoch": fit.best_epoch, "validation_score": score}
    return {**{name: meta[name] for name in names}, **chosen, "finetuned": config.finetune, "seed": config.seed}
