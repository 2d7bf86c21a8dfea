"""Held-out views are measured beside anchors, and every number can be found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.encoders.io import save_encoder
from nearfar.errors import ConfigError
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.field import ConditionalField
from nearfar.scenes.fit import fit_objects, fit_scene
from nearfar.scenes.learner import MeanImages, Shot, spread
from nearfar.scenes.measure import measure, summary
from nearfar.scenes.metrics import psnr
from nearfar.scenes.object_learner import ObjectLearner
from nearfar.scenes.run import SceneRun
from nearfar.scenes.scene import Scene
from nearfar.scenes.scene_learner import SceneLearner, fitted


def test_a_scene_is_measured_on_views_it_never_saw(scene_run: SceneRun) -> None:
    section = scene_run.metrics["views"]
    group = section["groups"]["held_out_views"]
    learner = scene_run.learner()
    assert isinstance(learner, SceneLearner)
    frames = [learner.scene.frames[s.view] for s in learner.shots("end")["held_out_views"]]
    assert all(frame.split == "test" for frame in frames)
    assert [row["view"] for row in group["per_view"]] == [frame.path.stem for frame in frames]
    view = learner.render(learner.scene, frames[0].camera)
    truth = learner.scene.image(learner.scene.frames.index(frames[0]))[0]
    assert group["per_view"][0]["psnr"] == pytest.approx(psnr(view["rgb"].numpy(), truth))
    assert group["psnr"]["value"] == pytest.approx(np.mean([row["psnr"] for row in group["per_view"]]))
    assert set(group["anchors"]) == {"white", "mean_image", "nearest_view"}
    assert group["ssim"]["value"] < 1
    assert (group["lpips"] is None) == bool(section["no_lpips"])
    assert "Gaussian" in section["convention"]["ssim"]


def test_its_pictures_are_those_that_were_measured(scene_run: SceneRun) -> None:
    with np.load(scene_run.arrays / "views.npz") as file:
        made, truth = (file[f"held_out_views/{key}"] for key in ("made", "truth"))
        assert made.shape == (2, 16, 16, 3)
        assert file["held_out_views/depth"].shape == (2, 16, 16)
    row = scene_run.metrics["views"]["groups"]["held_out_views"]["per_view"][0]
    assert psnr(made[0] / 255.0, truth[0] / 255.0) == pytest.approx(row["psnr"], abs=0.05)
    with np.load(scene_run.arrays / "turntable.npz") as file:
        assert file["frames"].shape == (2, 16, 16, 3)
    with np.load(scene_run.arrays / "points.npz") as file:
        assert len(file["points"]) == len(file["colours"]) == 60


def test_objects_are_measured_seen_and_unseen(objects_run: SceneRun) -> None:
    groups = objects_run.metrics["views"]["groups"]
    assert set(groups) == {"seen_objects", "unseen_objects"}
    learner = objects_run.learner()
    assert isinstance(learner, ObjectLearner)
    shots = learner.shots("end")
    seen, unseen = shots["seen_objects"][0], shots["unseen_objects"][0]
    assert all(seen.scene.frames[s.view].split == "test" for s in shots["seen_objects"])
    assert seen.view not in seen.known
    assert list(unseen.known) == learner.sources(unseen.scene)
    assert unseen.view not in unseen.known
    assert [scene.name for scene in unseen.others] == [scene.name for scene in learner.known]
    with np.load(objects_run.arrays / "turntable.npz") as file:
        assert file["frames"].shape == (2, 16, 16 * 3, 3)


def test_the_mean_of_objects_is_that_of_the_same_side(objects_run: SceneRun) -> None:
    learner = objects_run.learner()
    assert isinstance(learner, ObjectLearner)
    shot = Shot(learner.unseen[0], 5, [3], learner.known)
    wanted = np.mean([scene.image(5)[0] for scene in learner.known], axis=0)
    assert np.allclose(MeanImages(1.0).of(shot), wanted, atol=1e-6)


def test_intervals_draw_objects_where_there_are_several() -> None:
    anchors = {"white": {"psnr": 8.0, "ssim": 0.1, "lpips": None}}
    rows = [
        {"scene": name, "view": str(i), "psnr": value, "ssim": None, "lpips": None, "anchors": anchors}
        for name, value in (("a", 10.0), ("b", 20.0))
        for i in range(50)
    ]
    found = summary(rows)
    assert (found["psnr"]["low"], found["psnr"]["high"]) == (10, 20)
    assert found["ssim"] is None
    assert found["psnr_over_best_anchor"]["value"] == 7
    assert (found["views"], found["scenes"]) == (100, 2)


def test_lengths_follow_the_size_of_the_scene(tiny: Callable[..., SceneConfig], ball: Callable[..., Scene]) -> None:
    config = tiny()
    corners = np.full(3, -15.0), np.full(3, 15.0)
    large = fitted(config, replace(ball(24, 16), bounds=corners, background=(0, 0.5, 1)))
    assert large.scale == pytest.approx(config.points.scale / 10)
    assert large.rate_points == pytest.approx(config.points.rate_points * 10)
    assert large.background_colour == (0, 0.5, 1)
    assert fitted(tiny(data__normalise=False), ball(24, 16)).scale == config.points.scale


def test_views_are_spread_evenly() -> None:
    assert spread(range(10), 0) == list(range(10))
    assert spread(range(10), 2) == [2, 7]
    assert spread([4, 5], 3) == [4, 5]


def test_an_encoder_begins_a_run_and_stays_in_its_folder(
    tiny: Callable[..., SceneConfig], objects_run: SceneRun, tmp_path: Path
) -> None:
    learner = objects_run.learner()
    assert isinstance(learner.field, ConditionalField)
    source = tmp_path / "encoder.safetensors"
    save_encoder(learner.field.encoder, source)
    run = fit_objects(tiny("objects", data__encoder=tmp_path, train__steps=1), tmp_path / "run")
    source.unlink()
    again = run.learner().field
    assert isinstance(again, ConditionalField)
    assert again.encoder.config == learner.field.encoder.config


def test_points_read_the_maps_of_an_encoder(
    tiny: Callable[..., SceneConfig], objects_run: SceneRun, tmp_path: Path
) -> None:
    learner = objects_run.learner()
    assert isinstance(learner.field, ConditionalField)
    save_encoder(learner.field.encoder, tmp_path / "encoder.safetensors")
    given = {"data__encoder": tmp_path / "encoder.safetensors", "train__steps": 2}
    with pytest.raises(ConfigError, match=r"other channels \(found 3, expected \d+\)") as wrong:
        fit_scene(tiny(points__pixel_dim=3, **given), tmp_path / "wrong")
    channels = wrong.value.expected
    run = fit_scene(tiny(points__pixel_dim=channels, **given), tmp_path / "run")
    metrics = measure(run)
    again = run.learner()
    assert isinstance(again, SceneLearner)
    rows = metrics["views"]["groups"]["held_out_views"]["per_view"]
    shot = again.shots("end")["held_out_views"][0]
    made = again.render(again.scene, again.scene.frames[shot.view].camera)["rgb"].numpy()
    assert psnr(made, again.scene.image(shot.view)[0]) == pytest.approx(rows[0]["psnr"])


def test_a_source_view_that_is_not_there_is_refused(tiny: Callable[..., SceneConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval\.sources"):
        fit_objects(tiny("objects", eval__sources=(24,)), tmp_path / "run")
