"""What the parts of data and networks cost and do."""

from __future__ import annotations

from typing import Any


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
