"""One's own labelled scenes: GeoTIFF images, and files of the same names with a class for every pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.footprints import grouped_by_place
from nearfar.data.geogrid import Grid
from nearfar.data.optics import SUFFIXES, Optics, band_files
from nearfar.data.rasters import Legend, RasterSource, raster_grid
from nearfar.data.readers.base import SPLITS, Problem, Scan
from nearfar.data.scenes import IGNORED, Colours, SceneReader, Source
from nearfar.data.tables import need_columns, read_table
from nearfar.errors import DataError

SENSOR = "sentinel2_l2a"
TABLE = "classes.csv"
_LABELS = (".tif", ".tiff", ".png")


class GeoTIFFLabelled(SceneReader):
    """ROOT/images/[SPLIT/]NAME.tif and ROOT/labels/[SPLIT/]NAME.tif with ROOT/classes.csv; or before, after and labels.

    An image may also be a folder NAME with a file a band. `classes.csv` has the columns value and name, and, if wanted,
    red, green and blue. With before and after instead of images the task is change: 0 unchanged, any other value
    changed. 255 and what a file declares as without data do not count. Scenes that overlap stay in one split.
    """

    name = "geotiff_labelled"
    priority = 30

    def recognises(self, root: Path) -> bool:
        return (root / "labels").is_dir() and any(
            all(any(True for _ in _images(root / name)) for name in names)
            for names in (("images",), ("before", "after"))
        )

    def find(self, root: Path, config: DataConfig, found: Scan) -> Iterable[Record]:
        change = not (root / "images").is_dir()
        if not change and not (root / TABLE).is_file():
            fix = "Write it: a line `value,name`, then one a class."
            found.problems.append(Problem(root / TABLE, "there is no table of classes", fix))
        parts = [root / name for name in (("before", "after") if change else ("images",))]
        records: list[Record] = []
        for image in _images(parts[0]):
            relative = image.relative_to(parts[0])
            dates = [_like(part, relative) for part in parts]
            mask = _label(root / "labels", relative)
            missing = [
                p.name for p, path in zip([*parts, root / "labels"], [*dates, mask], strict=True) if path is None
            ]
            if missing:
                fix = "Add it, or remove the others; the scene is not read."
                found.problems.append(Problem(image, f"the scene is not in {', '.join(missing)}", fix, fatal=False))
                continue
            name = relative.with_suffix("").as_posix()
            split = SPLITS.get(relative.parts[0]) if len(relative.parts) > 1 else None
            paths = tuple(path for path in dates if path is not None)
            records.append(Record(name, paths, group=name, split=split, mask=mask))
        return _placed(records)

    def source(self, config: DataConfig, record: Record) -> Source:
        root = Path(config.root or "")
        optics = Optics.of(config, record.paths[0], SENSOR)
        about = {"sensor": config.sensor or SENSOR}
        if len(record.paths) > 1:
            values = {value: min(value, 1) for value in range(255)} | {255: 1}
            colours: Colours | None = ((128, 128, 128), (255, 0, 0))
            about_change = about | {"kind": "change", "colours": colours}
            return RasterSource.of(record, optics, ("unchanged", "changed"), Legend(values), **about_change)
        classes, values, colours = read_legend(root / TABLE)
        return RasterSource.of(record, optics, classes, Legend(values), **about, colours=colours)

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_scenes import write_labelled

        return write_labelled(root, scenes=max(count // 6, 5), size=max(48, size), seed=seed)


def read_legend(path: Path) -> tuple[tuple[str, ...], dict[int, int], Colours | None]:
    """(names, value in the files -> class, colours) of a table of classes. Raises DataError naming the line."""
    rows = read_table(path)
    need_columns(path, rows, ("value", "name"))
    values: dict[int, int] = {IGNORED: IGNORED}
    names: list[str] = []
    colours: list[tuple[int, int, int]] = []
    for line, row in rows:
        try:
            value = int(row["value"])
            if "red" in row:
                colours.append((int(row["red"]), int(row["green"]), int(row["blue"])))
        except (ValueError, KeyError):
            raise DataError(
                "not whole numbers", where=f"{path}:{line}", found=row, expected="value, red, green, blue"
            ) from None
        if value in values:
            what = f"the value {value} {'never counts' if value == IGNORED else 'is there twice'}"
            raise DataError(what, where=f"{path}:{line}", fix="Give every class a value of its own, 0 to 254.")
        values[value] = len(names)
        names.append(row["name"])
    return tuple(names), values, tuple(colours) if colours else None


def _images(folder: Path) -> Iterator[Path]:
    """Files of several bands, and folders of files of one."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name in SPLITS:
            yield from _images(path)
        elif path.suffix.lower() in SUFFIXES or (path.is_dir() and band_files(path)):
            yield path


def _like(part: Path, relative: Path) -> Path | None:
    path = part / relative
    if path.exists():
        return path
    files = [path.with_suffix(suffix) for suffix in SUFFIXES] + [path.with_suffix("")]
    return next((file for file in files if file.exists()), None)


def _label(folder: Path, relative: Path) -> Path | None:
    files = [(folder / relative).with_suffix(suffix) for suffix in _LABELS]
    return next((file for file in files if file.is_file()), None)


def _placed(records: list[Record]) -> list[Record]:
    """Overlapping scenes in one group; those that cannot be opened are told by the check."""
    grids: list[Grid] = []
    for record in records:
        try:
            grids.append(raster_grid(record.paths[0]))
        except DataError:
            grids.append(Grid((0, 0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None))
    return grouped_by_place(records, grids)
