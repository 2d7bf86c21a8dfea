"""Ultrasound images from DICOM files: one frame, cut to the ultrasound region, and nothing that names the patient.

Tags and units are those of DICOM PS3.3 C.8.5.5 (US Region Calibration) and C.7.6.3 (Image Pixel). Needs pydicom (the
extra `medical`); compressed files need what pydicom needs for them, which for JPEG baseline is Pillow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.errors import DataError, missing_extra

_TISSUE_2D = 1  # RegionSpatialFormat
_CENTIMETRES = 3  # PhysicalUnitsXDirection
_SQUARE = 0.01  # relative difference of the two spacings up to which pixels count as square

Region = tuple[int, int, int, int]
"""first column, first row, end column, end row"""


@dataclass(frozen=True)
class DicomHeader:
    """What the header says of the frame that `read_dicom` gives; no identifier among it."""

    width: int
    height: int
    """of the ultrasound region"""
    grey: bool
    region: Region
    """where it lies in the stored frame: the whole frame where the file tells no region"""
    frame: int
    """number of the frame, from 1"""
    frames: int
    mm_per_pixel: float | None
    """None where the file does not say, or pixels are not square"""
    patient: str
    """hash of PatientID, "" where there is none; equal for one patient. Short numbers can be guessed from it"""
    cautions: tuple[tuple[str, str], ...]
    """(code, message): W_BURNED_IN_ANNOTATION, W_IDENTITY_NOT_REMOVED"""


@dataclass(frozen=True)
class DicomFrame:
    """One frame: `pixels` [H, W, 1 or 3], uint8 or uint16 over the full range of the type, white is high."""

    pixels: NDArray[Any]
    header: DicomHeader

    @property
    def mm_per_pixel(self) -> float | None:
        """Side of a pixel in millimetres."""
        return self.header.mm_per_pixel


def read_dicom(path: Path, frame: int | None = None) -> DicomFrame:
    """One frame of an ultrasound file, cut to the largest region of tissue.

    `frame` counts from 1; None: what a path such as clip.dcm#12 says, else the file's representative frame, else the
    middle one.

    Raises DataError for a file that is missing, damaged, no DICOM file, not ultrasound, or without that frame, and
    ConfigError where pydicom is missing.
    """
    dataset = _dataset(path, pixels=True)
    header = _header(dataset, path, frame)
    left, top, right, bottom = header.region
    file = images.file_of(path)[0]
    array = images.guarded(file, lambda _: _pixels(dataset, header.frame - 1))
    return DicomFrame(np.ascontiguousarray(array[top:bottom, left:right]), header)


def read_header(path: Path, frame: int | None = None) -> DicomHeader:
    """The header alone. Raises as `read_dicom` does, except for damaged pixels."""
    return _header(_dataset(path, pixels=False), path, frame)


def _dataset(path: Path, *, pixels: bool) -> Any:
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise missing_extra("DICOM", "pydicom", "medical") from None

    def decode(file: Path) -> Any:
        try:
            return dcmread(file, stop_before_pixels=not pixels)
        except (InvalidDicomError, AttributeError, KeyError, NotImplementedError) as error:
            raise ValueError(str(error)) from error

    return images.guarded(images.file_of(path)[0], decode)


def _header(dataset: Any, path: Path, frame: int | None) -> DicomHeader:
    modality = dataset.get("Modality")
    if modality != "US":
        raise DataError("this is not an ultrasound image", where=path, found=f"modality {modality}", expected="US")
    try:
        size = int(dataset.Columns), int(dataset.Rows)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError):
        raise DataError("the file holds no image", where=path, fix="Remove it.") from None
    region, spacing = _region(dataset, size, path)
    return DicomHeader(
        width=region[2] - region[0],
        height=region[3] - region[1],
        grey=str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME"),
        region=region,
        frame=_frame(dataset, frames, images.file_of(path)[1] if frame is None else frame, path),
        frames=frames,
        mm_per_pixel=spacing,
        patient=_hash(dataset),
        cautions=tuple(_cautions(dataset)),
    )


def _frame(dataset: Any, frames: int, wanted: int | None, path: Path) -> int:
    if wanted is None:
        wanted = int(dataset.get("RepresentativeFrameNumber") or frames // 2 + 1)
    if not 1 <= wanted <= frames:
        raise DataError("the file has no such frame", where=path, found=f"frame {wanted}", expected=f"1 to {frames}")
    return wanted


def _region(dataset: Any, size: tuple[int, int], path: Path) -> tuple[Region, float | None]:
    """The largest region of tissue, or else of anything, and its spacing; the whole frame where none is told."""
    items = list(dataset.get("SequenceOfUltrasoundRegions") or ())
    tissue = [item for item in items if item.get("RegionSpatialFormat") == _TISSUE_2D]
    places = [(_place(item, size), item) for item in tissue or items]
    if not places:
        return (0, 0, *size), _spacing([float(v) for v in dataset.get("PixelSpacing") or ()])
    (left, top, right, bottom), item = max(places, key=lambda pair: _area(pair[0]))
    if right <= left or bottom <= top:
        found = f"{left}, {top} to {right}, {bottom} of {size[0]} x {size[1]}"
        raise DataError("the ultrasound region is empty", where=path, found=found, fix="Correct the file's header.")
    units = {item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")}
    deltas = [abs(float(item.get(name) or 0)) * 10 for name in ("PhysicalDeltaX", "PhysicalDeltaY")]
    return (left, top, right, bottom), _spacing(deltas) if units == {_CENTIMETRES} else None


def _place(item: Any, size: tuple[int, int]) -> Region:
    """Corners count pixels from 0 and belong to the region."""
    low = [max(int(item.get(f"RegionLocationMin{axis}0") or 0), 0) for axis in "XY"]
    high = [
        min(int(item.get(f"RegionLocationMax{axis}1") or 0) + 1, side) for axis, side in zip("XY", size, strict=True)
    ]
    return low[0], low[1], high[0], high[1]


def _area(region: Region) -> int:
    return max(region[2] - region[0], 0) * max(region[3] - region[1], 0)


def _spacing(sides: list[float]) -> float | None:
    if len(sides) != 2 or min(sides) <= 0 or max(sides) > min(sides) * (1 + _SQUARE):
        return None
    return sum(sides) / 2


def _hash(dataset: Any) -> str:
    number = str(dataset.get("PatientID") or "").strip()
    if not number:
        return ""
    issuer = str(dataset.get("IssuerOfPatientID") or "").strip()
    return hashlib.blake2b(f"{issuer}|{number}".encode(), digest_size=8, key=b"nearfar").hexdigest()


def _cautions(dataset: Any) -> Iterator[tuple[str, str]]:
    if dataset.get("BurnedInAnnotation") == "YES":
        yield "W_BURNED_IN_ANNOTATION", "the header says that annotations are burned into the pixels"
    if dataset.get("PatientIdentityRemoved") != "YES":
        yield "W_IDENTITY_NOT_REMOVED", "the header does not say that the patient's identity was removed"


def _pixels(dataset: Any, index: int) -> NDArray[Any]:
    """[H, W, C] of one frame over the full range of its type. Raises ValueError for what cannot be decoded."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    try:
        array = np.asarray(pixel_array(dataset, index=index))
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            table = np.asarray(apply_color_lut(array, dataset))
            return (table >> 8).astype(np.uint8) if table.dtype == np.uint16 else table
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(str(error)) from error
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {array.dtype}, not 8 or 16 bits without sign")
    spare = 8 * array.dtype.itemsize - int(dataset.BitsStored)
    full = array << spare if spare else array
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        full = np.iinfo(full.dtype).max - full
    return full[..., None] if full.ndim == 2 else full
