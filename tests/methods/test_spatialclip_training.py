"""SpatialCLIP in the trainer: a loss that falls, what each stage changes, cached features, the state of a run."""

import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar import configio
from nearfar.config import Stage, TextConfig
from nearfar.data import TensorDataset, make_loader
from nearfar.data.open import open_dataset
from nearfar.data.readers.study import Study
from nearfar.encoders.text import WordTokenizer
from nearfar.errors import ConfigError, DataError
from nearfar.methods.spatialclip import SpatialCLIP
from nearfar.presets import DEMOS, PRESETS
from nearfar.train import checkpoint, fit
from nearfar.train.run import Run

sys.path.insert(0, str(Path(__file__).parent))
from studies import make, study

STAGES = (
    Stage("classifier", 2, ("classifier.*", "projections.*", "box_encoder.*"), losses={"image-text": 0.0}),
    Stage("alignment", 1, ("classifier.*", "head*")),
    Stage("encoders", 4, ("*",)),
)
SMALL = {
    "data.size": 16,
    "encoder.name": "nano_cnn",
    "encoder.options": {"width": 8, "depth": 1},
    "encoder.size": 16,
    "method.dim": 16,
    "method.box_dim": 16,
    "method.text.dim": 16,
    "method.text.layers": 1,
    "train.batch_size": 12,
    "train.lr": 3e-3,
    "train.accelerator": "cpu",
    "train.health_every": 0,
}


def configured(root: Path, preset: str = "spatialclip", **more: Any) -> Any:
    return configio.load(
        preset, None, {**SMALL, "data.root": root, **{k.replace("__", "."): v for k, v in more.items()}}
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Study().write_example(tmp_path_factory.mktemp("study"), count=60)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = configured(root, train__stages=STAGES, train__keep=9, method__preservation=0.1)
    return fit(config, tmp_path_factory.mktemp("runs") / "staged")


def test_a_run_lowers_the_loss_and_names_its_stages(run: Run) -> None:
    epochs = [line for line in run.history() if line["kind"] == "epoch"]
    assert [line["stage"] for line in epochs] == ["classifier"] * 2 + ["alignment"] + ["encoders"] * 4
    assert epochs[-1]["loss"] < 0.9 * epochs[2]["loss"]
    assert "parts/image-text" not in epochs[0] and "parts/image-text" in epochs[2]
    assert epochs[0]["loss_baseline"] == pytest.approx(0.693 + 0.08 * 2.485, abs=0.01)


def test_each_stage_changes_what_it_names_and_nothing_else(run: Run) -> None:
    """Every tensor of the checkpoints at the ends of the stages is compared with the one before."""
    found = {int(p.stem.split("-")[1]): p for p in checkpoint.paths(run.checkpoints)}
    states = {step: torch.load(path, weights_only=True)["method"] for step, path in found.items()}
    learned = {name for name, _ in run.method().named_parameters()}
    for first, last, stage in ((3, 6, STAGES[0]), (6, 9, STAGES[1]), (9, 21, STAGES[2])):
        changed = {name for name in learned if not torch.equal(states[first][name], states[last][name])}
        named = {name for name in learned if any(fnmatchcase(name, pattern) for pattern in stage.train)}
        assert changed <= named, stage.name
        assert {name.split(".")[0] for name in changed} == {name.split(".")[0] for name in named}, stage.name
    frozen = {k: v for k, v in states[9].items() if k.startswith(("encoder.", "text_encoder."))}
    copies = {"anchors.copies.image.": "encoder.", "anchors.copies.text.": "text_encoder."}
    for prefix, of in copies.items():
        kept = {k.removeprefix(prefix): v for k, v in states[21].items() if k.startswith(prefix)}
        assert kept and all(torch.equal(frozen[of + name], value) for name, value in kept.items())


def test_a_resumed_run_is_the_uninterrupted_one(run: Run, tmp_path: Path) -> None:
    """Bit for bit, from within the last stage: anchors, vocabulary, dropout of modalities and of units."""
    shutil.copytree(run.path, tmp_path / "again")
    for path in checkpoint.paths(tmp_path / "again" / "checkpoints")[:3]:
        path.unlink()
    again = fit(run.config, tmp_path / "again", resume=True).method().state_dict()
    assert all(torch.equal(again[name], value) for name, value in run.method().state_dict().items())


def test_the_method_of_a_run_knows_words_and_classes(run: Run) -> None:
    method, dataset = run.method(), run.dataset("test")
    assert isinstance(method, SpatialCLIP) and isinstance(method.tokenizer, WordTokenizer)
    assert {"dark", "middle", "in"} <= set(method.tokenizer.words)
    assert method.class_counts.tolist() == [18, 18] and method.object_classes == dataset.object_classes
    batch = next(iter(make_loader(dataset, batch_size=12, sampler="sequential")))
    assert (method.predict(batch)["logit"] > 0).long().eq(batch["label"]).float().mean() > 0.8
    again = run.method()
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.predict(batch)["logit"], method.predict(batch)["logit"])
    assert not torch.allclose(again.predict(batch, drop=("text",))["logit"], method.predict(batch)["logit"])


