"""Write the reference pages from the code: `python docs/generate.py`. A test fails where they are out of date."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from nearfar import config
from nearfar.methods import load_method_class
from nearfar.presets import METHODS, PRESETS

ROOT = Path(__file__).resolve().parents[1]


def field_docs(kind: type) -> dict[str, str]:
    """The string below each field of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(inspect.getsource(base)).body[0].body  # type: ignore[attr-defined]
        for node, after in pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                docs[node.target.id] = " ".join(str(after.value.value).split())  # type: ignore[union-attr]
    return docs


def default(field: Any) -> str:
    """The default of a field as it is written in YAML or on the command line."""
    if field.default is field.default_factory is dataclasses.MISSING:
        return "(needed)"
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "(none)"
    return "(none)" if value is None or value == {} else str(value)


def shown(value: Any) -> str:
    """A value of a preset; of stages their names and epochs."""
    if isinstance(value, tuple) and value and isinstance(value[0], config.Stage):
        return ", ".join(f"{stage.name} ({stage.epochs})" for stage in value)
    return str(value)


def table(kind: type, prefix: str, skip: tuple[str, ...] = ()) -> list[str]:
    """A Markdown table of the fields of a dataclass."""
    docs = field_docs(kind)
    rows = ["| key | default | meaning |\n| --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default_factory):
            rows += table(field.default_factory, f"{prefix}.{field.name}")[1:]
        elif field.name not in skip:
            meaning = docs.get(field.name, "").replace("|", "\\|")
            rows.append(f"| `{prefix}.{field.name}` | `{default(field)}` | {meaning} |")
    return rows


def configuration() -> str:
    """The page of all settings."""
    lines = ["# Configuration", "", "Written by `docs/generate.py` from the code.", ""]
    lines += [
        "Values come from the preset, then from a YAML file (`--config`), then from flags (`--train.lr 0.001`).",
        "",
    ]
    sections = {"data": config.DataConfig, "views": config.ViewsConfig, "encoder": config.EncoderConfig,
                "train": config.TrainConfig, "eval": config.EvalConfig}  # fmt: skip
    for name, kind in sections.items():
        lines += [f"## {name}", "", (kind.__doc__ or "").strip(), "", *table(kind, name), ""]
    lines += ["## train.stages, each", "", inspect.getdoc(config.Stage) or "", ""]
    lines += [*table(config.Stage, "train.stages[]"), ""]
    for name in METHODS:
        kind = load_method_class(name).Config
        lines += [f"## method: {name}", "", METHODS[name].summary + ".", "", *table(kind, "method"), ""]
    lines += ["## Presets", "", "| preset | method | changes |", "| --- | --- | --- |"]
    for name, preset in PRESETS.items():
        changes = ", ".join(f"`{k}: {shown(v)}`" for k, v in preset.overrides.items()) or "none"
        lines.append(f"| `{name}` | `{preset.method}` | {changes} |")
    return "\n".join(lines) + "\n"


def label_noise(results: dict[str, Any]) -> list[str]:
    """The study of label noise on digits."""
    noisy, clean = results["results"].values()
    lines = [
        f"Label noise on scikit-learn's digits, {len(results['seeds'])} paired seeds, 95 % intervals; differences from",
        "SupCon in points",
        "(`python benchmarks/label_noise.py`):",
        "",
        "| loss | 40 % flipped: kNN | difference | wrong labels found, AP | clean: kNN | difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in noisy.items():
        cells = [f"{row['knn']['value']:.4f}", _points(row["knn_gain"]), f"{row['noise_ap']['value']:.3f}"]
        cells += [f"{clean[name]['knn']['value']:.4f}", _points(clean[name]["knn_gain"])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _points(gain: dict[str, float]) -> str:
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * gain[key] for key in ("value", "low", "high")))


def evidential(results: dict[str, Any]) -> list[str]:
    """Time and memory of the evidential loss."""
    time, memory = results["time"], results["memory"]
    return [
        "Forward and backward against the published algorithm, alternated in one run",
        "(`python benchmarks/evidential.py`):",
        f"{time['ratio']:.1f} times faster at {time['rows']:,} rows, {memory['ratio']:.1f} times less peak memory at",
        f"{memory['rows']:,} rows.",
    ]


def mvtec(results: dict[str, Any]) -> list[str]:
    """One-class anomaly detection on the transistor images."""
    lines = ["`nearfar train patches` and what it is compared with (`python benchmarks/mvtec.py`):", ""]
    lines += ["| | image AUROC | pixel AUROC | AUPRO |", "| --- | --- | --- | --- |"]
    for name, row in {**results["measures"], **results["differences"]}.items():
        lines.append(
            f"| {name} | {' | '.join(_interval(row[key]) for key in ('image_auroc', 'pixel_auroc', 'aupro'))} |"
        )
    return lines


def _interval(value: dict[str, float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*(value[key] for key in ("value", "low", "high")))


def demo(results: dict[str, Any]) -> list[str]:
    """What the demo measured: seed 0 in full, the differences of every seed."""
    from nearfar.report.summary import summary_rows

    rows = summary_rows({name: results["0"][name] for name in ("disco", "supcon")})
    lines = ["The demo (`python benchmarks/demo.py`), seed 0; 95 % bootstrap intervals over test images:", ""]
    lines += ["| | DiSCO | SupCon |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows[1:]]
    lines += [
        "",
        "DiSCO minus SupCon on the same test images, paired. The settings were chosen on seed 0; the others were",
        "run once:",
        "",
    ]
    lines += ["| seed | kNN balanced accuracy | linear probe balanced accuracy | wrong labels found, AP |"]
    lines += ["| --- | --- | --- | --- |"]
    for seed, result in results.items():
        measures = [_interval(result["comparison"][f"{m} balanced accuracy"]) for m in ("kNN", "linear probe")]
        found = [result[name]["noise"]["average_precision"]["value"] for name in ("disco", "supcon")]
        lines.append(f"| {seed} | {' | '.join(measures)} | {found[0]:.3f} against {found[1]:.3f} |")
    return lines


def texture(results: dict[str, Any]) -> list[str]:
    """Time of local binary patterns, and what storage does to codes."""
    shape = " x ".join(map(str, results["setting"]["shape"]))
    ours = [who for who in ("numpy", "torch", "numba") if who in results["speed"]["uniform"]]
    lines = [
        f"Times faster than scikit-image, {shape} uint8, 16 points at radius 2, one thread, alternated in one run,"
    ]
    lines += ["results equal (`python benchmarks/texture.py`):", "", f"| method | scikit-image | {' | '.join(ours)} |"]
    lines += ["| --- | --- |" + " --- |" * len(ours)]
    for method, row in results["speed"].items():
        cells = [f"{row['scikit-image']['seconds'] * 1e3:.0f} ms", *(f"{row[who]['faster']:.1f}" for who in ours)]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    if first := results.get("first_call"):
        times = f"{first['compiling']:.1f} s where it compiles, {first['from_disk']:.1f} s afterwards"
        lines += ["", f"Import and first call with numba in a new process: {times}."]
    pairs = ("uint8 against uint16", "JPEG against uint8", "JPEG against uint16")
    lines += [
        "",
        "Share of pixels whose `uniform` code changes, and of the histogram, on the synthetic Sentinel-2 world:",
        "",
    ]
    lines += [f"| blur, pixels | {' | '.join(pairs)} |", "| --- |" + " --- |" * len(pairs)]
    for row in results["storage"]:
        cells = [f"{row[pair]:.0%} of codes, {row[f'{pair}, histograms']:.1%}" for pair in pairs]
        lines.append(f"| {row['blur']:g} | {' | '.join(cells)} |")
    return lines


def boxes(results: dict[str, Any]) -> list[str]:
    """Time from file to tensor, and of the box-set encoder with and without padding."""
    lines = [
        "From a file of 1024 x 768 pixels to a normalised tensor of 224 x 224, one thread, alternated in one run with",
        "the published algorithm (RGB, LANCZOS, then CLIP's image processor); `python benchmarks/boxes.py`:",
        "",
        "| file | published | nearfar | times faster | decoding alone |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in results["image_path"].items():
        times = [f"{row[who]['seconds'] * 1e3:.1f} ms" for who in ("published", "nearfar", "decoding alone")]
        lines.append(f"| {name} | {times[0]} | {times[1]} | {row['nearfar']['faster']:.1f} | {times[2]} |")
    lines += ["", "Forward and backward of 16 sets of up to 8 boxes:", ""]
    lines += ["| encoder | padded to 32 | cut to the largest set | times faster |", "| --- | --- | --- | --- |"]
    for name, row in results["box_encoder"].items():
        cut = row["cut to the largest"]
        times = [f"{row[who]['seconds'] * 1e3:.1f} ms" for who in ("padded to 32", "cut to the largest")]
        lines.append(f"| {name} wide | {' | '.join(times)} | {cut['faster']:.1f} |")
    return lines


LOSS_NAMES = {"nt_xent": "NT-Xent", "supcon": "SupCon", "clip_loss": "CLIP", "evidential": "evidential"}


def core(results: dict[str, Any]) -> list[str]:
    """The contrast core against its peers."""
    sizes = sorted({r["rows"] for r in results["speed"]})
    found = {(r["loss"], r["who"], r["rows"]): r for r in results["speed"]}
    lines = ["| loss | contestant | " + " | ".join(f"N = {n:,} | over nearfar" for n in sizes) + " |"]
    lines.append("| --- | --- |" + " --- | --- |" * len(sizes))
    for loss, who in dict.fromkeys((r["loss"], r["who"]) for r in results["speed"]):
        row = [found.get((loss, who, n)) for n in sizes]
        cells = [f"{r['median']:.2f} s | {r['over_nearfar']:.1f} x" if r else "– | –" for r in row]
        lines.append(f"| {LOSS_NAMES[loss]} | {'plain PyTorch' if who == 'torch' else who} | {' | '.join(cells)} |")
    return lines


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f} x"


def core_growth(results: dict[str, Any]) -> list[str]:
    """Time and memory of the contrast core as rows double."""
    lines = ["| loss | largest N | time | over the least | over the least of torch.mm | memory |"]
    lines[0] += " largest growth of time a doubling | of memory |"
    lines.append("| --- |" + " --- |" * 7)
    for loss in dict.fromkeys(r["loss"] for r in results["growth"]):
        records = [r for r in results["growth"] if r["loss"] == loss]
        last, grown = records[-1], records[1:]
        cells = [f"{last['rows']:,}", f"{last['seconds']:.0f} s", _times(last["over_least"])]
        cells += [_times(last["over_least_blas"]), f"{last['MB']:.0f} MB"]
        cells += [_times(max(r[key] for r in grown)) for key in ("time_growth", "memory_growth")]
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    return lines


def threads(results: dict[str, Any]) -> list[str]:
    """What a second thread gives."""
    gains = [f"{row['ratio']:.2f} ({LOSS_NAMES[name]})" for name, row in results["losses"].items()]
    start = f"Times faster with a second thread at {results['rows']:,} rows (`python benchmarks/threads.py`): "
    return [start + ", ".join(gains) + "."]


def large_batch(results: list[dict[str, Any]]) -> list[str]:
    """Steps of many images in two passes."""
    lines = ["| images, two views each | CPU time of the step | of which the loss | peak memory above the input |"]
    lines.append("| --- | --- | --- | --- |")
    for r in results:
        lines.append(
            f"| {r['images']:,} | {r['seconds']:.0f} s | {r['loss_seconds'] / r['seconds']:.0%} | {r['MB']:.0f} MB |"
        )
    return lines


def graph_contrast(results: dict[str, Any]) -> list[str]:
    """Blocks that are found again, and what order and place change of a graph's code."""
    setting = results["setting"]
    kinds = {"drop_nodes": "points missing", "mask_features": "coordinates missing", "remove_edges": "edges missing"}
    lines = [
        f"Blocks found again among {setting['blocks']} by one view, {setting['points']:,} points on the hull of the",
        f"demo scene, blocks of {setting['size']}, {setting['seconds']:g} CPU-seconds of one thread"
        " (`python benchmarks/graph_contrast.py`):",
        "",
        f"| inputs | seed | loss | {' | '.join(f'{kind}: before, after' for kind in kinds.values())} |",
        "| --- |" + " --- |" * (2 + len(kinds)),
    ]
    for inputs, rows in results["retrieval"].items():
        for seed, row in enumerate(rows):
            cells = [f"{row['untrained'][kind]:.2f}, {row['trained'][kind]:.2f}" for kind in kinds]
            lines.append(f"| {inputs} | {seed} | {row['loss']:.2f} | {' | '.join(cells)} |")
    changed, near = results["changes"], results["nearest_neighbour"]
    lines += [
        "",
        "Relative change of the graphs' codes, untrained networks with equal weights, mean of three:",
        "",
        "| graphs | another order | another order within chunks | cloud moved by 1 | distance of nearest neighbours |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in changed.items():
        values = [row[what] for what in ("order", "order within chunks", "moved by 1")]
        cells = ["rounding" if value < 1e-6 else f"{value:.1%}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} | {near[name]:.1f} x that in the cloud |")
    return lines


def windowed(results: dict[str, Any]) -> list[str]:
    """A whole Sentinel-2 tile by windows."""
    setting, same, made = results["setting"], results["identity"], results["network"]
    size, sides = setting["size"], f"{setting['window']} pixels that overlap by {setting['overlap']}"
    equal = "every pixel equal" if same["equal"] else "not equal"
    return [
        f"A scene of {size:,} x {size:,} pixels and {setting['bands']} bands of 16 bit, {results['raw_gb']} GB, in",
        f"windows of {sides}, one thread (`python benchmarks/windowed.py`); memory is that of the whole process:",
        "",
        "| | largest resident set | compared with the whole |",
        "| --- | --- | --- |",
        f"| all bands, unchanged | {same['peak_gb']:.2f} GB | {equal} |",
        f"| map and probabilities of 8 classes, a network of two convolutions |"
        f" {made['peak_gb']:.2f} GB | {made['equal_share']:.2%} of classes equal, probabilities within"
        f" {made['largest_difference_of_probability']:.0e}, which is their rounding |",
    ]


CSIP_ROWS = {
    "csip": "C-SIP",
    "simclr": "SimCLR, as long",
    "untrained": "the same encoder untrained",
    "boxes": "coordinates of the boxes, network",
    "boxes, linear": "coordinates of the boxes, linear",
    "zero padding": "zeros instead of a circle",
    "no masking": "false negatives not masked",
    "101 rows": "101 rows instead of 24",
}


def csip(results: dict[str, Any]) -> list[str]:
    """What C-SIP knows of relations, and what its parts are worth."""
    runs = [run for run in results["runs"].values() if {"csip", "simclr", "untrained"} <= set(run)]
    gaps = results["differences"]
    accuracy, ndcg = gaps

    def values(name: str, figure: str) -> list[float]:
        arm = "untrained" if name.startswith("boxes") else name
        key = figure if arm == name else name if figure == accuracy else f"{name}, {figure}"
        return [run[arm][key] for run in runs if key in run.get(arm, {})]

    lines = [f"{len(runs)} generated worlds with {results['settings']['scenes']} scenes each, all else drawn anew too;"]
    lines += ["C-SIP minus the row: paired by world, 95 % intervals (`python benchmarks/csip.py`):", ""]
    lines += ["| | worlds | relations, accuracy | C-SIP minus it | NDCG@5, 0 chance, 1 oracle | C-SIP minus it |"]
    lines += ["| --- |" + " --- |" * 5]
    for name, label in CSIP_ROWS.items():
        if not values(name, accuracy):
            continue
        cells = [str(len(values(name, accuracy)))]
        for figure in (accuracy, ndcg):
            found, gap = values(name, figure), gaps[figure].get(f"over {name}")
            cells += [f"{sum(found) / len(found):.3f}" if found else "", f"{_interval(gap)}" if gap else ""]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    mean = {key: sum(run["csip"][key] for run in runs) / len(runs) for key in runs[0]["csip"]}
    spent = {arm: sum(run[arm]["train_seconds"] for run in runs) / len(runs) for arm in ("csip", "simclr")}
    drawn = sum(run["untrained"]["banners"] for run in runs) / len(runs)
    return [
        *lines,
        "",
        f"CPU time of training: {spent['csip']:.0f} s (C-SIP, banners included) and {spent['simclr']:.0f} s (SimCLR).",
        f"The banner itself, shown to a network, tells {drawn:.3f} of the relations. Asked with a banner instead of a",
        f"picture, C-SIP reaches NDCG@5 of {mean['sketch, NDCG@5 rescaled']:.3f} of the way from chance to oracle, and",
        f"the picture that the banner was made of comes first in {mean['sketch, recall@1']:.0%} of cases.",
    ]


def spatialclip(results: dict[str, Any]) -> list[str]:
    """What each set of modalities reaches beside its ceiling, and the whole model in the other cohorts."""
    found, ceilings = results["summary"], results["ceilings"]
    whole = found["three stages"]
    lines = [
        f"{whole['auc']['seeds']} generated studies of 400 patients (`python benchmarks/spatialclip.py`), areas under",
        "the ROC curve on test patients with 95 % intervals of Student's t over the studies; ceiling: what a judge",
        "reaches who sees the true factors of those modalities; `minus` compares with that of the very test frames:",
        "",
        "| | ROC-AUC | ceiling | minus | calibration error | CPU seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    names = {"three stages": "all three, three stages", "one stage, frozen": "all three, one stage, encoders frozen"}
    names |= {"softmax gates": "all three, three stages, softmax gates"}
    for arm, row in found.items():
        seen = {"shared encoder": "image"}.get(arm, arm if arm in ceilings else "image+text+boxes")
        cells = [f"{_interval(row['auc'])}", f"{ceilings[seen]:.3f}", f"{row['auc_minus_ceiling']['value']:+.3f}"]
        cells += [f"{row['ece']['value']:.3f}", f"{row['seconds']['value']:.0f}"]
        lines.append(f"| {names.get(arm, arm)} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Calibration error (ECE, 10 bins, after a temperature fitted on validation patients) of the three stages is"
        f" {whole['ece']['value']:.3f}",
        f"({whole['ece_raw']['value']:.3f} before). The same model, threshold and temperature elsewhere:",
        "",
        "| cohort | ROC-AUC | calibration error |",
        "| --- | --- | --- |",
    ]
    for key in whole:
        if key.endswith(", auc"):
            cohort = key.removesuffix(", auc")
            lines.append(f"| {cohort} | {_interval(whole[key])} | {_interval(whole[cohort + ', ece'])} |")
    return lines


def saco(results: dict[str, Any]) -> list[str]:
    """SACo+ against MoCo v2 and against no training, seed by seed and paired."""
    runs, found = results["runs"], results["differences"]
    arms = {"untrained": "untrained", "moco_v2": "MoCo v2", "saco_plus": "SACo+"}
    spent = {arm: sum(run[arm]["train_seconds"] for run in runs.values()) / len(runs) for arm in arms}
    lines = [
        f"Generated worlds, {len(runs)} seeds (`python benchmarks/saco.py`); frozen encoders, other places to test on.",
        f"CPU time of training: {spent['saco_plus']:.0f} s (SACo+) and {spent['moco_v2']:.0f} s (MoCo v2). Means over",
        "the seeds, and paired differences with 95 % intervals of Student's t:",
        "",
        f"| | {' | '.join(arms.values())} | SACo+ - untrained | SACo+ - MoCo v2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for figure, row in found.items():
        means = [f"{sum(run[arm][figure] for run in runs.values()) / len(runs):.3f}" for arm in arms]
        over = [row[f"over {arm}"] for arm in ("untrained", "moco_v2")]
        cells = means + [f"{d['value']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})" for d in over]
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    return lines


def mir180(results: dict[str, Any]) -> list[str]:
    """Mirrored views of unseen objects, by what the encoder learned from."""
    runs, setting = results["runs"], results["settings"]
    lines = [
        f"{setting['seconds']:g} CPU-seconds of training an arm, one thread (`python benchmarks/mir180.py`); the 95 %",
        "intervals draw the 12 objects:",
        "",
        "| | seed | steps | nearer than the opposite view | first of 287 | cosine of mirrored, of opposite views |",
        "| --- |" + " --- |" * 5,
    ]
    names = {"smcl": "`smcl`", "pixels": "pixels, no learning", "flipped pixels": "flipped pixels, no learning"}
    for seed, arms in sorted(runs.items(), key=lambda item: int(item[0])):
        order = ["smcl", *(name for name in arms if name != "smcl")] if seed == "0" else ["smcl"]
        for name in order:
            row = arms[name]
            cells = [seed, str(row.get("steps", "–")), _interval(row["triplet"]), _interval(row["top1"])]
            cells.append(f"{row['cosine_mirror']:.2f}, {row['cosine_opposite']:.2f}")
            lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return lines


def scenes(results: dict[str, Any]) -> list[str]:
    """Held-out views of a generated scene and of real photographs, beside what needs no learning."""
    lines = [
        "Views that training never saw, CPU time of training steps, one thread (`python benchmarks/scenes.py`);",
        "brackets hold 95 % intervals that draw the views:",
        "",
        "| scene | seed | CPU seconds | PSNR, dB | SSIM | nearest training view | mean image | white |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = {"demo": "generated, 64 x 64, 1,000 points", "fox": "fox, 135 x 240 photographs, 3,000 points"}
    for name, runs in results.items():
        for seed, row in runs.items():
            psnr, ssim = row["psnr"], row["ssim"]["value"]
            cells = [seed, f"{row['train']['seconds']:.0f}", "{value:.2f} ({low:.2f} to {high:.2f})".format(**psnr)]
            cells.append(f"{ssim:.3f}")
            cells += [f"{row['anchors'][k]['psnr']['value']:.2f}" for k in ("nearest_view", "mean_image", "white")]
            lines.append(f"| {names[name]} | {' | '.join(cells)} |")
    return lines


TABLES: dict[str, Callable[[Any], list[str]]] = {
    "scenes": scenes,
    "mir180": mir180,
    "csip": csip,
    "spatialclip": spatialclip,
    "saco": saco,
    "core": core,
    "core_growth": core_growth,
    "threads": threads,
    "large_batch": large_batch,
    "label_noise": label_noise,
    "evidential": evidential,
    "mvtec": mvtec,
    "demo": demo,
    "texture": texture,
    "boxes": boxes,
    "windowed": windowed,
    "graph_contrast": graph_contrast,
}


FILES = {"core_growth": "core"}
"""tables made from another one's results"""


def filled(page: Path) -> str:
    """The page with every `<!-- table: NAME -->` block made anew from benchmarks/results/NAME.json."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        source = ROOT / "benchmarks" / "results" / f"{FILES.get(name, name)}.json"
        results = json.loads(source.read_text(encoding="utf-8"))
        return "\n".join([f"<!-- table: {name} -->", "", *TABLES[name](results), "", "<!-- end -->"])

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", fill, page.read_text(encoding="utf-8"), flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Every page that holds generated text, as it should be."""
    texts = {ROOT / "docs/reference/configuration.md": configuration()}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        if "<!-- table:" in page.read_text(encoding="utf-8"):
            texts[page] = filled(page)
    return texts


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
