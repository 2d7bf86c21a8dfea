"""The ultrasound world: what is written, how often, who sees what, and that it is the same every time."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

from nearfar.data.synthetic import ultrasound_cohorts
from nearfar.data.synthetic.ultrasound import generate
from nearfar.data.synthetic.ultrasound_anatomy import STRUCTURES, VIEWS
from nearfar.data.synthetic.ultrasound_cohorts import CENTERS
from nearfar.errors import ConfigError

N = 112
FILES = ("train", "val", "test", "prospective", *(f"external_C{i}" for i in range(1, 6)))
KEYS = {"image_path", "description", "class_label", "coordinates", "sample_id", "patient_id", "center", "view"}
KEYS |= {"device", "cohort", "acquisition_date", "gestational_age"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("world") / "ultrasound", n=N, seed=3)


@pytest.fixture(scope="module")
def rows(world: Path) -> dict[str, list[Row]]:
    return {name: json.loads((world / f"{name}.json").read_text()) for name in FILES}


@pytest.fixture(scope="module")
def factors(world: Path) -> dict[str, dict[str, str]]:
    return read_factors(world)


def read_factors(world: Path) -> dict[str, dict[str, str]]:
    with (world / "truth" / "factors.csv").open(newline="") as file:
        return {row["sample_id"]: row for row in csv.DictReader(file)}


def every(rows: dict[str, list[Row]]) -> list[Row]:
    return [row for file in rows.values() for row in file]


def pixels(world: Path, row: Row) -> np.ndarray:
    return np.asarray(Image.open(world / row["image_path"]))


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# ---- what is written


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    names = (("a", 1), ("b", 1), ("c", 2))
    first, again, other = (bytes_of(generate(tmp_path / name, n=16, seed=seed)) for name, seed in names)
    assert first == again
    shared = first.keys() & other.keys()
    assert len(shared) > 60
    assert all(first[name] != other[name] for name in shared)


def test_rows_are_of_the_published_format(world: Path, rows: dict[str, list[Row]]) -> None:
    assert {path.name for path in world.glob("*.json")} == {f"{name}.json" for name in FILES}
    sizes = {center.name: center.size for center in CENTERS}
    for row in every(rows):
        assert row.keys() == KEYS
        assert row["class_label"] in ("standard", "non-standard")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["acquisition_date"])
        assert row["view"] in VIEWS and row["description"]
        with Image.open(world / row["image_path"]) as image:
            assert image.mode == "L" and image.size == sizes[row["center"]]
        for found in row["coordinates"]:
            assert found.keys() == {"label", "bbox", "confidence"}
            assert found["label"] in STRUCTURES and 0 < found["confidence"] < 1


def test_boxes_lie_inside_the_picture(rows: dict[str, list[Row]]) -> None:
    sizes = {center.name: center.size for center in CENTERS}
    boxes = np.array([[*f["bbox"], *sizes[r["center"]]] for r in every(rows) for f in r["coordinates"]])
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:4] <= boxes[:, 4:]).all()
    assert (boxes[:, 2:4] - boxes[:, :2]).min() >= 1.9


def test_all_structures_and_views_occur(rows: dict[str, list[Row]]) -> None:
    sure = Counter(f["label"] for row in rows["train"] for f in row["coordinates"] if f["confidence"] > 0.45)
    assert set(sure) == set(STRUCTURES)
    assert min(Counter(row["view"] for row in rows["train"]).values()) > 60


def test_every_frame_and_every_picture_is_there_once(world: Path, rows: dict[str, list[Row]]) -> None:
    ids = [row["sample_id"] for row in every(rows)]
    assert len(set(ids)) == len(ids)
    assert {row["image_path"] for row in every(rows)} == {f"images/{p.name}" for p in (world / "images").iterdir()}
    contents = {(world / row["image_path"]).read_bytes() for row in every(rows)}
    assert len(contents) == len(ids)


# ---- patients and cohorts


def test_no_patient_is_in_two_files(rows: dict[str, list[Row]]) -> None:
    patients = {name: {row["patient_id"] for row in file} for name, file in rows.items()}
    assert {name: len(found) for name, found in patients.items()} == {
        "train": N - 13 - 20,
        "val": 13,
        "test": 20,
        "prospective": N // 4,
        **{f"external_C{i}": N // 8 for i in range(1, 6)},
    }
    assert len(set().union(*patients.values())) == sum(map(len, patients.values()))


def test_a_patient_has_one_age_one_date_one_device_and_three_to_five_frames(rows: dict[str, list[Row]]) -> None:
    examinations: dict[str, list[Row]] = {}
    for row in every(rows):
        examinations.setdefault(row["patient_id"], []).append(row)
    for frames in examinations.values():
        assert len({(r["gestational_age"], r["acquisition_date"], r["device"], r["center"]) for r in frames}) == 1
        assert 3 <= len(frames) <= 5
        assert len({r["view"] for r in frames}) <= 2


def test_cohorts_are_later_or_elsewhere(rows: dict[str, list[Row]]) -> None:
    internal = rows["train"] + rows["val"] + rows["test"]
    assert {row["center"] for row in internal + rows["prospective"]} == {"C0"}
    assert max(r["acquisition_date"] for r in internal) < min(r["acquisition_date"] for r in rows["prospective"])
    assert {row["device"] for row in internal} == {scanner.name for scanner in CENTERS[0].scanners}
    for center in CENTERS[1:]:
        external = rows[f"external_{center.name}"]
        assert {(r["center"], r["cohort"]) for r in external} == {(center.name, "external")}
        assert not {r["device"] for r in external} & {r["device"] for r in internal}


def test_frames_of_a_patient_look_alike(world: Path, rows: dict[str, list[Row]]) -> None:
    """What a split by image would leak: the nearest other picture is mostly one of the same patient."""
    frames = [row for row in rows["train"] if row["view"] == "head"]
    small = np.stack([pixels(world, row)[::8, ::8].ravel() / 255 for row in frames])
    distance = ((small[:, None] - small) ** 2).sum(-1) + 1e9 * np.eye(len(small))
    patient = np.array([row["patient_id"] for row in frames])
    others = np.array([(patient == name).sum() > 1 for name in patient])
    assert (patient[distance.argmin(1)] == patient)[others].mean() > 0.5


# ---- factors and ceilings


def test_a_frame_is_standard_where_all_three_factors_pass(
    rows: dict[str, list[Row]], factors: dict[str, dict[str, str]]
) -> None:
    for row in every(rows):
        truth = factors[row["sample_id"]]
        passes = not (truth["image"] or truth["layout"] or truth["text"])
        assert passes == (truth["standard"] == "1") == (row["class_label"] == "standard")
    assert {f["split"] for f in factors.values()} == set(FILES)


def image_features(world: Path, row: Row) -> np.ndarray:
    picture = pixels(world, row)[:120].astype(float) / 255
    grain = np.abs(np.diff(picture, 2, axis=0)).mean(), np.abs(np.diff(picture, 2, axis=1)).mean()
    columns = picture[80:].mean(0).reshape(20, -1).mean(1)
    return np.array([*grain, *np.quantile(picture[:, 40:120], np.linspace(0.02, 0.98, 20)), *columns])


def box_features(row: Row) -> np.ndarray:
    """By structure its centre and size relative to the largest box, which is itself last."""
    sure = {f["label"]: np.array(f["bbox"]) / 128 for f in row["coordinates"] if f["confidence"] > 0.42}
    table = np.full((len(STRUCTURES), 4), -9.0)
    largest = max(sure.values(), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=np.array([0, 0, 1, 1]))
    side = largest[2:] - largest[:2]
    for label, box in sure.items():
        centre = (box[:2] + box[2:] - largest[:2] - largest[2:]) / side
        table[STRUCTURES.index(label)] = [*centre, *((box[2:] - box[:2]) / side)]
    doubt = [f["confidence"] for f in row["coordinates"]]
    return np.array([*table.ravel(), *side, side[1] / side[0], len(sure), np.mean(doubt or [1.0])])


def word_features(row: Row, vocabulary: list[str]) -> np.ndarray:
    weeks = int(row["description"].split(" weeks ")[0].split()[-1])
    return np.array([weeks, *(word in row["description"] for word in vocabulary)], float)


@pytest.fixture(scope="module")
def scores(world: Path, rows: dict[str, list[Row]], factors: dict[str, dict[str, str]]) -> dict[tuple[str, str], float]:
    """ROC-AUC of each factor from each modality with trees on simple features, for patients not trained on."""
    fit, held = rows["train"], rows["val"] + rows["test"] + rows["prospective"]
    words = sorted({word for row in fit for note in row["description"].split(". ") for word in (note, *note.split())})
    features = {
        "image": lambda row: image_features(world, row),
        "boxes": box_features,
        "text": lambda row: word_features(row, words),
    }
    found = {}
    for modality, describe in features.items():
        x, x_held = (np.stack([describe(row) for row in part]) for part in (fit, held))
        for factor in ("image", "layout", "text"):
            y, y_held = ([factors[row["sample_id"]][factor] == "" for row in part] for part in (fit, held))
            trees = ExtraTreesClassifier(100, max_features=0.3, random_state=0).fit(x, y)
            found[modality, factor] = float(roc_auc_score(y_held, trees.predict_proba(x_held)[:, 1]))
    return found


def test_each_modality_tells_its_own_factor(scores: dict[tuple[str, str], float]) -> None:
    assert scores["image", "image"] > 0.95
    assert scores["boxes", "layout"] > 0.97
    assert scores["text", "text"] > 0.99


def test_no_modality_tells_the_factor_of_another(scores: dict[tuple[str, str], float]) -> None:
    own = {("image", "image"), ("boxes", "layout"), ("text", "text")}
    others = {pair: round(score, 3) for pair, score in scores.items() if pair not in own}
    assert all(0.36 < score < 0.64 for score in others.values()), others
    assert 0.45 < np.mean(list(others.values())) < 0.55, others


def test_pixels_do_not_depend_on_layout_or_text(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same study without any layout or text defect has the same pictures, byte for byte."""
    fates = ultrasound_cohorts._fates
    calls = iter(range(10**9))  # image, layout, text, image, ...: one call a factor, except where the age decides
    monkeypatch.setattr(ultrasound_cohorts, "_OUTSIDE_WINDOW", 0.0)
    plain = bytes_of(generate(tmp_path / "plain", n=16, seed=4))

    def only_images(rng: np.random.Generator, frames: int, passing: float) -> list[ultrasound_cohorts.Fate]:
        drawn = fates(rng, frames, passing)
        return drawn if next(calls) % 3 == 0 else [None] * frames

    monkeypatch.setattr(ultrasound_cohorts, "_fates", only_images)
    cured = bytes_of(generate(tmp_path / "cured", n=16, seed=4))
    assert plain["train.json"] != cured["train.json"]
    pictures = [name for name in plain if name.endswith(".png")]
    assert len(pictures) > 60 and all(plain[name] == cured[name] for name in pictures)


