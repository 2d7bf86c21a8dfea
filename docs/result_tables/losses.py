"""What losses cost and gain."""

from __future__ import annotations

from typing import Any


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
    limit = f" Two processes of one thread get {results['limit']:.2f} times the products of one done."
    return [start + ", ".join(gains) + "." + limit]


def large_batch(results: list[dict[str, Any]]) -> list[str]:
    """Steps of many images in two passes."""
    lines = ["| images, two views each | CPU time of the step | of which the loss | peak memory above the input |"]
    lines.append("| --- | --- | --- | --- |")
    for r in results:
        lines.append(
            f"| {r['images']:,} | {r['seconds']:.0f} s | {r['loss_seconds'] / r['seconds']:.0%} | {r['MB']:.0f} MB |"
        )
    return lines
