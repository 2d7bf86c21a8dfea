"""Scenes of the relations world in the layouts of COCO, SpatialSense, UnRel and GQA: what their readers are tested on.

Each returns the folder it wrote.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.synthetic.relations import choose_pairs, scenes, split_names
from nearfar.data.synthetic.relations_rules import PREDICATES, Pair
from nearfar.data.synthetic.relations_scene import Scene
from nearfar.spatial.coverage import encode_runs


@dataclass(frozen=True)
class _Shot:
    number: int
    split: str
    scene: Scene
    pairs: list[Pair]
    picture: Any

    def names(self) -> list[str]:
        return [thing.shape for thing in self.scene.things]

    def boxes(self) -> list[tuple[int, int, int, int]]:
        """x0, y0, x1, y1 of what is seen of each thing."""
        found = []
        for number in range(1, len(self.scene.things) + 1):
            rows, columns = np.nonzero(self.scene.labels == number)
            found.append((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1))
        return found


def _shots(count: int, size: int, seed: int) -> Iterator[_Shot]:
    rng, used = np.random.default_rng([seed, 3]), Counter[str]()
    splits = split_names(rng, count)
    for number, ((id, scene, picture), split) in enumerate(zip(scenes(count, size, seed), splits, strict=True)):
        yield _Shot(number, split, scene, choose_pairs(rng, id, split, scene, used), picture)


def _save(path: Path, picture: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _dump(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def write_coco(root: Path, *, scenes: int = 8, size: int = 48, seed: int = 0, panoptic: bool = False) -> Path:
    """`annotations/instances_{train,val}2017.json` (or panoptic ones, with their PNG files) and `images/`."""
    parts: dict[str, dict[str, Any]] = {
        name: {"images": [], "annotations": [], "categories": []} for name in ("train2017", "val2017")
    }
    categories: dict[str, int] = {}
    for shot in _shots(scenes, size, seed):
        name = "val2017" if shot.split == "test" else "train2017"
        file = f"{shot.number:012d}.png"
        _save(root / "images" / name / file, shot.picture)
        entry = {"id": shot.number, "width": size, "height": size, "file_name": file}
        parts[name]["images"].append(entry)
        objects = [_coco_object(shot, k, size, categories, panoptic) for k in range(len(shot.scene.things))]
        if panoptic:
            labels = np.stack([shot.scene.labels, *np.zeros((2, size, size), np.uint8)], -1)
            _save(root / f"annotations/panoptic_{name}" / file, labels)
            parts[name]["annotations"].append({"image_id": shot.number, "file_name": file, "segments_info": objects})
        else:
            parts[name]["annotations"] += objects
    for name, part in parts.items():
        part["categories"] = [{"id": number, "name": shape} for shape, number in categories.items()]
        _dump(root / f"annotations/{'panoptic' if panoptic else 'instances'}_{name}.json", part)
    return root


def _coco_object(shot: _Shot, k: int, size: int, categories: dict[str, int], panoptic: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = shot.boxes()[k]
    mask = shot.scene.labels == k + 1
    found = {
        "id": k + 1 if panoptic else 100 * shot.number + k,
        "category_id": categories.setdefault(shot.names()[k], len(categories) + 1),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": 0,
    }
    if not panoptic:
        found |= {"image_id": shot.number, "segmentation": {"size": [size, size], "counts": encode_runs(mask)}}
    return found


def write_spatialsense(root: Path, *, scenes: int = 8, size: int = 48, seed: int = 0) -> Path:
    """`annotations.json`, `images/flickr` and `images/nyu`; beside each relation that holds, one that does not."""
    rows = []
    for shot in _shots(scenes, size, seed):
        file = f"{shot.number:05d}.png"
        nyu = shot.number % 2 == 1
        _save(root / "images" / ("nyu" if nyu else "flickr") / file, shot.picture)
        relations = [_sense(shot, pair, holds) for pair in shot.pairs for holds in (True, False)]
        rows.append(
            {
                "url": file if nyu else f"http://farm.example/{file}",
                "nsid": "",
                "height": size,
                "width": size,
                "split": "valid" if shot.split == "val" else shot.split,
                "annotations": relations,
            }
        )
    _dump(root / "annotations.json", rows)
    return root


def _sense(shot: _Shot, pair: Pair, holds: bool) -> dict[str, Any]:
    def thing(number: int) -> dict[str, Any]:
        x0, y0, x1, y1 = shot.boxes()[number]
        return {"name": shot.names()[number], "x": (x0 + x1) // 2, "y": (y0 + y1) // 2, "bbox": [y0, y1, x0, x1]}

    wrong = [word for word in PREDICATES if word not in pair.weights]
    return {
        "_id": f"{pair.id}-{int(holds)}",
        "predicate": pair.word if holds else wrong[shot.number % len(wrong)],
        "subject": thing(pair.subject),
        "object": thing(pair.target),
        "label": holds,
    }


def write_unrel(root: Path, *, scenes: int = 8, size: int = 48, seed: int = 0) -> Path:
    """`annotations.mat` and `images/`."""
    from scipy.io import savemat

    entries = []
    for shot in _shots(scenes, size, seed):
        file, boxes = f"{shot.number}.png", shot.boxes()
        _save(root / "images" / file, shot.picture)
        objects = [{"category": n, "box": np.array(b, float)} for n, b in zip(shot.names(), boxes, strict=True)]
        relations = [
            {
                "sub": pair.subject + 1,
                "obj": pair.target + 1,
                "sub_box": np.array(boxes[pair.subject], float),
                "obj_box": np.array(boxes[pair.target], float),
                "rels": np.array([pair.word], dtype=object),
            }
            for pair in shot.pairs
        ]
        entries.append(
            {
                "filename": file,
                "im_id": shot.number,
                "objects": np.array(objects, dtype=object),
                "relationships": np.array(relations, dtype=object),
            }
        )
    savemat(root / "annotations.mat", {"annotations": np.array(entries, dtype=object).reshape(-1, 1)})
    return root


def write_gqa(root: Path, *, scenes: int = 8, size: int = 48, seed: int = 0) -> Path:
    """`{train,val}_sceneGraphs.json`, `{train,val}_balanced_questions.json` and `images/`."""
    graphs: dict[str, dict[str, Any]] = {"train": {}, "val": {}}
    questions: dict[str, dict[str, Any]] = {"train": {}, "val": {}}
    for shot in _shots(scenes, size, seed):
        path = root / "images" / f"{shot.number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shot.picture).save(path, quality=95)
        objects: dict[str, dict[str, Any]] = {
            str(k): {"name": name, "x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0, "attributes": [], "relations": []}
            for k, (name, (x0, y0, x1, y1)) in enumerate(zip(shot.names(), shot.boxes(), strict=True))
        }
        for pair in shot.pairs:
            objects[str(pair.subject)]["relations"].append({"name": pair.word, "object": str(pair.target)})
        graph = {"width": size, "height": size, "objects": objects}
        split = "val" if shot.split == "test" else "train"
        graphs[split][str(shot.number)] = graph
        questions[split] |= _gqa_questions(shot)
    for name, graph in graphs.items():
        _dump(root / f"{name}_sceneGraphs.json", graph)
        _dump(root / f"{name}_balanced_questions.json", questions[name])
    return root


def _gqa_questions(shot: _Shot) -> dict[str, Any]:
    """A true and a false yes/no question, and a choice, about each pair."""
    found: dict[str, Any] = {}
    for pair in shot.pairs:
        target = f"{shot.names()[pair.target]} ({pair.target})"
        wrong = [word for word in PREDICATES if word not in pair.weights][shot.number % 2]
        for word, answer, kind in (
            (pair.word, "yes", "verify"),
            (wrong, "no", "verify"),
            (f"{wrong}|{pair.word}", pair.word, "choose"),
        ):
            said = f"{shot.names()[pair.subject]} {word.replace('|', ' or ')} the {shot.names()[pair.target]}?"
            found[f"{shot.number}{len(found):04d}"] = {
                "imageId": str(shot.number),
                "question": f"Is the {said}",
                "answer": answer,
                "types": {"structural": kind, "semantic": "rel"},
                "semantic": [
                    {"operation": "select", "dependencies": [], "argument": target},
                    {
                        "operation": f"{kind} rel",
                        "dependencies": [0],
                        "argument": f"{shot.names()[pair.subject]},{word},s ({pair.subject})",
                    },
                ],
            }
    return found
