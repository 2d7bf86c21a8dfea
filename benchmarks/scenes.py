"""A field of points learns a scene; how well are views rendered that it never saw, and what reaches that without it?

    python benchmarks/scenes.py                       # demo scene, 3 seeds of 180 CPU-seconds, one thread
    python benchmarks/scenes.py --fox FOLDER          # real photographs, 10 CPU-minutes
    python benchmarks/scenes.py --summary             # only print what results/scenes.json holds
    python benchmarks/scenes.py --arms                # parts of the renderer on the demo scene, 60 CPU-seconds an arm

demo: the generated scene, 40 training views and 10 held-out ones on a circle, 64 x 64 pixels, 1,000 points begun on the
visual hull, preset `demo`. fox: the photographs of instant-ngp's fox, 135 x 240 pixels, hand-held, through a lens that
distorts, no masks; every eighth view held out, preset `photos`.

PSNR and SSIM are those of metrics.json, of all held-out views; time is CPU time of training steps alone. Anchors: a
white picture, the mean training image, the training view whose camera stands nearest. Writes results/scenes.json,
run by run.

arms: the same scene with ray-based self-attention; with pixel features of an encoder, untrained, or trained by
`nearfar train smcl` for 15 epochs on 48 generated objects of 64 pixels; with first features by 10 seconds of graph
contrast. What encoder and graphs take is not counted, which favours them. Differences from the renderer as it is are
paired view by view and seed by seed, and their intervals draw the views. Writes results/scenes_arms.json and goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import nearfar
from nearfar import configio
from nearfar.cli.mir180 import find_rigs
from nearfar.config import EncoderConfig
from nearfar.data.mir180 import build
from nearfar.data.synthetic.objects import generate_objects, generate_scene
from nearfar.encoders.io import save_encoder
from nearfar.evaluate.bootstrap import bootstrap_mean
from nearfar.scenes.config import SceneConfig, load
from nearfar.scenes.fit import fit_scene
from nearfar.scenes.measure import measure
from nearfar.train import fit

RESULTS = Path(__file__).parent / "results" / "scenes.json"
ARMS_RESULTS = RESULTS.with_name("scenes_arms.json")
PLAIN = "as it is"
UNTRAINED, TRAINED = "pixel features, untrained encoder", "pixel features, trained encoder"
ARMS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "ray-based self-attention": {"points.attention": "ray"},
    UNTRAINED: {"points.pixel_dim": 240},
    TRAINED: {"points.pixel_dim": 240},
    "first features by graph contrast": {"train.graph_seconds": 10.0},
}
ENCODER: dict[str, Any] = {"data.size": 64, "encoder.size": 64, "train.epochs": 15, "train.health_every": 1000}
TARGETS = {"psnr": 30.0, "ssim": 0.96}
MARGIN = 4.0
"""dB that fox is to lie above its mean image, and it is to lie above its nearest view"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="CPU seconds of training; 180, with --fox 600, with --arms 60")
    parser.add_argument("--seeds", type=int, nargs="*", help="0 1 2, with --fox 0")
    parser.add_argument("--fox", type=Path, help="folder of the photographs and their transforms.json")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that differ from the preset's"
    )
    parser.add_argument("--out", type=Path, help="results/scenes.json, with --arms results/scenes_arms.json")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), help="those named; without names all")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.arms is not None:
        out = args.out or ARMS_RESULTS
        for seed in () if args.summary else args.seeds or [0, 1]:
            measure_arms(args.arms or list(ARMS), seed, args.seconds or 60.0, out)
        print(arms_summary(read(out)))
        return
    out = args.out or RESULTS
    overrides = dict(item.split("=", 1) for item in args.set)
    with tempfile.TemporaryDirectory() as folder:
        for seed in () if args.summary else args.seeds or ([0] if args.fox else [0, 1, 2]):
            name = "fox" if args.fox else "demo"
            root = args.fox or generate_scene(Path(folder) / f"scene-{seed}")
            seconds = args.seconds or (600.0 if args.fox else 180.0)
            config = setting("photos" if args.fox else "demo", root, seconds, seed, overrides)
            write(out, name, seed, run(config, Path(folder) / f"{name}-{seed}") | {"settings": overrides})
    print(summary(read(out)))


def setting(preset: str, root: Path, seconds: float, seed: int, overrides: dict[str, Any]) -> SceneConfig:
    """The preset by CPU time; no turntable, and checkpoints only at the end."""
    own = {
        "data.root": root,
        "train.max_seconds": seconds,
        "train.clock": "cpu",
        "train.steps": 10_000_000,
        "train.seed": seed,
        "train.checkpoint_every": 0,
        "eval.frames": 0,
    }
    return load(preset, "scene", None, {**own, **overrides})


