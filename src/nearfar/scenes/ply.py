"""Points in PLY files: binary and text, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import DataError, ShapeError

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float",
         "f8": "double"}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
COLOURS = ("red", "green", "blue")
BROKEN = "The file is truncated or corrupt: copy it again."


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str]] = field(default_factory=list)
    lists: bool = False


def read_ply(path: Path | str) -> dict[str, NDArray[Any]]:
    """The properties of the element vertex by name, [n] each in its own type.

    Raises DataError for a file that is missing, no PLY, truncated, or in whose vertices lists stand.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            order, elements = _header(stream, file)
            body = stream.read()
    except FileNotFoundError:
        raise DataError("the point file does not exist", where=file, fix="Check the path.") from None
    before = [element.name for element in elements].index("vertex")
    if any(element.lists for element in elements[: before + 1]):
        raise DataError("lists stand in or before the vertices of this PLY file", where=file, fix="Save points only.")
    read = _text if order == "" else _binary
    return read(body, elements[: before + 1], order, file)


def read_points(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """(points [n, 3], colours [n, 3] in 0..1 or None) of a PLY file. Raises DataError as `read_ply`, and for NaN."""
    columns = read_ply(path)
    if missing := [name for name in "xyz" if name not in columns]:
        raise DataError("the vertices have no place", where=path, found=f"no {' '.join(missing)}", expected="x y z")
    points = np.stack([columns[name] for name in "xyz"], axis=1).astype(np.float64)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise DataError("points hold NaN or infinite values", where=path, found=f"{bad} of {len(points)}", fix=BROKEN)
    if not all(name in columns for name in COLOURS):
        return points, None
    colours = np.stack([columns[name] for name in COLOURS], axis=1)
    top = float(np.iinfo(colours.dtype).max) if colours.dtype.kind in "iu" else 1.0
    return points, (colours / top).astype(np.float32)


def write_ply(
    path: Path | str,
    points: ArrayLike,
    colours: ArrayLike | None = None,
    *,
    extra: Mapping[str, ArrayLike] | None = None,
    text: bool = False,
) -> Path:
    """Writes points [n, 3] (as float), colours [n, 3] in 0..1 (as bytes) and further columns [n] in their own types.

    Binary, little endian, or as text. Returns the path. Raises ShapeError and DataError (NaN).
    """
    file, table = Path(path), _table(points, colours, extra or {})
    file.parent.mkdir(parents=True, exist_ok=True)
    form = "ascii" if text else "binary_little_endian"
    lines = ["ply", f"format {form} 1.0", "comment written by nearfar", f"element vertex {len(table)}"]
    names = table.dtype.names or ()
    lines += [f"property {NAMES[table.dtype[name].str[1:]]} {name}" for name in names]
    header = ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")
    if text:
        rows = "".join(" ".join(_number(value) for value in row) + "\n" for row in table)
        file.write_bytes(header + rows.encode("ascii"))
    else:
        file.write_bytes(header + table.tobytes())
    return file


def _table(points: ArrayLike, colours: ArrayLike | None, extra: Mapping[str, ArrayLike]) -> NDArray[Any]:
    places = np.asarray(points)
    if places.ndim != 2 or places.shape[1] != 3:
        raise ShapeError("points have three coordinates", found=places.shape, expected="[n, 3]")
    if not np.isfinite(places).all():
        raise DataError("points hold NaN or infinite values", fix="Remove them before writing.")
    columns = {name: places[:, k].astype("<f4") for k, name in enumerate("xyz")}
    if colours is not None:
        values = np.asarray(colours)
        if values.shape != places.shape:
            raise ShapeError("there is one colour a point", found=values.shape, expected=places.shape)
        bytes_ = np.rint(np.clip(values, 0, 1) * 255).astype("u1")
        columns |= {name: bytes_[:, k] for k, name in enumerate(COLOURS)}
    for name, column in extra.items():
        values = np.asarray(column)
        if values.shape != (len(places),) or values.dtype.str[1:] not in NAMES:
            raise ShapeError(
                f"column {name} does not fit",
                found=f"{values.dtype} {values.shape}",
                expected=f"numbers [{len(places)}]",
            )
        columns[name] = values.astype(values.dtype.newbyteorder("<"))
    table = np.empty(len(places), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def _number(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, np.float32) else repr(value.item())


def _header(stream: BinaryIO, file: Path) -> tuple[str, list[_Element]]:
    if stream.readline(16).strip() != b"ply":
        raise DataError("this is no PLY file", where=file, expected="the first line ply")
    order, elements = "?", list[_Element]()
    while words := stream.readline(4096).decode("latin-1").split() or ["comment"]:
        if words[0] == "end_header":
            break
        if words[0] == "comment" and stream.tell() >= file.stat().st_size:
            raise DataError("the header of the PLY file has no end", where=file, fix=BROKEN)
        try:
            order = ORDERS[words[1]] if words[0] == "format" else order
            _declare(words, elements)
        except (KeyError, IndexError, ValueError):
            raise DataError("the header of the PLY file is wrong", where=file, found=" ".join(words)) from None
    if order == "?" or "vertex" not in [element.name for element in elements]:
        raise DataError("the header of the PLY file names no format or no vertices", where=file)
    return order, elements


def _declare(words: Sequence[str], elements: list[_Element]) -> None:
    if words[0] == "element":
        elements.append(_Element(words[1], int(words[2])))
    elif words[0] == "property" and words[1] == "list":
        elements[-1].lists = True
    elif words[0] == "property":
        elements[-1].properties.append((words[2], TYPES[words[1]]))


def _binary(body: bytes, elements: Sequence[_Element], order: str, file: Path) -> dict[str, NDArray[Any]]:
    start = 0
    for element in elements:
        kind = np.dtype([(name, order + type_) for name, type_ in element.properties])
        stop = start + element.count * kind.itemsize
        if stop > len(body):
            raise _truncated(element, (len(body) - start) // max(kind.itemsize, 1), file)
        table, start = np.frombuffer(body[start:stop], kind), stop
    return {name: table[name].astype(type_) for name, type_ in elements[-1].properties}


def _text(body: bytes, elements: Sequence[_Element], order: str, file: Path) -> dict[str, NDArray[Any]]:
    lines = [line for line in body.decode("latin-1").splitlines() if line.strip()]
    skipped, vertex = sum(element.count for element in elements[:-1]), elements[-1]
    rows = [line.split() for line in lines[skipped : skipped + vertex.count]]
    if len(rows) < vertex.count:
        raise _truncated(vertex, len(rows), file)
    width = len(vertex.properties)
    if wrong := next((row for row in rows if len(row) != width), None):
        raise DataError(f"a vertex has {width} numbers", where=file, found=" ".join(wrong)[:80], fix=BROKEN)
    try:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    except ValueError as error:
        raise DataError("a vertex holds what is no number", where=file, found=str(error), fix=BROKEN) from None
    return {name: values[:, k].astype(type_) for k, (name, type_) in enumerate(vertex.properties)}


def _truncated(element: _Element, found: int, file: Path) -> DataError:
    return DataError(
        f"the PLY file ends before its last {element.name}", where=file, found=found, expected=element.count, fix=BROKEN
    )
