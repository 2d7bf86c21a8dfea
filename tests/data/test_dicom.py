"""DICOM: the pixels, the region and the scale come over, names do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.config import DataConfig
from nearfar.data import images, open_dataset
from nearfar.data.dicom import read_dicom, read_header
from nearfar.data.study import StudyDataset
from nearfar.data.study_check import validate
from nearfar.data.study_rows import load_rows
from nearfar.errors import ConfigError, DataError

pydicom = pytest.importorskip("pydicom")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (48, 64), dtype=np.uint8)


def _write(path: Path, pixels: np.ndarray, *, region: tuple[int, ...] | None = None, **tags: Any) -> Path:
    """A small ultrasound file; `pixels` [H, W], [H, W, 3], or [frames, H, W] with NumberOfFrames among the tags."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    colour = pixels.shape[-1] == 3
    height, width = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    bits = 8 * pixels.dtype.itemsize
    known = {
        "Modality": "US", "PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19900101",
        "PatientIdentityRemoved": "YES", "Rows": height, "Columns": width, "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits,
        "HighBit": bits - 1, "PixelRepresentation": 0,
    }  # fmt: skip
    if colour:
        known["PlanarConfiguration"] = 0
    for name, value in (known | tags).items():
        setattr(file, name, value)
    if region is not None:
        file.SequenceOfUltrasoundRegions = [_region(*region)]
    file.add_new("PixelData", "OB" if bits == 8 else "OW", pixels.tobytes())
    file.save_as(path, enforce_file_format=True)
    return path


def _region(x0: int, y0: int, x1: int, y1: int, delta: float = 0.05, units: int = 3, kind: int = 1) -> Any:
    item = pydicom.dataset.Dataset()
    item.RegionSpatialFormat = kind
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX = item.PhysicalDeltaY = delta
    return item


def test_a_grey_frame_comes_over(tmp_path: Path) -> None:
    frame = read_dicom(_write(tmp_path / "a.dcm", GREY))
    assert frame.pixels.shape == (48, 64, 1) and frame.pixels.dtype == np.uint8
    np.testing.assert_array_equal(frame.pixels[..., 0], GREY)
    assert (frame.header.frame, frame.header.frames, frame.mm_per_pixel, frame.header.cautions) == (1, 1, None, ())
    np.testing.assert_array_equal(images.read(tmp_path / "a.dcm"), frame.pixels)


def test_the_region_is_cut_out_with_its_scale(tmp_path: Path) -> None:
    frame = read_dicom(_write(tmp_path / "a.dcm", GREY, region=(10, 4, 49, 43)))
    np.testing.assert_array_equal(frame.pixels[..., 0], GREY[4:44, 10:50])  # the corners belong to it
    assert frame.header.region == (10, 4, 50, 44)
    assert frame.mm_per_pixel == pytest.approx(0.5)  # 0.05 cm


@pytest.mark.parametrize(("delta", "units"), [(0.05, 0), (0.0, 3)])
def test_no_scale_is_guessed(tmp_path: Path, delta: float, units: int) -> None:
    assert read_header(_write(tmp_path / "a.dcm", GREY, region=(0, 0, 63, 47, delta, units))).mm_per_pixel is None


def test_tissue_wins_over_a_larger_trace(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.dcm", GREY)
    file = pydicom.dcmread(path)
    file.SequenceOfUltrasoundRegions = [_region(0, 0, 63, 47, kind=3), _region(0, 0, 9, 9), _region(0, 0, 19, 19)]
    file.save_as(path)
    assert read_header(path).region == (0, 0, 20, 20)


def test_colour_inverted_and_twelve_bits(tmp_path: Path) -> None:
    colour = RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_dicom(_write(tmp_path / "c.dcm", colour)).pixels, colour)
    inverted = _write(tmp_path / "i.dcm", GREY, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(inverted).pixels[..., 0], 255 - GREY)
    twelve = _write(tmp_path / "t.dcm", GREY.astype(np.uint16) * 16, BitsStored=12, HighBit=11)
    deep = images.scaled(images.read(twelve), None, twelve)
    assert torch.allclose(deep, images.scaled(GREY[..., None], None, ""), atol=1 / 255)


