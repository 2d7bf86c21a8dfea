"""A field of points learns a scene; how well are views rendered that it never saw, and what reaches that without it?

    python benchmarks/scenes.py                       # demo scene, 3 seeds of 180 CPU-seconds, one thread
    python benchmarks/scenes.py --fox FOLDER          # real photographs, 10 CPU-minutes
    python benchmarks/scenes.py --summary             # only print what results/scenes.json holds

demo: the generated scene, 40 training views and 10 held-out ones on a circle, 64 x 64 pixels, 1,000 points begun on the
visual hull, preset `demo`. fox: the photographs of instant-ngp's fox, 135 x 240 pixels, hand-held, through a lens that
distorts, no masks; every eighth view held out, preset `photos`.

PSNR and SSIM are those of metrics.json, of all held-out views; time is CPU time of training steps alone. Anchors: a
white picture, the mean training image, the training view whose camera stands nearest. Writes results/scenes.json,
run by run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nearfar.data.synthetic.objects import generate_scene
from nearfar.scenes.config import SceneConfig, load
from nearfar.scenes.fit import fit_scene
from nearfar.scenes.measure import measure

RESULTS = Path(__file__).parent / "results" / "scenes.json"
TARGETS = {"psnr": 30.0, "ssim": 0.96}
MARGIN = 4.0
"""dB that fox is to lie above its mean image, and it is to lie above its nearest view"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="CPU seconds of training; 180, with --fox 600")
    parser.add_argument("--seeds", type=int, nargs="*", help="0 1 2, with --fox 0")
    parser.add_argument("--fox", type=Path, help="folder of the photographs and their transforms.json")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that differ from the preset's"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    overrides = dict(item.split("=", 1) for item in args.set)
    with tempfile.TemporaryDirectory() as folder:
        for seed in () if args.summary else args.seeds or ([0] if args.fox else [0, 1, 2]):
            name = "fox" if args.fox else "demo"
            root = args.fox or generate_scene(Path(folder) / f"scene-{seed}")
            seconds = args.seconds or (600.0 if args.fox else 180.0)
            config = setting("photos" if args.fox else "demo", root, seconds, seed, overrides)
            write(args.out, name, seed, run(config, Path(folder) / f"{name}-{seed}") | {"settings": overrides})
    print(summary(read(args.out)))


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
    return {"preset": config.preset, "train": found["train"], **{key: group[key] for key in keys}, "way": way}


def read(path: Path) -> dict[str, Any]:
    """What was measured so far: {"demo" or "fox": {seed: figures}}."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # type: ignore[no-any-return]


def write(path: Path, name: str, seed: int, figures: dict[str, Any]) -> None:
    """Add a run to the results."""
    content = read(path)
    content.setdefault(name, {})[str(seed)] = figures
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
