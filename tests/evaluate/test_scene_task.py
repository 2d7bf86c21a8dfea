"""Segmentation and change of a run from labelled scenes: numbers, pictures, and a head that predicts the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nearfar.config import EvalConfig
from nearfar.data.scenes import SceneSet
from nearfar.errors import ConfigError
from nearfar.evaluate import dense_fit, evaluate, scene_task
from nearfar.evaluate.confusion import binary_report
from nearfar.evaluate.heads import load_predictor
from nearfar.evaluate.scene_test import judge
from nearfar.train.run import Run

Labelled = Callable[..., SceneSet]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[SceneSet], EvalConfig]:
    """Lets the task find these scenes, and gives a quick configuration for it."""

    def give(scenes: SceneSet) -> EvalConfig:
        monkeypatch.setattr(scene_task, "open_scenes", lambda config: scenes)
        monkeypatch.setattr(dense_fit, "LEAST_STEPS", 1)
        common = EvalConfig(tasks=(scenes.kind,), decoder_epochs=25, tile=40, bootstrap=20)
        return replace(common, **{scenes.kind: tmp_path})

    return give


def arrays_of(run: Run, name: str) -> dict[str, Any]:
    with np.load(run.arrays / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("dates", [1, 3])
def test_segmentation_is_learnt_reported_and_kept(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig], dates: int
) -> None:
    scenes = labelled("segment", dates)
    found = evaluate(band_run, use(scenes))
    report = found["segment"]
    assert found["skipped"] == {} and band_run.metrics["segment"] == report
    assert report["mean_iou"]["value"] > 0.6 and report["averaged_over"] == ["background", "crop"]
    assert report["mean_iou"]["low"] <= report["mean_iou"]["value"] <= report["mean_iou"]["high"]
    assert report["without_background"]["averaged_over"] == ["crop"] and report["scenes"] == 2
    assert report["pixels"] == 45 * 50 + 41 * 64 - 2 * 9 - 2 * (50 + 64), "what has data and is labelled"
    assert (report["train_tiles"], report["val_tiles"], report["bands"]) == (4, 2, ["B08", "B02"])
    assert not (band_run.arrays / "embeddings.npz").exists()
    arrays = arrays_of(band_run, "segment")
    assert arrays["true"].shape == arrays["predicted"].shape == (2, 41, 50) and arrays["true"].dtype == np.uint8
    assert arrays["id"].tolist() == arrays["scene"].tolist() == ["test0", "test1"]
    assert arrays["colours"].tolist() == [[10, 20, 30], [200, 30, 40]] and arrays["classes"].tolist()[1] == "crop"
    assert np.array_equal(arrays["confusions"].sum(0), report["confusion"]["counts"])


def test_change_is_learnt_and_its_threshold_comes_from_validation(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig]
) -> None:
    scenes = labelled("change", 2)
    report = evaluate(band_run, use(scenes))["change"]
    assert report["f1"]["value"] > 0.5 and report["scenes"] == 2 and report["threshold"] != 0.5
    assert report["confusion"]["classes"] == ["unchanged", "changed"]
    predictor = load_predictor(band_run, "change")
    assert (predictor.times, predictor.bands, predictor.sensor) == (2, ("B08", "B02"), "sentinel2_l2a")
    assert predictor.colours == scenes.colours and predictor.size_multiple == 16
    again = [judge(predictor, scene, (1, 0)).confusion for scene in scenes.of_split("test")]
    assert binary_report(again, resamples=0)["f1"]["value"] == report["f1"]["value"]
    pixels, valid, _ = scenes.of_split("test")[0].read(slice(0, 45), slice(0, 50))
    calibrated = predictor(pixels[:, [1, 0]], valid)
    plain = replace(predictor.maps, threshold=0.5)  # type: ignore[type-var]
    raw = replace(predictor, maps=plain)(pixels[:, [1, 0]], valid)
    assert np.array_equal(calibrated.argmax(0) == 1, raw[1] > report["threshold"]), (
        "what is likelier is what exceeds the threshold"
    )
    assert np.allclose(calibrated.sum(0), 1, atol=1e-5)


def test_without_validation_scenes_the_last_epoch_is_taken(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig]
) -> None:
    report = evaluate(band_run, replace(use(labelled("change", 2, val=False)), decoder_epochs=2))["change"]
    assert report["validation_score"] is None and report["threshold"] == 0.5 and report["best_epoch"] == 2


def test_test_scenes_decide_nothing(labelled: Labelled, make_band_run: Any, use: Callable[..., EvalConfig]) -> None:
    """The head is the same whatever the test scenes say."""
    heads = []
    for name, value in (("one", 0), ("other", 1)):
        scenes, run = labelled("change", 2), make_band_run(name)
        for scene in scenes.of_split("test"):
            scene.source.scenes[scene.id][2][:] = value  # type: ignore[attr-defined]
        evaluate(run, replace(use(scenes), decoder_epochs=2))
        heads.append((run.path / "heads/change.safetensors").read_bytes())
    assert heads[0] == heads[1]


def test_statistics_of_the_target_or_of_the_run(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig]
) -> None:
    config = replace(use(labelled("segment", 1)), decoder_epochs=1)
    means = []
    for statistics in ("target", "run"):
        evaluate(band_run, replace(config, statistics=statistics))  # type: ignore[arg-type]
        means.append(load_predictor(band_run, "segment").maps.model.encoder.mean.tolist())  # type: ignore[attr-defined]
    assert means[1] == pytest.approx([0.2, 0.2]) and means[0][0] > 0.22


def test_a_tuned_encoder_is_kept_with_the_head(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig]
) -> None:
    scenes = labelled("segment", 1)
    report = evaluate(band_run, replace(use(scenes), decoder_epochs=2, finetune=True))["segment"]
    predictor = load_predictor(band_run, "segment")
    again = sum(judge(predictor, scene, (1, 0)).confusion for scene in scenes.of_split("test"))
    assert np.array_equal(again, report["confusion"]["counts"])
    tuned = predictor.maps.model.encoder.state_dict()  # type: ignore[attr-defined]
    fresh = band_run.encoder().state_dict()
    assert any(not np.array_equal(tuned[name], fresh[name]) for name in fresh if name not in ("mean", "std"))


def test_an_encoder_of_fixed_size_is_slid(
    labelled: Labelled, make_band_run: Any, use: Callable[[SceneSet], EvalConfig]
) -> None:
    run = make_band_run("vit", encoder="nano_vit", size=32)
    report = evaluate(run, replace(use(labelled("segment", 1)), decoder_epochs=2))["segment"]
    assert report["pixels"] > 4000 and report["train_tiles"] == 16, "tiles of 32, not of 40 pixels"


def test_no_scenes_or_the_wrong_ones_are_told(
    labelled: Labelled, band_run: Run, use: Callable[[SceneSet], EvalConfig]
) -> None:
    skipped = evaluate(band_run, EvalConfig(tasks=("segment", "change")))["skipped"]
    assert "no labelled scenes for segment" in skipped["segment"]
    assert "--task change --root DATA" in skipped["change"]
    config = use(labelled("segment", 1))
    wrong = replace(config, change=config.segment, tasks=("change",))
    assert "the scenes are for segment" in evaluate(band_run, wrong)["skipped"]["change"]
    with pytest.raises(ConfigError, match="the scenes are for segment"):
        scene_task.labelled_scenes(band_run, wrong, "change")