def test_a_palette_becomes_colour(tmp_path: Path) -> None:
    table = np.arange(256, dtype=np.uint16) * 257
    luts = {}
    for colour, values in (("Red", table), ("Green", table[::-1]), ("Blue", table * 0)):
        luts[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        luts[f"{colour}PaletteColorLookupTableData"] = values.tobytes()
    frame = read_dicom(_write(tmp_path / "p.dcm", GREY, PhotometricInterpretation="PALETTE COLOR", **luts))
    np.testing.assert_array_equal(frame.pixels, np.stack([GREY, 255 - GREY, GREY * 0], axis=-1))


def test_compressed_frames_come_over(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.dcm", GREY)
    file = pydicom.dcmread(path)
    file.compress(pydicom.uid.RLELossless)
    file.save_as(path)
    np.testing.assert_array_equal(read_dicom(path).pixels[..., 0], GREY)


def test_frames_of_a_clip(tmp_path: Path) -> None:
    clip = RNG.integers(0, 255, (5, 48, 64), dtype=np.uint8)
    path = _write(tmp_path / "clip.dcm", clip, NumberOfFrames=5)
    np.testing.assert_array_equal(read_dicom(path).pixels[..., 0], clip[2])  # the middle one
    np.testing.assert_array_equal(read_dicom(path, 5).pixels[..., 0], clip[4])
    np.testing.assert_array_equal(images.read(tmp_path / "clip.dcm#2")[..., 0], clip[1])
    with pytest.raises(DataError, match=r"no such frame \(found frame 6, expected 1 to 5\)"):
        images.read(tmp_path / "clip.dcm#6")
    chosen = _write(tmp_path / "c.dcm", clip, NumberOfFrames=5, RepresentativeFrameNumber=4)
    assert read_header(chosen).frame == 4


def test_no_identifier_is_copied(tmp_path: Path) -> None:
    frame = read_dicom(_write(tmp_path / "a.dcm", GREY))
    text = repr(frame)
    assert not any(secret in text for secret in ("Doe", "Jane", "4711", "1990"))
    again = read_header(_write(tmp_path / "b.dcm", GREY, PatientName="D^J"))
    assert frame.header.patient == again.patient != ""
    assert read_header(_write(tmp_path / "c.dcm", GREY, PatientID="4712")).patient != again.patient
    assert read_header(_write(tmp_path / "d.dcm", GREY, IssuerOfPatientID="B")).patient != again.patient
    assert read_header(_write(tmp_path / "e.dcm", GREY, PatientID="")).patient == ""


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Modality": "CT"}, r"not an ultrasound image \(found modality CT, expected US\)"),
        ({"Rows": None}, "holds no image"),
        ({"BitsStored": 40, "BitsAllocated": 40}, "cannot be decoded"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_dicom(_write(tmp_path / "a.dcm", GREY, **tags))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.dcm", GREY)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"a\.dcm"):
        read_dicom(path)
    path.write_bytes(b"no DICOM file at all")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_dicom(path)
    with pytest.raises(DataError, match="does not exist"):
        read_dicom(tmp_path / "nope.dcm")
    with pytest.raises(DataError, match="region is empty"):
        read_dicom(_write(tmp_path / "e.dcm", GREY, region=(30, 5, 10, 40)))


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.dcm", GREY)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ConfigError, match=r"nearfar\[medical\]"):
        read_dicom(path)


def _study(tmp_path: Path, **fields: Any) -> Path:
    box = {"label": "CB", "bbox": [20, 14, 40, 34], "confidence": 0.9}
    rows = [
        {"image_path": name, "description": "head", "class_label": label, "coordinates": [box]} | fields
        for name, label in (("a.dcm", "standard"), ("clip.dcm#2", "non-standard"))
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    return tmp_path / "train.json"


def test_a_study_of_dicom_files(tmp_path: Path) -> None:
    """Boxes count in the stored frame and move with the region; patients are known by the hash; the scale is kept."""
    _write(tmp_path / "a.dcm", GREY, region=(10, 4, 49, 43), PatientIdentityRemoved="NO", BurnedInAnnotation="YES")
    _write(tmp_path / "clip.dcm", np.stack([GREY, 255 - GREY]), NumberOfFrames=2, PatientID="12")
    path = _study(tmp_path)
    assert [f.code for f in validate(path, decode=True)] == ["W_BURNED_IN_ANNOTATION", "W_IDENTITY_NOT_REMOVED"]
    data = open_dataset(DataConfig(train=path, size=40, splits=(1.0, 0.0, 0.0)))
    assert isinstance(data, StudyDataset)
    assert data.boxes(0).tolist() == [[10, 10, 30, 30]]
    assert data.raw(0)["image"].shape == (40, 40, 1)
    np.testing.assert_allclose(data[0]["objects"][0, :4], [0.25, 0.25, 0.5, 0.5])
    assert data.table["mm_per_pixel"] == ("0.5", "")
    assert data.groups[0] == read_header(tmp_path / "a.dcm").patient != data.groups[1]
    np.testing.assert_array_equal(data.raw(1)["image"][..., 0], 255 - GREY)


def test_boxes_outside_the_region_and_patients_in_two_files(tmp_path: Path) -> None:
    for name in ("a.dcm", "clip.dcm"):
        _write(tmp_path / name, GREY, region=(42, 4, 63, 43))
    (tmp_path / "val.json").write_text(_study(tmp_path).read_text().replace("clip.dcm#2", "clip.dcm"))
    found = validate(tmp_path / "val.json")
    assert {f.code for f in found} == {"E_BBOX_OUTSIDE"} and "22x40 image at (42, 4)" in found[0].message
    rows = json.loads((tmp_path / "val.json").read_text())
    for part, row in zip(("train", "val"), rows, strict=True):
        (tmp_path / f"{part}.json").write_text(json.dumps([row | {"coordinates": []}]))
    with pytest.raises(DataError, match=r"E_LEAK_PATIENT: patient '[0-9a-f]{16}' is in train and val"):
        open_dataset(DataConfig(root=tmp_path))


def test_rows_to_predict_for(tmp_path: Path) -> None:
    _write(tmp_path / "a.dcm", GREY)
    assert load_rows(tmp_path / "a.dcm", DataConfig(size=16))[0]["image"].shape == (1, 16, 16)
    assert load_rows(tmp_path / "a.dcm", channels=3)[0]["present"].tolist() == [True, False, False]
