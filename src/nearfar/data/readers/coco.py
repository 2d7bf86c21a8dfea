"""COCO 2017: objects with segmentations, instances or panoptic; pairs are drawn from each image.

Lin et al., Microsoft COCO, ECCV 2014; Kirillov et al., Panoptic Segmentation, CVPR 2019.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.annotations import first_folder, load_json, need_keys
from nearfar.data.pairing import no_pairs, pair_scan, sample_pairs
from nearfar.data.pairs import PairRecord, Region
from nearfar.data.readers.base import Problem, Reader, Scan, root_of
from nearfar.data.regions import Runs
from nearfar.errors import DataError

SPLITS = {"train2017": "train", "val2017": "test", "train": "train", "val": "test", "test": "test"}
"""COCO's validation images are its only labelled ones beside training: they test, validation is taken from training"""


class Coco(Reader):
    """COCO: annotations/{instances,panoptic}_SPLIT.json, images/SPLIT or SPLIT; pairs of objects drawn from each image.

    Where both kinds of annotation are there, instances are read. Crowds and objects below `data.min_area` are left out;
    `data.pairs_per_image` ordered pairs are drawn by `data.split_seed`. There are no relations: labels are unknown.
    """

    name = "coco"
    priority = 60

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and bool(_files(root))

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        found, files = pair_scan(config), _files(root)
        if not files:
            expected = "annotations/instances_*.json or annotations/panoptic_*.json"
            raise DataError("there are no COCO annotations", where=root, expected=expected)
        for path in files:
            split = SPLITS.get(path.stem.split("_", 1)[1]) if len(files) > 1 else None
            _scan_file(found, root, path, split, config)
        if not found.records:
            found.problems.append(no_pairs(root))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.relations_layouts import write_coco

        return write_coco(root, scenes=max(count // 3, 8), size=max(size, 48), seed=seed)


@dataclass(frozen=True)
class _Thing:
    """One annotated object."""

    region: Region
    area: float


def _files(root: Path) -> list[Path]:
    folder = root / "annotations"
    for kind in ("instances", "panoptic"):
        if found := sorted(folder.glob(f"{kind}_*.json")):
            return found
    return []


def _scan_file(found: Scan, root: Path, path: Path, split: str | None, config: DataConfig) -> None:
    data = load_json(path)
    need_keys(data, ("images", "annotations", "categories"), path)
    part = path.stem.split("_", 1)[1]
    folder = first_folder(root, (f"images/{part}", part, "images"))
    categories = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
    panoptic = path.stem.startswith("panoptic")
    things = _panoptic(data, path.with_suffix(""), categories) if panoptic else _instances(data, path, categories)
    objects: dict[Any, list[_Thing]] = defaultdict(list)
    for image_id, thing in things:
        if isinstance(thing, Problem):
            found.problems.append(thing)
        else:
            objects[image_id].append(thing)
    for entry in sorted(data["images"], key=lambda entry: str(entry["file_name"])):
        image = folder / entry["file_name"]
        if not image.is_file():
            fix = "Download it, or remove its entry; its pairs are left out."
            found.problems.append(Problem(image, "the annotated image does not exist", fix, fatal=False))
            continue
        found.records += _pairs(image, root, entry, objects[entry["id"]], split, config)


def _pairs(
    image: Path, root: Path, entry: dict[str, Any], things: list[_Thing], split: str | None, config: DataConfig
) -> Iterator[PairRecord]:
    name = image.relative_to(root).as_posix()
    height, width = int(entry["height"]), int(entry["width"])
    chosen = sample_pairs(
        [thing.region.box or (0.0, 0.0, 0.0, 0.0) for thing in things],
        [thing.area for thing in things],
        height=height,
        width=width,
        count=config.pairs_per_image,
        min_area=config.min_area,
        max_iou=config.max_iou,
        seed=config.split_seed,
        key=name,
    )
    for i, j in chosen:
        yield PairRecord(
            id=f"{name}#{i}-{j}",
            paths=(image,),
            group=name,
            split=split,
            subject=things[i].region,
            object=things[j].region,
            shape=(height, width),
        )


def _instances(data: Any, path: Path, categories: dict[Any, str]) -> Iterator[tuple[Any, _Thing | Problem]]:
    sizes = {entry["id"]: (float(entry["width"]), float(entry["height"])) for entry in data["images"]}
    for number, entry in enumerate(data["annotations"]):
        if entry.get("iscrowd"):
            continue
        try:
            x, y, w, h = (float(v) for v in entry["bbox"])
            region = Region(
                box=(x, y, x + w, y + h), name=categories[entry["category_id"]], **_shape(entry.get("segmentation"))
            )
            width, height = sizes[entry["image_id"]]
            if w <= 0 or h <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
                raise DataError("the box is empty or outside the image", found=f"{entry['bbox']}")
        except (KeyError, TypeError, ValueError, DataError) as error:
            what = f"annotation {entry.get('id', number)} cannot be used: {type(error).__name__} {error}"
            yield None, Problem(path, what, "Mend or remove it; it is left out.", fatal=False)
            continue
        yield entry["image_id"], _Thing(region, float(entry.get("area", w * h)))


def _shape(segmentation: Any) -> dict[str, Any]:
    if not segmentation:
        return {}
    if isinstance(segmentation, dict):
        counts, (height, width) = segmentation["counts"], segmentation["size"]
        return {"runs": Runs(counts if isinstance(counts, str) else tuple(counts), int(height), int(width))}
    return {"polygons": tuple(tuple(float(v) for v in part) for part in segmentation if len(part) >= 6)}


def _panoptic(data: Any, folder: Path, categories: dict[Any, str]) -> Iterator[tuple[Any, _Thing | Problem]]:
    for entry in data["annotations"]:
        mask = folder / str(entry["file_name"])
        if not mask.is_file():
            fix = "Unpack the panoptic PNG files beside the JSON; its objects are left out."
            yield None, Problem(mask, "the panoptic mask does not exist", fix, fatal=False)
            continue
        for segment in entry["segments_info"]:
            if segment.get("iscrowd"):
                continue
            x, y, w, h = (float(v) for v in segment["bbox"])
            name = categories.get(segment["category_id"], "")
            region = Region(box=(x, y, x + w, y + h), mask=mask, value=int(segment["id"]), name=name)
            yield entry["image_id"], _Thing(region, float(segment["area"]))