def run(config: SceneConfig, path: Path) -> dict[str, Any]:
    """What a run reached, and its way."""

    def tell(event: Any) -> None:
        if event["kind"] == "evaluation":
            print(
                f"{event['time']:7.1f} s  {event['step'] + 1:6d} steps  {event['held_out_views/psnr']:6.2f} dB",
                flush=True,
            )

    trained = fit_scene(config, path, progress=tell)
    found = measure(trained)
    group = found["views"]["groups"]["held_out_views"]
    way = [
        {"cpu_seconds": line["time"], "psnr": line["held_out_views/psnr"], "ssim": line["held_out_views/ssim"]}
        for line in trained.history()
        if line["kind"] == "evaluation"
    ]
    keys = ("views", "psnr", "ssim", "lpips", "anchors", "psnr_over_best_anchor")
    each = [{key: view[key] for key in ("view", "psnr", "ssim")} for view in group["per_view"]]
    figures = {key: group[key] for key in keys}
    return {"preset": config.preset, "train": found["train"], **figures, "way": way, "per_view": each}


def measure_arms(arms: Sequence[str], seed: int, seconds: float, out: Path) -> None:
    """Add the missing arms of a seed to the results."""
    with tempfile.TemporaryDirectory() as folder:
        root = generate_scene(Path(folder) / "scene")
        for arm in arms:
            if str(seed) in read(out).get("runs", {}).get(arm, {}):
                continue
            overrides = {**ARMS[arm], "train.evaluations": 0}
            if arm in (UNTRAINED, TRAINED):
                overrides["data.encoder"] = encoder(Path(folder), seed, trained=arm == TRAINED)
            made = run(setting("demo", root, seconds, seed, overrides), Path(folder) / arm.replace(" ", "-"))
            print(seed, arm, {key: round(made[key]["value"], 3) for key in ("psnr", "ssim")}, flush=True)
            content = read(out)
            content["settings"] = {"seconds": seconds, "torch": torch.__version__}
            content.setdefault("runs", {}).setdefault(arm, {})[str(seed)] = made
            content["differences"] = differences(content["runs"])
            save(out, content)


def encoder(folder: Path, seed: int, trained: bool) -> Path:
    """The file of an encoder of SMCL, as it is drawn or as the preset `smcl` trains it."""
    if not trained:
        torch.manual_seed(seed)
        path = folder / "untrained.safetensors"
        save_encoder(nearfar.create("smcl", encoder=EncoderConfig("cnn_ffc", {}, size=64)).encoder, path)
        return path
    root = generate_objects(folder / "objects", n=48, size=64, seed=1000 + seed, shares=(1, 0, 0))
    triples = folder / "triples"
    build(find_rigs(root), triples)
    settings = {**ENCODER, "data.root": triples, "train.seed": seed, "train.threads": 1}
    return fit(configio.load("smcl", None, settings), folder / "encoder").path


def differences(runs: dict[str, Any]) -> dict[str, Any]:
    """Of each arm from the renderer as it is, over the seeds that both have."""
    found: dict[str, Any] = {}
    for arm, seeds in runs.items():
        both = [seed for seed in seeds if seed in runs.get(PLAIN, {})]
        if arm == PLAIN or not both:
            continue
        found[arm] = {"seeds": both}
        for key in ("psnr", "ssim"):
            mine, plain = (
                np.array([[view[key] for view in runs[name][seed]["per_view"]] for seed in both])
                for name in (arm, PLAIN)
            )
            views = np.tile(np.arange(mine.shape[1]), len(both))
            found[arm][key] = bootstrap_mean((mine - plain).flatten(), clusters=views)
            found[arm][f"{key}_by_seed"] = (mine - plain).mean(1).tolist()
    return found


def arms_summary(content: dict[str, Any]) -> str:
    """A line an arm."""
    lines = []
    for arm, seeds in content.get("runs", {}).items():
        reached = ", ".join(f"{one['psnr']['value']:.2f} dB {one['ssim']['value']:.3f}" for one in seeds.values())
        apart = content["differences"].get(arm)
        beside = "" if apart is None else "  {value:+.2f} ({low:+.2f} to {high:+.2f})".format(**apart["psnr"])
        lines.append(f"{arm}: {reached}{beside}")
    return "\n".join(lines)


def read(path: Path) -> dict[str, Any]:
    """What was measured so far: {"demo" or "fox": {seed: figures}}."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # type: ignore[no-any-return]


def write(path: Path, name: str, seed: int, figures: dict[str, Any]) -> None:
    """Add a run to the results."""
    content = read(path)
    content.setdefault(name, {})[str(seed)] = figures
    save(path, content)


def save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def summary(content: dict[str, Any]) -> str:
    """A line a scene, with the figure to reach."""
    lines = []
    for name, runs in content.items():
        psnr, ssim = (float(np.mean([one[key]["value"] for one in runs.values()])) for key in ("psnr", "ssim"))
        anchors = {
            key: float(np.mean([one["anchors"][key]["psnr"]["value"] for one in runs.values()]))
            for key in ("white", "mean_image", "nearest_view")
        }
        if name == "demo":
            met = psnr >= TARGETS["psnr"] and ssim >= TARGETS["ssim"]
            wanted = f"at least {TARGETS['psnr']:g} dB and {TARGETS['ssim']:g}"
        else:
            met = psnr >= anchors["mean_image"] + MARGIN and psnr > anchors["nearest_view"]
            wanted = f"at least {MARGIN:g} dB above the mean image, and above the nearest view"
        beside = ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in anchors.items())
        head = f"{name}: {psnr:.2f} dB, SSIM {ssim:.3f}, mean of {len(runs)} seeds"
        lines.append(f"{head} ({wanted}: {'met' if met else 'missed'}); {beside}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
