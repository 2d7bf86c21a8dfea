"""`nearfar banner`: the force banner of two masks, polygons or boxes, as a picture and as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nearfar.cli.common import fresh_file, parse, result, table
from nearfar.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from nearfar.data.regions import Frame, Region
    from nearfar.report.banner_figures import Drawn

WORDS = ("right", "above right", "above", "above left", "left", "below left", "below", "below right")
SHOWN = 5  # forces of the table
SIDE = 384
"""pixels: larger crops of masks are averaged down to it, since the time grows with the square; see the guide"""


@dataclass
class Arguments:
    """The force banner of two objects: how the first (subject) lies to the second (object).

    Give two mask files; or one label image and the two --values; or --boxes or --polygons, with the picture that they
    lie on if it shall be drawn.
    """

    inputs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """masks (not 0: the object), a label image, or a picture"""
    values: tuple[int, int] | None = None
    """numbers of subject and object in a label image"""
    boxes: tuple[float, ...] = ()
    """x0 y0 x1 y1 of the subject, then of the object, in pixels, y down"""
    polygons: tuple[str, ...] = ()
    """corners "x,y,x,y,..." of the subject, then of the object; several parts separated by ;"""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """picture; default banner.png, or none where --npy or --json is given"""
    npy: Path | None = None
    """the banner as a NumPy file [forces, directions]"""
    rows: int = 24
    """forces r, evenly from -5 to 5"""
    forces: tuple[float, ...] = ()
    """these forces r instead"""
    directions: int = 180
    normalize: Literal["row_max", "global_max", "scale", "mass", "log", "none"] = "row_max"
    """what makes banners comparable; row_max forgets how far the objects are apart"""
    symmetric: bool = False
    """the same for (subject, object) and (object, subject)"""
    force: bool = False
    """overwrite files"""
    json: bool = False
    """the banner as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "banner")
    import numpy as np

    from nearfar.report.banner_figures import banner_figure

    if not args.forces and args.rows < 2:
        raise ConfigError("a banner of evenly spaced forces needs two", where="--rows", found=args.rows)
    forces = args.forces or tuple(np.linspace(-5, 5, args.rows).round(10).tolist())
    drawn = pair_of(args, forces)
    files: dict[str, str] = {}
    if args.npy is not None:
        path = fresh_file(args.npy, args.force)
        with path.open("wb") as file:
            np.save(file, drawn.banner)
        files["numbers"] = str(path)
    if args.out is not None or not (args.json or args.npy):
        path = fresh_file(args.out or Path("banner.png"), args.force)
        files["picture"] = str(banner_figure([drawn], forces, path, symmetric=args.symmetric, size=2.6))
    turn = 180 if args.symmetric else 360
    degrees = (np.arange(drawn.banner.shape[1]) * turn / drawn.banner.shape[1]).tolist()
    content = {"forces": list(forces), "degrees": degrees, "banner": _numbers(drawn.banner), **files}
    lines = [f"{name:<8} {path}" for name, path in files.items()]
    result(content, args.json, "\n".join([table(strongest(drawn.banner, forces, degrees, args.symmetric)), *lines]))
    return 0


def pair_of(args: Arguments, forces: tuple[float, ...]) -> Drawn:
    """The picture, the masks and the banner that the arguments ask for. ConfigError or DataError for what is none."""
    import numpy as np

    from nearfar.data.regions import Frame
    from nearfar.report.banner_figures import Drawn

    subject, other, picture = regions(args)
    height, width = picture.shape[:2] if picture is not None else _extent(subject, other)
    boxes = [_fits(region, height, width) for region in (subject, other)]
    frame = Frame.around(boxes, height, width)
    options: dict[str, Any] = {"normalize": args.normalize, "symmetric": args.symmetric}
    banner = _banner(args, (subject, other), frame, forces, options)
    side = min(frame.side, 256)
    masks = np.stack([region.grey(frame, side) for region in (subject, other)])
    seen = frame.crop(picture) if picture is not None else np.full((side, side, 3), 245, np.uint8)
    return Drawn(seen, masks, banner, "blue: subject, orange: object")


