"""Held-out views of a run: PSNR, SSIM, LPIPS of each beside what needs no model, and the pictures of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.evaluate.bootstrap import bootstrap_mean
from nearfar.evaluate.embeddings import save_arrays
from nearfar.scenes.learner import Learner, MeanImages, Shot, spread
from nearfar.scenes.metrics import CONVENTION, Lpips, anchors, eight_bit, find_lpips, likeness
from nearfar.scenes.outputs import point_cloud
from nearfar.scenes.paths import turntable
from nearfar.scenes.rendering import View
from nearfar.scenes.run import SceneRun
from nearfar.scenes.scene import Pixels
from nearfar.scenes.scene_learner import SceneLearner

PLAIN = {"white": "white picture", "mean_image": "mean image"}
"""anchors that know nothing of the cameras"""
MEASURES = ("psnr", "ssim", "lpips")
Alike = dict[str, float | None]
Notes = Callable[[str], None]


def measure(run: SceneRun, device: str | None = None, note: Notes | None = None) -> dict[str, Any]:
    """Measure a run; metrics.json gets the section `views`, arrays/ the pictures. Returns all of metrics.json.

    views.groups holds for each group (held_out_views; seen_objects, unseen_objects) `psnr`, `ssim`, `lpips` as
    {value, low, high} or null, the same of the `anchors` white, mean_image, nearest_view, and `per_view`. Intervals are
    bootstrapped over views, or over objects where there are several.
    arrays/views.npz: GROUP/truth, /made, /nearest uint8 [k, H, W, 3], /depth float32, /alpha uint8 [k, H, W], /name;
    arrays/turntable.npz: frames uint8 [n, H, W, 3]; arrays/points.npz: points, colours, influence.
    """
    with run.threads():
        return _measure(run, run.learner(device), note)


def _measure(run: SceneRun, learner: Learner, note: Notes | None) -> dict[str, Any]:
    lpips = find_lpips()
    pictures: dict[str, NDArray[Any]] = {}
    groups: dict[str, Any] = {}
    means = MeanImages(learner.scale)
    for name, shots in learner.shots("end").items():
        if note is not None:
            note(f"measuring {len(shots)} {name.replace('_', ' ')}")
        rows, shown = [], spread(range(len(shots)), run.config.eval.pictures)
        kept: list[dict[str, Any]] = []
        for k, shot in enumerate(shots):
            alike, view = likeness_of(learner, shot, lpips)
            found, others = anchors_of(shot, means, learner.scale, lpips)
            rows.append({"scene": shot.scene.name, "view": _named(shot), **alike, "anchors": found})
            if k in shown and (not kept or _same_size(kept[0], view)):
                truth = shot.scene.image(shot.view, learner.scale)[0]
                kept.append(_kept(f"{shot.scene.name}/{_named(shot)}", truth, view, others["nearest_view"]))
        groups[name] = summary(rows)
        pictures |= {f"{name}/{key}": np.stack([one[key] for one in kept]) for key in (kept[0] if kept else ())}
    section = {"convention": CONVENTION, "scale": learner.scale, "no_lpips": lpips.why or None, "groups": groups}
    run.update_metrics("views", section)
    save_arrays(run.arrays / "views.npz", **pictures)
    if run.config.eval.frames:
        save_arrays(run.arrays / "turntable.npz", frames=turntable(learner, run.config))
    if isinstance(learner, SceneLearner) and learner.history:
        run.update_metrics("graph", {**learner.history[-1], "history": learner.history})
    cloud = point_cloud(learner)
    if cloud is not None:
        save_arrays(run.arrays / "points.npz", **cloud)
    return run.metrics


def likeness_of(learner: Learner, shot: Shot, lpips: Lpips) -> tuple[Alike, View]:
    """How alike what a learner renders is to a view, and what it renders."""
    camera = shot.scene.frames[shot.view].camera.scaled(learner.scale)
    view = learner.render(shot.scene, camera)
    truth = shot.scene.image(shot.view, learner.scale)[0]
    return likeness(view["rgb"].float().cpu().numpy(), truth, lpips), view


def anchors_of(
    shot: Shot, means: MeanImages, scale: float, lpips: Lpips | None = None
) -> tuple[dict[str, Alike], dict[str, Pixels]]:
    """How alike the anchors are to a view, by name, and the anchors."""
    truth = shot.scene.image(shot.view, scale)[0]
    pictures = anchors(shot.scene, shot.view, shot.known, means.of(shot), scale)
    return {name: likeness(made, truth, lpips or Lpips(None)) for name, made in pictures.items()}, pictures


def unlearnt(run: SceneRun) -> list[str]:
    """A sentence for every group of views that was rendered no better than a picture which needs no model.

    Not of unseen objects: there the mean image is hard to beat, however well the others were learnt.
    """
    said = []
    for name, found in run.metrics.get("views", {"groups": {}})["groups"].items():
        plain = {anchor: _psnr(found["anchors"][anchor]) for anchor in PLAIN}
        best = max(plain, key=lambda anchor: plain[anchor])
        if name != "unseen_objects" and _psnr(found) <= plain[best]:
            said.append(
                f"{name.replace('held_out', 'held-out').replace('_', ' ')}: {_psnr(found):.2f} dB, no better than the "
                f"{PLAIN[best]} with {plain[best]:.2f} dB. Check the cameras (nearfar data check "
                f"{run.config.data.root}), the background (--data.background) and how near and far rays go (near and "
                "far of the cameras, or --objects.near and --objects.far); if these are right, train longer."
            )
    return said


def _psnr(found: Mapping[str, Any]) -> float:
    return float(found["psnr"]["value"])


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over views with intervals, of the learner and of its anchors."""
    scenes = np.unique([row["scene"] for row in rows], return_inverse=True)[1].astype(np.int64)
    clusters = scenes if scenes.max(initial=0) else np.arange(len(rows), dtype=np.int64)

    def mean(values: list[float | None]) -> dict[str, float] | None:
        if any(value is None for value in values):
            return None
        return bootstrap_mean(np.array(values, np.float64), clusters=clusters)

    found: dict[str, Any] = {"views": len(rows), "scenes": int(scenes.max(initial=-1)) + 1}
    found |= {name: mean([row[name] for row in rows]) for name in MEASURES}
    found["anchors"] = {
        anchor: {name: mean([row["anchors"][anchor][name] for row in rows]) for name in MEASURES}
        for anchor in rows[0]["anchors"]
    }
    # Picture by picture, beside the anchor that is best there: the hardest comparison.
    best = [max(row["anchors"][a]["psnr"] for a in row["anchors"]) for row in rows]
    found["psnr_over_best_anchor"] = mean([row["psnr"] - b for row, b in zip(rows, best, strict=True)])
    return {**found, "per_view": list(rows)}


def _kept(name: str, truth: Pixels, view: View, nearest: Pixels) -> dict[str, Any]:
    rgb, alpha, depth = (view[key].float().cpu().numpy() for key in ("rgb", "alpha", "depth"))
    colours = {"truth": eight_bit(truth), "made": eight_bit(rgb), "nearest": eight_bit(nearest)}
    return {**colours, "depth": depth.astype(np.float32), "alpha": eight_bit(alpha), "name": np.array(name)}


def _same_size(first: Mapping[str, Any], view: View) -> bool:
    return tuple(first["made"].shape) == tuple(view["rgb"].shape)


def _named(shot: Shot) -> str:
    return shot.scene.frames[shot.view].path.stem
