"""What methods reach."""

from __future__ import annotations

from typing import Any

from result_tables.words import interval


def mvtec(results: dict[str, Any]) -> list[str]:
    """One-class anomaly detection on the transistor images."""
    lines = ["`nearfar train patches` and what it is compared with (`python benchmarks/mvtec.py`):", ""]
    lines += ["| | image AUROC | pixel AUROC | AUPRO |", "| --- | --- | --- | --- |"]
    for name, row in {**results["measures"], **results["differences"]}.items():
        lines.append(
            f"| {name} | {' | '.join(interval(row[key]) for key in ('image_auroc', 'pixel_auroc', 'aupro'))} |"
        )
    return lines


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
        measures = [interval(result["comparison"][f"{m} balanced accuracy"]) for m in ("kNN", "linear probe")]
        found = [result[name]["noise"]["average_precision"]["value"] for name in ("disco", "supcon")]
        lines.append(f"| {seed} | {' | '.join(measures)} | {found[0]:.3f} against {found[1]:.3f} |")
    return lines


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
            cells += [f"{sum(found) / len(found):.3f}" if found else "", f"{interval(gap)}" if gap else ""]
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
        cells = [f"{interval(row['auc'])}", f"{ceilings[seen]:.3f}", f"{row['auc_minus_ceiling']['value']:+.3f}"]
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
            lines.append(f"| {cohort} | {interval(whole[key])} | {interval(whole[cohort + ', ece'])} |")
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
