"""Every code of a study's check: against the golden cases, and what those leave out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nearfar.data.study_check import validate, validate_splits
from nearfar.data.study_rules import FIXES, TEXTS, Finding, Rules

Rows = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a, b of noise, a_copy with the pixels of a, near with a few of them changed, and a broken one."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    pixels = {name: rng.integers(0, 255, (256, 320), dtype=np.uint8) for name in "ab"}
    pixels["near"] = np.clip(pixels["a"].astype(int) + 3, 0, 255).astype(np.uint8)
    for name, image in (pixels | {"a_copy": pixels["a"]}).items():
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing of the sort")
    return tmp_path


def _row(image: str = "images/a.png", **fields: Any) -> dict[str, Any]:
    box = {"label": "CB", "bbox": [10.0, 20.0, 110.0, 90.0], "confidence": 0.9}
    known = {"image_path": image, "description": "head", "class_label": "standard", "coordinates": [box]}
    return known | fields


def _box(**fields: Any) -> dict[str, Any]:
    return {"label": "CB", "bbox": [10.0, 20.0, 110.0, 90.0], "confidence": 0.9} | fields


def _codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_the_golden_rows(golden_dir: Path, folder: Path) -> None:
    """Exactly the expected finding and no other, at the expected place, with the expected words."""
    cases = json.loads((golden_dir / "spatialclip" / "validation_cases.json").read_text())["cases"]
    assert len(cases) >= 29
    for case in cases:
        expect, found = case["expect"], validate(case["rows"], image_root=folder)
        if expect["code"] is None:
            assert found == [], case["name"]
            continue
        assert _codes(found) == [expect["code"]], case["name"]
        assert (found[0].level, found[0].location) == (expect["level"], expect["where"]), case["name"]
        assert expect["message_contains"] in found[0].message, case["name"]


def test_the_golden_splits(golden_dir: Path, folder: Path) -> None:
    cases = json.loads((golden_dir / "spatialclip" / "validation_cases.json").read_text())["split_cases"]
    assert len(cases) == 5
    for case in cases:
        parts = {"train": case["train"], "test": case["test"]}
        expect, found = case["expect"], validate_splits(parts, image_root=folder, decode=True)
        if expect["code"] is None:
            assert found == [], case["name"]
            continue
        assert set(_codes(found)) == {expect["code"]}, case["name"]
        assert {finding.level for finding in found} == {expect["level"]}
        assert expect["message_contains"] in found[0].message


@pytest.mark.parametrize(
    ("fields", "code", "where", "words"),
    [
        ({"coordinates": [_box(bbox=[1, 2, float("nan"), 4])]}, "E_BBOX_NOT_FINITE", ".coordinates[0].bbox", "NaN"),
        ({"coordinates": [_box(bbox=[1, 2, float("inf"), 4])]}, "E_BBOX_NOT_FINITE", ".coordinates[0].bbox", "inf"),
        ({"coordinates": [_box(bbox="10 20 30 40")]}, "E_BBOX_TYPE", ".coordinates[0].bbox", "10 20"),
        ({"coordinates": [_box(bbox=[0, 1, True, 4])]}, "E_BBOX_TYPE", ".coordinates[0].bbox", "number"),
        ({"coordinates": [_box(confidence=float("nan"))]}, "E_CONFIDENCE_RANGE", ".coordinates[0].confidence", "nan"),
        ({"coordinates": [_box(confidence=81)]}, "E_CONFIDENCE_RANGE", ".coordinates[0].confidence", "81"),
        ({"coordinates": [_box(label="cb")]}, "E_ANATOMY_LABEL", ".coordinates[0].label", "Did you mean 'CB'?"),
        ({"coordinates": [_box(label=3)]}, "E_MISSING_FIELD", ".coordinates[0].label", "a number"),
        ({"coordinates": ["CB"]}, "E_NOT_AN_OBJECT", ".coordinates[0]", "text"),
        ({"coordinates": {"CB": []}}, "E_MISSING_FIELD", ".coordinates", "an object"),
        ({"coordinates": [_box(bbox=[0.1, 0.2, 0.5, 0.9])]}, "W_BBOX_LOOKS_NORMALISED", ".coordinates", "pixels"),
        ({"coordinates": [_box(), _box()]}, "W_DUPLICATE_BOX", ".coordinates[1]", "coordinates[0]"),
        ({"class_label": "non-standart"}, "E_CLASS_LABEL", ".class_label", "Did you mean 'non-standard'?"),
        ({"class_label": ["standard"]}, "E_CLASS_LABEL", ".class_label", "'standard', 'non-standard'"),
        ({"description": 7}, "E_MISSING_FIELD", ".description", "a number"),
        ({"image_path": ""}, "E_MISSING_FIELD", ".image_path", "is empty"),
        ({"patient_id": 17}, "E_FIELD_TYPE", ".patient_id", "17"),
        ({"acquisition_date": "31.3.2025"}, "E_FIELD_TYPE", ".acquisition_date", "2025-03-31"),
    ],
)
def test_what_the_golden_cases_leave_out(
    fields: dict[str, Any], code: str, where: str, words: str, folder: Path
) -> None:
    (finding,) = validate([_row(**fields)], image_root=folder)
    assert (finding.code, finding.location) == (code, f"[0]{where}")
    assert words in finding.message


def test_a_file_is_named_with_row_and_field(folder: Path) -> None:
    path = folder / "train.json"
    path.write_text(json.dumps([_row(), _row("images/b.png", coordinates=[_box(bbox=[110, 20, 10, 90])])]))
    found = [str(finding) for finding in validate(path)]
    assert found[0] == (
        "train.json[1].coordinates[0].bbox: E_BBOX_ORDER: x_max (10) must be greater than x_min (110); "
        "boxes are [x_min, y_min, x_max, y_max] in pixels"
    )
    assert found[1].startswith("train.json: W_SINGLE_CLASS")


def test_all_findings_of_a_row_are_collected(folder: Path) -> None:
    row = {"image_path": "images/nope.png", "class_label": "good", "coordinates": [{"label": "CBB", "bbox": [1]}]}
    codes = _codes(validate([row], image_root=folder))
    assert codes == [
        *("E_IMAGE_NOT_FOUND", "E_MISSING_FIELD", "E_CLASS_LABEL", "E_ANATOMY_LABEL", "E_BBOX_LENGTH"),
        "W_CONFIDENCE_DEFAULT",
    ]
    assert set(codes) <= set(FIXES)


def test_a_truncated_image_is_found_by_decoding(folder: Path) -> None:
    path = folder / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:5000])
    assert validate([_row()], image_root=folder) == []
    (finding,) = validate([_row()], image_root=folder, decode=True)
    assert (finding.code, finding.location, finding.path) == ("E_IMAGE_UNREADABLE", "[0].image_path", path)


def test_ids_twice(folder: Path) -> None:
    rows = [_row(sample_id="s"), _row("images/b.png", sample_id="s", class_label="non-standard")]
    (finding,) = validate(rows, image_root=folder)
    assert (finding.code, finding.location) == ("W_DUPLICATE_ID", "[1].sample_id")


def test_other_classes_and_unknown_ones(folder: Path) -> None:
    rows = [_row(coordinates=[_box(label="HEART")])]
    assert validate(rows, image_root=folder, rules=Rules(("HEART",))) == []
    assert validate(rows, image_root=folder, rules=Rules(on_unknown="map")) == []
    assert _codes(validate(rows, image_root=folder)) == ["E_ANATOMY_LABEL"]


def test_parts_may_be_missing_where_that_is_allowed(folder: Path) -> None:
    rules = Rules(missing_ok=True)
    assert validate([{"image_path": "images/a.png"}, {"description": None, "coordinates": None}], rules=rules,
                    image_root=folder) == []  # fmt: skip
    assert _codes(validate([_row("images/nope.png")], rules=rules)) == ["E_IMAGE_NOT_FOUND"]


def _centres(label: Callable[[int], str]) -> Rows:
    return [_row(f"images/{i}.png", center=f"C{i % 2}", class_label=label(i)) for i in range(40)]


def test_a_class_that_the_centre_tells(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for i in range(40):
        Image.new("L", (320, 256), i).save(tmp_path / "images" / f"{i}.png")
    names = ("standard", "non-standard")
    (finding,) = validate(_centres(lambda i: names[i % 2]), image_root=tmp_path)
    assert finding.code == "W_CENTER_CONFOUNDED" and "center" in finding.message and "1.00" in finding.message
    assert validate(_centres(lambda i: names[i // 2 % 2]), image_root=tmp_path) == []
    rare = _centres(lambda i: names[int(i == 3)])  # 39 to 1: the centre tells nothing
    assert validate(rare, image_root=tmp_path) == []
    each_its_own = [row | {"center": f"C{i}"} for i, row in enumerate(_centres(lambda i: names[i % 2]))]
    assert validate(each_its_own, image_root=tmp_path) == []


def test_leaks_name_the_second_file(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps([_row(patient_id="p1"), _row("images/b.png", patient_id="p2")]))
    (folder / "b.json").write_text(json.dumps([_row("images/./a.png", patient_id="p2"), _row("images/near.png")]))
    found = validate_splits({"train": folder / "a.json", "val": folder / "b.json"}, decode=True)
    told = {finding.code: str(finding) for finding in found if finding.code != "W_SINGLE_CLASS"}
    assert told["E_LEAK_IMAGE"].startswith("b.json[0].image_path") and "is in train and val" in told["E_LEAK_IMAGE"]
    assert told["W_NO_PATIENT_ID"] == (
        "b.json: W_NO_PATIENT_ID: 1 of 2 samples have no patient_id: cannot check patient-level leakage"
    )
    assert "images/near.png looks like images/a.png in train (0 of 64 bits differ)" in told["W_LEAK_NEAR_DUPLICATE"]
    assert set(told) == {"E_LEAK_IMAGE", "W_NO_PATIENT_ID", "W_LEAK_NEAR_DUPLICATE"}


def _fan(seed: int) -> np.ndarray:
    """Beams that fade to the right, and layers of its own, which the hash cannot see: it compares along rows."""
    layers = np.random.default_rng(seed).uniform(0.3, 1, 16).repeat(16)[:, None]
    rows, columns = np.mgrid[:256, :320]
    return np.where(np.abs(columns - 160) < rows / 2 + 20, (240 - columns / 2) * layers, 0).astype(np.uint8)


def test_near_duplicates_are_told_from_images_of_one_shape(tmp_path: Path) -> None:
    rng, one = np.random.default_rng(0), _fan(0)
    changed = {
        "noise": np.clip(one + rng.normal(0, 6, one.shape), 0, 255),
        "gain": np.clip(one * 1.15 + 5, 0, 255),
        "half": np.asarray(Image.fromarray(one).resize((160, 128))),
    }
    others = {f"o{seed}": _fan(seed) for seed in range(1, 20)}
    for name, image in ({"one": one} | changed | others).items():
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{name}.png")
    test = [_row(f"{name}.png", coordinates=[], group=name) for name in (*changed, *others)]
    found = validate_splits({"train": [_row("one.png", group="one")], "test": test}, image_root=tmp_path, decode=True)
    near = [f.location for f in found if f.code == "W_LEAK_NEAR_DUPLICATE"]
    assert near == [f"test[{i}].image_path" for i in range(len(changed))]


def test_a_group_stands_for_a_patient(folder: Path) -> None:
    parts = {"train": [_row(group="g")], "val": [_row("images/b.png", group="g")]}
    (finding,) = validate_splits(parts, image_root=folder)
    assert (finding.code, finding.location) == ("E_LEAK_PATIENT", "val[0].group")


def test_ten_thousand_rows_in_seconds(folder: Path) -> None:
    """Under 5 s is the aim for 10,000; 2,000 in a fifth of it leaves the suite fast."""
    boxes = [_box(bbox=[i, 20, 110 + i, 90]) for i in range(6)]
    source = (folder / "images" / "a.png").read_bytes()[:4000]  # the header is all that is read
    rows = [_row(f"images/n{i}.png", coordinates=boxes, patient_id=f"p{i}") for i in range(2000)]
    for row in rows[1:]:
        (folder / row["image_path"]).write_bytes(source)
    rows[0] = _row(class_label="non-standard")
    start = time.process_time()  # other work on the machine does not count
    assert validate(rows, image_root=folder) == []
    assert time.process_time() - start < 1.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda part: st.lists(part, max_size=5) | st.dictionaries(st.sampled_from(["label", "bbox", "confidence"]), part),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.dictionaries(st.sampled_from([*_row(), *TEXTS]), JSON), whole=st.booleans(), lenient=st.booleans())
def test_no_json_breaks_the_check(row: dict[str, Any], whole: bool, lenient: bool, folder: Path) -> None:
    Image.new("L", (20, 30), 9).save(folder / "small.png")
    rows = [_row(**{"image_path": "small.png"} | row) if whole else row, row]
    parts = {"train": rows, "val": [row]}
    for finding in validate_splits(parts, image_root=folder, rules=Rules(missing_ok=lenient), decode=True):
        assert finding.location.startswith(("train", "val")) and finding.code in FIXES
    assert validate(row, image_root=folder)[0].code == "E_NOT_A_LIST"


def test_a_mark_at_the_start_of_the_file_is_nothing(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps([_row()]), encoding="utf-8-sig")
    assert validate(folder / "a.json") == []


def test_the_guide_lists_every_code() -> None:
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "studies.md"
    assert re.findall(r"^\| `([EW]_\w+)` \|", guide.read_text(encoding="utf-8"), re.MULTILINE) == list(FIXES)