def test_a_state_of_another_tokenizer_is_refused(run: Run) -> None:
    state = run.method().state_dict()
    with pytest.raises(ConfigError, match=r"another tokenizer.*found byte, expected word"):
        make(text=TextConfig("byte", dim=16, layers=1)).load_state_dict(state)


def test_classes_of_boxes_come_from_the_data_and_the_state(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    names = [*open_dataset(configured(root).data, "train").object_classes, "XX", "YY"]
    labels.write_text("\n".join(f"- {name}" for name in names))
    config = configured(root, data__labels=labels, train__stages=(), train__epochs=1, method__structures=0.1)
    method = fit(config, tmp_path / "run").method()
    assert isinstance(method, SpatialCLIP)
    assert method.object_classes == tuple(names) and method.box_encoder.classes == len(names)
    assert method.structure_head is not None and method.structure_head.out_features == len(names)


def test_data_without_captions_are_refused() -> None:
    with pytest.raises(DataError, match=r"images with captions and labelled boxes.*TensorDataset.*data.train"):
        make().prepare(TensorDataset(torch.rand(4, 1, 16, 16)))


def alone(method: SpatialCLIP, batch: dict[str, Any], row: int) -> dict[str, Tensor]:
    ids, mask = method.tokenizer([batch["text"][row]])
    image = batch["image"][row : row + 1]
    return {"image": method.encoder(image), "text": method.text_encoder(ids, mask)}


def frozen(cache: bool = True) -> SpatialCLIP:
    method = make("spatialclip_frozen", cache=cache)
    for encoder in (method.encoder, method.text_encoder):
        encoder.requires_grad_(False).eval()
    return method


def test_cached_features_are_the_features() -> None:
    """Bit for bit those of each sample alone, in whatever batch; and a step's loss is the same up to rounding."""
    method, uncached, batch = frozen(), frozen(cache=False), study(20)
    expected = [alone(method, batch, row) for row in range(20)]
    for rows in (torch.arange(0, 7), torch.tensor([3, 19, 0, 11]), torch.arange(20), torch.arange(5, 16)):
        part = {k: v[rows] if isinstance(v, Tensor) else [v[i] for i in rows.tolist()] for k, v in batch.items()}
        viewed = method.views(part)
        for name in ("image", "text"):
            known = torch.cat([expected[row][name] for row in rows.tolist()])
            assert torch.equal(method._features(name, viewed), known)
        torch.testing.assert_close(method.step(part).loss, uncached.step(part).loss, atol=1e-5, rtol=1e-5)
    assert [len(method.cached.caches[name]) for name in ("image", "text")] == [20, 20]
    assert not uncached.cached.caches


def test_the_cache_is_dropped_and_left_out_when_it_must_be() -> None:
    method, batch = frozen(), study()
    method.step(batch)
    calls = []
    method.encoder.register_forward_hook(lambda *_: calls.append(1))
    method.step(batch)
    assert not calls
    with torch.no_grad():
        next(method.encoder.parameters()).mul_(1.1)
    other = frozen(cache=False)
    other.load_state_dict(method.state_dict())
    torch.testing.assert_close(method.step(batch).loss, other.step(batch).loss, atol=1e-5, rtol=1e-5)
    assert len(calls) == 10
    method.predict(batch)
    method.encoder.requires_grad_(True)
    method.step(batch)
    method.encoder.requires_grad_(False).train()
    method.step(batch)
    assert len(calls) == 13
    without = {key: value for key, value in batch.items() if key != "index"}
    method.encoder.eval()
    method.step(without)
    assert len(calls) == 14


def test_a_frozen_run_equals_the_one_without_cache(root: Path, tmp_path: Path) -> None:
    losses = []
    for cache in (True, False):
        config = configured(root, "spatialclip_frozen", train__epochs=2, method__cache=cache)
        run = fit(config, tmp_path / str(cache))
        losses.append([line["loss"] for line in run.history() if line["kind"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(losses[0]) == 6


def test_the_published_settings_change_gate_and_classifier_alone() -> None:
    stages = PRESETS["spatialclip_reference"].overrides["train.stages"]
    assert {stage.train for stage in stages} == {("classifier.*",)}
    assert [stage.epochs for stage in stages] == [5, 10, 15]
    config = configio.load("spatialclip_reference")
    assert config.train.epochs == 30 and config.encoder.size == config.data.size == 224


def test_the_demonstration_is_a_comparison_on_the_same_study() -> None:
    demo = DEMOS["spatialclip"]
    assert demo.world == "nearfar.data.synthetic.ultrasound" and "spatialclip" in demo.presets
    for preset in demo.presets:
        config = configio.load(preset, None, {**demo.overrides, **demo.own.get(preset, {})})
        assert config.views.recipe == "study" and config.data.size == config.encoder.size
