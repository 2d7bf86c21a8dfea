"""UnRel: unusual relations, with boxes; for retrieval without training.

Peyre, Laptev, Schmid, Sivic, Weakly-supervised Learning of Visual Relations, ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.config import DataConfig
from nearfar.data.annotations import first_folder
from nearfar.data.pairing import no_pairs, pair_scan
from nearfar.data.pairs import PairRecord, Region
from nearfar.data.readers.base import Problem, Reader, Scan, root_of
from nearfar.data.regions import Box
from nearfar.errors import DataError

NAME = "annotations.mat"


class UnRel(Reader):
    """UnRel: annotations.mat and images/; one sample a relation, boxes xmin ymin xmax ymax."""

    name = "unrel"
    priority = 60

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and (root / NAME).is_file()

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        path = root / NAME
        rows = list(_relations(path))
        classes = sorted({name for *_, name in rows})
        found, folder = pair_scan(config, classes), first_folder(root, ("images",))
        for number, (file, subject, target, name) in enumerate(rows):
            image = folder / file
            if not image.is_file():
                fix = "Unpack the images; its pairs are left out."
                found.problems.append(Problem(image, "the annotated image does not exist", fix, fatal=False))
                continue
            found.records.append(
                PairRecord(
                    id=f"{file}#{number}",
                    paths=(image,),
                    label=classes.index(name),
                    group=file,
                    subject=subject,
                    object=target,
                )
            )
        if not found.records:
            found.problems.append(no_pairs(root))
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.relations_layouts import write_unrel

        return write_unrel(root, scenes=max(count // 3, 8), size=max(size, 48), seed=seed)


def _relations(path: Path) -> Iterator[tuple[str, Region, Region, str]]:
    """(image file, subject, object, relation), one a relation: a pair may have several."""
    for number, entry in enumerate(_load(path)):
        try:
            file = str(entry.filename)
            for relation in np.atleast_1d(entry.relationships):
                names = _categories(entry, relation)
                regions = [
                    Region(box=_box(box), name=name)
                    for box, name in zip((relation.sub_box, relation.obj_box), names, strict=True)
                ]
                for word in np.atleast_1d(relation.rels):
                    yield file, regions[0], regions[1], str(word)
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                "the annotation cannot be used",
                where=f"{path}: image {number + 1}",
                found=f"{type(error).__name__}: {error}",
                expected="filename, objects and relationships with sub_box, obj_box and rels",
            ) from None


def _load(path: Path) -> Any:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError("there are no annotations", where=path.parent, expected=NAME, fix="Unpack UnRel there.")
    try:
        # Cells and structs of one element come out bare: atleast_1d wraps them again.
        return np.atleast_1d(loadmat(path, squeeze_me=True, struct_as_record=False)["annotations"])
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        found = f"{type(error).__name__}: {error}"
        raise DataError("not UnRel's annotations", where=path, found=found, fix="Download the file again.") from None


def _box(values: Any) -> Box:
    x0, y0, x1, y1 = (float(v) for v in np.asarray(values).ravel())
    return x0, y0, x1, y1


def _categories(entry: Any, relation: Any) -> tuple[str, str]:
    """Of subject and object: `sub` and `obj` are names, or count in `objects` from 1."""
    objects = np.atleast_1d(entry.objects)
    named = [v if isinstance(v, str) else str(objects[int(v) - 1].category) for v in (relation.sub, relation.obj)]
    return named[0], named[1]