def regions(args: Arguments) -> tuple[Region, Region, np.ndarray | None]:
    """(subject, object, the picture that they lie on or None). Raises ConfigError where the arguments do not fit."""
    from nearfar.data.pairs import read_rgb
    from nearfar.data.regions import Region

    given = [name for name in ("values", "boxes", "polygons") if getattr(args, name)]
    wanted = {0: (2,), 1: (1,) if args.values else (0, 1)}.get(len(given), ())
    missing = [path for path in args.inputs if not path.is_file()]
    if missing:
        raise DataError("there is no such file", where=missing[0])
    if len(args.inputs) not in wanted:
        raise ConfigError(
            "a banner is of two objects",
            found=", ".join([f"{len(args.inputs)} files", *(f"--{name}" for name in given)]),
            expected="two masks; a label image and --values; or --boxes or --polygons, perhaps with a picture",
        )
    if args.values:
        first, second = (Region(mask=args.inputs[0], value=number) for number in args.values)
        return first, second, None
    if not given:
        return Region(mask=args.inputs[0]), Region(mask=args.inputs[1]), None
    picture = _eight_bit(read_rgb(args.inputs[0])) if args.inputs else None
    first, second = _boxes(args.boxes) if args.boxes else _polygons(args.polygons)
    return first, second, picture


def strongest(
    banner: np.ndarray, forces: tuple[float, ...], degrees: list[float], symmetric: bool = False
) -> list[list[str]]:
    """The direction in which each of a few forces is largest."""
    import numpy as np

    rows = [["force r", "strongest at", ""]]
    for i in np.unique(np.linspace(0, len(forces) - 1, SHOWN).round().astype(int)):
        angle = degrees[int(banner[i].argmax())]
        rows.append([f"{forces[i]:g}", f"{angle:g}°", "and opposite" if symmetric else WORDS[round(angle / 45) % 8]])
    return rows


def _banner(
    args: Arguments, pair: tuple[Region, Region], frame: Frame, forces: tuple[float, ...], options: dict[str, Any]
) -> np.ndarray:
    import numpy as np

    from nearfar.spatial import force_banner
    from nearfar.spatial.force_boxes import box_banner
    from nearfar.spatial.force_polygons import polygon_banner

    if args.boxes:
        return np.asarray(box_banner(pair[0].box, pair[1].box, forces, args.directions, **options))
    if args.polygons:
        rings = [[np.reshape(part, (-1, 2)) for part in region.polygons] for region in pair]
        return np.asarray(polygon_banner(rings[0], rings[1], forces, args.directions, **options))
    masks = [region.grey(frame, min(frame.side, SIDE)).clip(0, 1) for region in pair]  # rounding may leave the range
    return np.asarray(force_banner(masks[0], masks[1], forces, args.directions, **options))


def _fits(region: Region, height: int, width: int) -> tuple[float, float, float, float]:
    """`Region.fits`, where a label image without the number says so."""
    try:
        return region.fits(height, width)
    except DataError as error:
        if region.value is None:
            raise
        raise DataError(error.what, where=f"{region.mask}, value {region.value}", fix=error.fix) from None


def _extent(subject: Region, other: Region) -> tuple[int, int]:
    """Height and width of the masks, or of what outlines need."""
    import numpy as np

    if subject.mask is not None:
        height, width = subject.bitmap().shape
        return height, width
    corners = np.array([region.bounds() for region in (subject, other)])
    if (corners < 0).any():
        raise DataError("coordinates of pixels are not negative", found=corners.min())
    return int(np.ceil(corners[:, 3].max())), int(np.ceil(corners[:, 2].max()))


def _boxes(numbers: tuple[float, ...]) -> tuple[Region, Region]:
    from nearfar.data.regions import Region

    if len(numbers) != 8:
        expected = "x0 y0 x1 y1 x0 y0 x1 y1"
        raise ConfigError("two boxes are eight numbers", where="--boxes", found=len(numbers), expected=expected)
    a, b = ((w, x, y, z) for w, x, y, z in (numbers[:4], numbers[4:]))
    return Region(box=a, name="subject"), Region(box=b, name="object")


def _polygons(texts: tuple[str, ...]) -> tuple[Region, Region]:
    from nearfar.data.regions import Region

    if len(texts) != 2:
        raise ConfigError("a banner is of two polygons", where="--polygons", found=len(texts))
    first, second = (Region(name=name) for name in ("subject", "object"))
    made = []
    for region, text in zip((first, second), texts, strict=True):
        try:
            parts = tuple(tuple(float(x) for x in part.replace(",", " ").split()) for part in text.split(";"))
        except ValueError:
            parts = ()
        if not parts or any(len(part) < 6 or len(part) % 2 for part in parts):
            raise ConfigError(
                "not the corners of a polygon", where=f"--polygons, {region.name}", found=text, expected="x,y,x,y,x,y"
            )
        made.append(replace(region, polygons=parts))
    return made[0], made[1]


def _numbers(banner: np.ndarray) -> list[list[float]]:
    """Plain numbers of six digits: a picture has no more, and a program reads them faster."""
    return [[float(f"{value:.6g}") for value in row] for row in banner.tolist()]


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    import numpy as np

    return (
        picture if picture.dtype == np.uint8 else np.rint(255 * (picture / max(1e-9, picture.max()))).astype(np.uint8)
    )
