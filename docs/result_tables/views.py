"""What SMCL, its scenes and its objects reach."""

from __future__ import annotations

from typing import Any

from result_tables.words import interval, signed


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
        order = ["smcl", *(name for name in arms if name != "smcl")] if seed == "0" else ["smcl", "batches of 48"]
        for name in order:
            row = arms[name]
            cells = [seed, str(row.get("steps", "–")), interval(row["triplet"]), interval(row["top1"])]
            cells.append(f"{row['cosine_mirror']:.2f}, {row['cosine_opposite']:.2f}")
            lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return lines


def mir180_choice(results: dict[str, Any]) -> list[str]:
    """What was tried on other objects before batches of 24 were settled on."""
    runs = results["runs"]
    names = list(dict.fromkeys(name for arms in runs.values() for name in arms if "steps" in arms[name]))
    lines = [
        "| other objects | " + " | ".join(f"seed {seed}: first of 287" for seed in runs) + " |",
        "| --- |" + " --- |" * len(runs),
    ]
    for name in names:
        cells = [interval(arms[name]["top1"]) if name in arms else "–" for arms in runs.values()]
        lines.append(f"| {'batches of 24' if name == 'smcl' else name} | {' | '.join(cells)} |")
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
            cells = [seed, f"{row['train']['seconds']:.0f}", interval(psnr, 2)]
            cells.append(f"{ssim:.3f}")
            cells += [f"{row['anchors'][k]['psnr']['value']:.2f}" for k in ("nearest_view", "mean_image", "white")]
            lines.append(f"| {names[name]} | {' | '.join(cells)} |")
    return lines


def scenes_arms(results: dict[str, Any]) -> list[str]:
    """Parts of the point renderer at equal CPU time."""
    runs, apart = results["runs"], results["differences"]
    seeds = list(next(iter(runs.values())))
    lines = [
        f"The generated scene, {results['settings']['seconds']:g} CPU-seconds of steps an arm, one thread, seeds"
        f" {' and '.join(seeds)} (`python benchmarks/scenes.py --arms`);",
        "differences are paired by view and seed, and their 95 % intervals draw the views:",
        "",
        "| | steps | PSNR, dB | SSIM | PSNR apart | SSIM apart |",
        "| --- |" + " --- |" * 5,
    ]
    for name, rows in runs.items():
        found = list(rows.values())
        cells = [", ".join(f"{row['train']['steps']:,}" for row in found)]
        cells += [", ".join(f"{row['psnr']['value']:.2f}" for row in found)]
        cells += [", ".join(f"{row['ssim']['value']:.3f}" for row in found)]
        cells += [
            signed(apart[name][key], digits) if name in apart else "–" for key, digits in (("psnr", 2), ("ssim", 3))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def objects(results: dict[str, Any]) -> list[str]:
    """Views of seen and of unseen objects by a conditional field, beside what needs no learning."""
    setting, anchors = results["setting"], results["anchors"]
    counts, size = setting["objects"], setting["size"]
    lines = [
        f"{counts['seen']} objects to learn from, {setting['views']} views of {size} x {size} pixels each,"
        f" {len(setting['held_out'])} of them held out; {counts['unseen']} objects that",
        f"training never met. One source view; {setting['cpu_seconds']:g} CPU-seconds of one thread"
        " (`python benchmarks/objects.py`). PSNR in dB,",
        "and SSIM in brackets; the anchors need no learning:",
        "",
        "| | seed | steps | held-out views of seen objects | views of unseen objects |",
        "| --- | --- | --- | --- | --- |",
    ]
    for run in results["runs"]:
        cells = [f"{run[group]['psnr']:.2f} ({run[group]['ssim']:.3f})" for group in ("seen", "unseen")]
        lines.append(f"| rendered | {run['seed']} | {run['steps']:,} | {' | '.join(cells)} |")
    for name in anchors["seen"]:
        cells = [f"{anchors[group][name]:.2f}" if name in anchors[group] else "–" for group in ("seen", "unseen")]
        lines.append(f"| {OBJECT_ANCHORS[name]} | – | – | {' | '.join(cells)} |")
    return lines


OBJECT_ANCHORS = {
    "white": "white picture",
    "source_copy": "the source view itself",
    "mean_image": "mean image of the training objects",
    "nearest_training_view": "nearest training view",
}


def points(results: dict[str, Any]) -> list[str]:
    """A step of the point renderer against the published algorithm."""
    lines = [
        f"One training step of {results['rays']:,} rays among {results['points']:,} points with"
        f" K = {results['neighbours']} and the published widths, one thread, alternated in one run",
        f"of {results['rounds']} rounds with the published algorithm (`python benchmarks/points.py`):",
        "",
        "| | CPU seconds, median | peak memory above the input |",
        "| --- | --- | --- |",
    ]
    for arm, seconds in results["median_cpu_seconds"].items():
        lines.append(f"| {arm} | {seconds:.2f} | {results['peak_bytes'][arm] / 2**30:.2f} GiB |")
    return [
        *lines,
        "",
        f"{results['time_ratio']:.1f} times faster and {results['memory_ratio']:.1f} times less memory. Colours differ"
        f" by {results['largest_difference_of_colours']:.4f} at most, where rounding ties a point with the next.",
    ]
