"""GQA scene graphs: objects with boxes and named relations between them.

Hudson, Manning, GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question Answering, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.annotations import load_json, shown_box
from nearfar.data.pairing import no_pairs, pair_scan
from nearfar.data.pairs import PairRecord, Region
from nearfar.data.readers.base import Problem, Reader, Scan, root_of
from nearfar.errors import DataError

SPLITS = {"train": "train", "val": "test"}
"""the scene graphs of GQA's test images are not public: its validation tests, validation is taken from training"""
ENDING = "_sceneGraphs.json"


class Gqa(Reader):
    """GQA: {train,val}_sceneGraphs.json (or in sceneGraphs/), images/ID.jpg; classes: the relations that occur."""

    name = "gqa"
    priority = 60

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and bool(graph_files(root))

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        files = graph_files(root)
        if not files:
            raise DataError("there are no scene graphs", where=root, expected=f"train{ENDING}, val{ENDING}")
        graphs = {path: load_json(path) for path in files}
        relations = [(path, *row) for path in files for row in _relations(graphs[path], path)]
        classes = sorted({name for *_, name, _ in relations})
        found = pair_scan(config, classes)
        for path, image_id, subject, name, target in relations:
            split = SPLITS.get(path.name.removesuffix(ENDING)) if len(files) > 1 else None
            record = _record(root, graphs[path][image_id], image_id, (subject, target))
            if isinstance(record, Problem):
                found.problems.append(record)
            else:
                id = f"{record.id}-{name}"
                found.records.append(replace(record, id=id, label=classes.index(name), split=split))
        if not found.records:
            found.problems.append(no_pairs(root))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.relations_layouts import write_gqa

        return write_gqa(root, scenes=max(count // 3, 8), size=max(size, 48), seed=seed)


def graph_files(root: Path) -> list[Path]:
    """The files of scene graphs below a root."""
    return sorted(root.glob(f"*{ENDING}")) or sorted((root / "sceneGraphs").glob(f"*{ENDING}"))


def _relations(graph: Any, path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(image, subject, relation, object) of one file, the things by their keys."""
    if not isinstance(graph, dict):
        raise DataError("the scene graphs are not an object", where=path, found=type(graph).__name__)
    for image_id in sorted(graph):
        try:
            for key, thing in graph[image_id]["objects"].items():
                given = thing.get("relations") or []
                # The example on the web site has an object here, the files have a list.
                for relation in given.values() if isinstance(given, dict) else given:
                    yield image_id, key, str(relation["name"]), str(relation["object"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                "the scene graph cannot be used",
                where=f"{path}: image {image_id}",
                found=f"{type(error).__name__} {error}",
            ) from None


def _record(root: Path, graph: Any, image_id: str, keys: tuple[str, str]) -> PairRecord | Problem:
    image = root / "images" / f"{image_id}.jpg"
    if not image.is_file():
        fix = "Unpack the images there; its pairs are left out."
        return Problem(image, "the image of a scene graph does not exist", fix, fatal=False)
    regions: list[Region] = []
    try:
        shape = (int(graph["height"]), int(graph["width"]))
        for key in keys:
            thing = graph["objects"][key]
            x, y, w, h = (float(thing[side]) for side in "xywh")
            box = shown_box((x, y, x + w, y + h), *shape)
            if box is None:
                what = f"the box of object {key} is empty or outside the image"
                return Problem(image, what, "Its relations are left out.", fatal=False)
            regions.append(Region(box=box, name=str(thing["name"])))
    except (KeyError, TypeError, ValueError) as error:
        what = f"the relation of {' and '.join(keys)} lacks or has a wrong {error}"
        return Problem(image, what, "Objects need name, x, y, w, h; it is left out.", fatal=False)
    return PairRecord(
        id=f"{image_id}#{'-'.join(keys)}",
        paths=(image,),
        group=image_id,
        subject=regions[0],
        object=regions[1],
        shape=shape,
    )