# ---- severity


def test_labels_are_flipped_as_often_as_asked(tmp_path: Path) -> None:
    root = generate(tmp_path / "noisy", n=24, label_noise=0.3)
    truth = read_factors(root)
    rows = [row for path in root.glob("*.json") for row in json.loads(path.read_text())]
    flipped = [(row["class_label"] == "standard") != (truth[row["sample_id"]]["standard"] == "1") for row in rows]
    assert np.mean(flipped) == pytest.approx(0.3, abs=0.08)


def test_redundancy_between_modalities_on_request(tmp_path: Path) -> None:
    plain = generate(tmp_path / "plain", n=16)
    shown = generate(
        tmp_path / "shown", n=16, render_layout_defects=True, confidence_coupling=0.9, caption_lists_structures=True
    )
    truth = read_factors(plain)
    for name in FILES:
        pairs = zip(*(json.loads((root / f"{name}.json").read_text()) for root in (plain, shown)), strict=True)
        for before, after in pairs:
            factor = truth[before["sample_id"]]
            assert (pixels(plain, before) != pixels(shown, after)).any() == bool(factor["layout"])
            assert [f["bbox"] for f in before["coordinates"]] == [f["bbox"] for f in after["coordinates"]]
            confidences = ([f["confidence"] for f in row["coordinates"]] for row in (before, after))
            lowered = {b > a for b, a in zip(*confidences, strict=True) if b > 0.42}  # others may be spurious
            assert lowered <= {float(factor["image_severity"] or 0) > 0}
            names = after["description"].removeprefix(before["description"])
            assert names.startswith(" seen: ") or not any(f["confidence"] > 0.45 for f in after["coordinates"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 15}, "n: .*at least 16"),
        ({"seed": -1}, "seed: "),
        ({"label_noise": 0.5}, "label_noise: "),
        ({"confidence_coupling": 1.5}, "confidence_coupling: "),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(tmp_path / "world", **options)
    assert not any(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        generate(tmp_path, n=16)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
