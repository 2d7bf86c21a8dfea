"""The sections of a report about pairs of objects: banners beside their pictures, relations, retrieval, questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.evaluate.metrics import paired_difference
from nearfar.report import banner_figures as figures
from nearfar.report import maps
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.sections import arrays
from nearfar.report.summary import lookup

if TYPE_CHECKING:
    from nearfar.train import Run

Runs = Mapping[str, "Run"]
Arrays = Mapping[str, np.ndarray]

PROBES = {
    "finetune": "encoder fine-tuned",
    "linear": "linear probe on features",
    "mlp": "one hidden layer on features",
    "boxes": "without the picture: boxes alone",
    "banner": "without the picture: the force banner",
    "majority": "most frequent relation",
}
ANSWERS = {
    "picture": "question and picture",
    "boxes": "question and boxes, no picture",
    "question_only": "question alone",
    "majority": "most frequent answer",
}
WAYS = {"features": "by picture", "sketch": "by banner", "oracle": "oracle"}
RANKED = {"features": "features", "embeddings": "embeddings", "sketch": "banner to picture"}
QUERIES = 4  # of a retrieval sheet


def banners(runs: Runs) -> Section:
    """Pairs with their banners, flat and round; the data of the first run that has them."""
    part = Section("Pairs and their force banners")
    run, data = _first(runs, "banners")
    if run is None or data is None:
        return part
    path = figures.banner_figure(
        _drawn(data), data["forces"].tolist(), run.figures / "banners.png", symmetric=_symmetric(data)
    )
    caption = (
        "Test pairs, the subject outlined in blue, the object in orange, and the banner of their masks: for each force "
        "r and direction how strongly the subject is drawn that way from the object. Each row is scaled to its maximum."
    )
    part.figures.append(Picture(path, "pairs of objects and their force banners", caption, wide=True))
    return part


def relations(runs: Runs, folder: Path) -> Section:
    """Recognition of relations: probes beside baselines, paired differences, confusion, per-predicate figures."""
    part = Section("Spatial relations")
    known = {name: run for name, run in runs.items() if "relations" in run.metrics}
    panels = []
    for name, run in known.items():
        found = run.metrics["relations"]
        part.tables.append(_probes(name, found))
        confusion = lookup(found, "linear", "confusion")
        if confusion:
            panels.append((name, np.array(confusion["counts"]), confusion["classes"]))
        part.tables += _per_predicate(name, found)
        if "minus_boxes" in found:
            part.texts.append(
                f"{name}: the linear probe minus the boxes alone, accuracy {number(found['minus_boxes']['accuracy'])}."
            )
    part.tables += _difference(known)
    if known:
        part.texts.append("Intervals draw whole images, because the pairs of one image are alike.")
    if panels:
        path = maps.confusion_figure(panels, folder / "relations_confusion.png")
        caption = "Linear probe: true relation in rows, predicted one in columns."
        part.figures.append(Picture(path, "confusion of relations", caption, wide=True))
    return part


def retrieval(runs: Runs, folder: Path) -> Section:
    """Retrieval by banners: NDCG between chance and oracle, and sheets of what was found."""
    part = Section("Pairs that lie alike")
    curves: dict[str, Any] = {}
    rows = []
    for name, run in runs.items():
        for way, title in RANKED.items():
            found = lookup(run.metrics, "banners", way)
            if not found:
                continue
            curves[f"{name}, {title}"] = found["ndcg"]
            rows.append([f"{name}, {title}", *_gain_row(found)])
    if not rows:
        return part
    head = ["ranked by", "NDCG@5", "chance", "rescaled", "mAP by relation", "chance", "order by banners"]
    caption = "Relevance is the cosine of two banners; rescaled is 0 at chance and 1 for the order by banners."
    part.tables.append(Table(head, rows, caption))
    part.tables += _recall(runs)
    path = figures.gain_figure(curves, folder / "retrieval.png")
    caption = "NDCG with intervals; dashed: chance; the line at 1: the order by the banners themselves."
    part.figures.append(Picture(path, "retrieval by banners over k", caption))
    for name, run in runs.items():
        data = arrays(run, "banners")
        if data is not None:
            caption = (
                f"{name}: test pairs and what is found for each in other images, with the cosine of both banners; "
                "the oracle ranks by that cosine."
            )
            part.figures.append(Picture(_sheet(run, data), f"pairs retrieved by {name}", caption, wide=True))
    return part


def questions(runs: Runs) -> Section:
    """Questions about pairs: accuracy by kind beside the question alone, and some with their answers."""
    part = Section("Questions about pairs")
    for name, run in runs.items():
        found = run.metrics.get("vqa")
        if not found:
            continue
        kinds = [kind for kind in found["picture"] if kind != "accuracy"]
        rows = [
            [title, *(number(found[key][column]) for column in ("accuracy", *kinds))]
            for key, title in ANSWERS.items()
            if key in found
        ]
        part.tables.append(Table(["answered from", "accuracy", *kinds], rows, f"{name}, test questions"))
        data = arrays(run, "vqa")
        if data is not None:
            path = figures.answers_figure(_answers(data), run.figures / "questions.png")
            caption = f"{name}: test questions; green answers are right, of red ones the right answer follows."
            part.figures.append(Picture(path, f"questions answered by {name}", caption, wide=True))
    return part


def _first(runs: Runs, name: str) -> tuple[Run | None, dict[str, np.ndarray] | None]:
    for run in runs.values():
        data = arrays(run, name)
        if data is not None:
            return run, data
    return None, None


def _drawn(data: Arrays) -> list[figures.Drawn]:
    columns = zip(data["picture"], data["masks"], data["banner"], data["word"], strict=True)
    return [figures.Drawn(picture, masks, banner, str(word)) for picture, masks, banner, word in columns]


def _symmetric(data: Arrays) -> bool:
    return bool(data["symmetric"]) if "symmetric" in data else False


def _probes(name: str, found: Mapping[str, Any]) -> Table:
    """One row a probe or baseline, the ceiling last where it is known."""
    fitting = any("fitting" in found.get(key, {}) for key in PROBES)
    rows = []
    for key, title in PROBES.items():
        if key in found:
            values = [found[key]["accuracy"], found[key]["balanced_accuracy"], found[key]["macro"]["f1"]]
            rows.append([title, *map(number, [*values, *([found[key].get("fitting")] if fitting else [])])])
    if "ceiling" in found:
        rows.append(["no method exceeds on average", number(found["ceiling"]), "–", "–", *["–"] * fitting])
    head = ["", "accuracy", "balanced accuracy", "macro F1", *(["a word that fits"] if fitting else [])]
    return Table(head, rows, f"{name}, {found.get('test_pairs', '')} test pairs")


def _per_predicate(name: str, found: Mapping[str, Any]) -> list[Table]:
    per_class: Mapping[str, Any] = lookup(found, "linear", "per_class") or {}
    rows = [
        [word, *(number(values[key]) for key in ("precision", "recall", "f1", "support"))]
        for word, values in per_class.items()
    ]
    head = ["relation", "precision", "recall", "F1", "pairs"]
    return [Table(head, rows, f"{name}, linear probe")] if rows else []


def _difference(runs: Runs) -> list[Table]:
    """The first of two runs minus the second, on the same test pairs."""
    if len(runs) != 2:
        return []
    first, second = (arrays(run, "relations") for run in runs.values())
    if first is None or second is None or not np.array_equal(first["id"], second["id"]):
        return []
    config = next(iter(runs.values())).config.eval
    rows = []
    for key in ("linear", "mlp"):
        difference = paired_difference(
            first["true"],
            first[f"predicted/{key}"],
            second[f"predicted/{key}"],
            len(first["classes"]),
            metric="accuracy",
            clusters=first["image"],
            resamples=config.bootstrap,
            confidence=config.confidence,
            seed=config.seed,
        )
        rows.append([PROBES[key], number(difference)])
    return [Table(["on the same test pairs, accuracy", " minus ".join(runs)], rows, "Paired differences")]


def _gain_row(found: Mapping[str, Any]) -> list[str]:
    level, precision = found["ndcg"]["5"], found["map"] or {}
    return [
        number(level),
        number(level["chance"]),
        number(level["rescaled"]),
        number(precision or None),
        number(precision.get("chance")),
        number(precision.get("oracle")),
    ]


def _recall(runs: Runs) -> list[Table]:
    rows, levels = [], []
    for name, run in runs.items():
        found = lookup(run.metrics, "banners", "sketch", "recall")
        if found:
            levels = list(found)
            rows.append([name, *(number(value) for value in found.values())])
            rows.append([f"{name}, chance", *(number(value["chance"]) for value in found.values())])
    caption = "How often the picture of a pair is among the first k for its banner, as for two blobs drawn like it"
    return [Table(["", *(f"first {k}" for k in levels)], rows, caption)] if rows else []


def _sheet(run: Run, data: Arrays) -> Path:
    ways = [way for way in WAYS if f"hits/{way}/picture" in data]
    count = min(QUERIES, len(data["banner"]))
    hits = []
    for q in range(count):
        found = {}
        for way in ways:
            columns = [data[f"hits/{way}/{key}"][q] for key in ("picture", "masks", "relevance", "word")]
            found[WAYS[way]] = [
                (p, m, f"{word}\n{value:.2f}".strip()) for p, m, value, word in zip(*columns, strict=True)
            ]
        hits.append(found)
    forces = data["forces"].tolist()
    path = run.figures / "retrieved.png"
    return figures.retrieval_figure(_drawn(data)[:count], forces, hits, path, symmetric=_symmetric(data))


def _answers(data: Arrays) -> list[tuple[np.ndarray, np.ndarray, str, str, bool]]:
    rows = []
    for k, i in enumerate(data["shown"]):
        answer, guess = str(data["answer"][i]), str(data["predicted/picture"][i])
        right = answer == guess
        text = guess if right else f"{guess} (right: {answer})"
        rows.append((data["picture"][k], data["masks"][k], str(data["question"][i]), text, right))
    return rows
