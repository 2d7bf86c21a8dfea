"""SpatialSense: photographs of Flickr and NYU with boxes and nine spatial relations, also ones that do not hold.

Yang, Russakovsky, Deng, SpatialSense: An Adversarially Crowdsourced Benchmark for Spatial Relation Recognition, ICCV
2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.annotations import load_json, shown_box, unknown_predicate
from nearfar.data.pairing import no_pairs, pair_scan
from nearfar.data.pairs import PairRecord, Region
from nearfar.data.readers.base import SPLITS, Problem, Reader, Scan, root_of
from nearfar.errors import ConfigError, DataError

PREDICATES = (
    *("above", "behind", "in", "in front of", "next to"),
    *("on", "to the left of", "to the right of", "under"),
)
HOLDS = ("no", "yes")
NAMES = ("annotations.json", "annotation.json")


class SpatialSense(Reader):
    """SpatialSense: annotations.json and images/{flickr,nyu}; nine relations, or whether one holds.

    `data.protocol` official: the relations that hold, nine classes, as C-SIP does. binary: all, the class is whether
    the relation `predicate` of the sample holds, as the data set was made for.
    """

    name = "spatialsense"
    priority = 60

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and _table_of(root) is not None and (root / "images").is_dir()

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        path = _table_of(root)
        if path is None:
            raise DataError("there are no annotations", where=root, expected=" or ".join(NAMES))
        if config.protocol not in ("official", "binary"):
            raise ConfigError(
                "SpatialSense has no such protocol",
                where="data.protocol",
                found=config.protocol,
                expected="official | binary",
            )
        binary = config.protocol == "binary"
        found = pair_scan(config, HOLDS if binary else PREDICATES, PREDICATES if binary else ())
        data = load_json(path)
        if not isinstance(data, list):
            raise DataError("the annotations are not a list of images", where=path, found=type(data).__name__)
        for number, entry in enumerate(data):
            _scan_image(found, root, path, number, entry, binary)
        if not found.records:
            found.problems.append(no_pairs(root))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.relations_layouts import write_spatialsense

        return write_spatialsense(root, scenes=max(count // 3, 8), size=max(size, 48), seed=seed)


def _table_of(root: Path) -> Path | None:
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _scan_image(found: Scan, root: Path, path: Path, number: int, entry: Any, binary: bool) -> None:
    try:
        url, shape = str(entry["url"]), (int(entry["height"]), int(entry["width"]))
        split, annotations = SPLITS[entry["split"]], list(entry["annotations"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"image {number} lacks or has a wrong {error}"
        found.problems.append(Problem(path, what, "It needs url, height, width, split and annotations."))
        return
    image = root / "images" / ("flickr" if url.startswith("http") else "nyu") / PurePosixPath(url).name
    if not image.is_file():
        fix = "Download it; its pairs are left out."
        found.problems.append(Problem(image, "the annotated image does not exist", fix, fatal=False))
        return
    for position, relation in enumerate(annotations):
        where = f"{path}: {image.name}, relation {relation.get('_id', position)}"
        for part in _read(relation, shape, where):
            if isinstance(part, Problem):
                found.problems.append(part)
                continue
            subject, target, predicate = part
            if not binary and not relation["label"]:
                continue
            name = image.relative_to(root).as_posix()
            found.records.append(
                PairRecord(
                    id=f"{name}#{relation.get('_id', position)}",
                    paths=(image,),
                    label=int(bool(relation["label"])) if binary else predicate,
                    group=name,
                    split=split,
                    subject=subject,
                    object=target,
                    shape=shape,
                    predicate=predicate if binary else -1,
                )
            )


def _read(
    relation: Mapping[str, Any], shape: tuple[int, int], where: str
) -> Iterator[Problem | tuple[Region, Region, int]]:
    """(subject, object, predicate), or what is wrong."""
    try:
        name, regions = str(relation["predicate"]), []
        for role in ("subject", "object"):
            y0, y1, x0, x1 = relation[role]["bbox"]  # rows first, then columns
            box = shown_box((x0, y0, x1, y1), *shape)
            if box is None:
                what = f"the box of the {role} is empty or outside the image (found {relation[role]['bbox']})"
                yield Problem(where, what, "Boxes are y0, y1, x0, x1; the relation is left out.", fatal=False)
                return
            regions.append(Region(box=box, name=str(relation[role]["name"])))
        _ = relation["label"]
    except (KeyError, TypeError, ValueError) as error:
        yield Problem(
            where, f"the relation lacks or has a wrong {error}", "It needs predicate, subject, object, label."
        )
        return
    if name not in PREDICATES:
        yield unknown_predicate(name, PREDICATES, where)
        return
    yield regions[0], regions[1], PREDICATES.index(name)
