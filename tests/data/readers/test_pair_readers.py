"""Readers of pairs: what each makes of its format, and of its faults. What all readers owe is in contracts/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.pairs import PairDataset
from nearfar.data.readers import READERS, find_reader
from nearfar.data.synthetic.relations_layouts import write_coco
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.coverage import encode_runs


def _open(root: Path, split: Any = "all", **settings: Any) -> PairDataset:
    dataset = open_dataset(DataConfig(root=root, **settings), split)
    assert isinstance(dataset, PairDataset)
    return dataset


def _edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _example(name: str, root: Path) -> Path:
    return READERS[name].write_example(root / name, count=24, size=48)


# ---- the manifest


def _manifest(root: Path, **changes: Any) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(root / "a.png")
    row = {"image": "a.png", "subject": {"box": [5, 5, 20, 20]}, "object": {"box": [30, 10, 50, 30]}, "predicate": "on"}
    (root / "pairs.jsonl").write_text(json.dumps(row | changes) + "\n")
    return root


def test_every_kind_of_shape_gives_the_same_masks(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:20, 5:20] = True
    Image.fromarray(mask.astype(np.uint8) * 3).save(tmp_path / "mask.png")
    shapes: list[dict[str, Any]] = [
        {"box": [5, 5, 20, 20]},
        {"polygon": [5, 5, 20, 5, 20, 20, 5, 20]},
        {"polygon": [[5, 5, 20, 5, 20, 20], [5, 5, 20, 20, 5, 20]]},
        {"rle": {"size": [40, 60], "counts": encode_runs(mask)}},
        {"mask": "mask.png"},
        {"mask": "mask.png", "value": 3},
    ]
    found = [_open(_manifest(tmp_path, subject=shape))[0]["masks"] for shape in shapes]
    assert found[0][0].sum() > 0
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_a_list_of_pairs_is_read_by_its_own_name(tmp_path: Path) -> None:
    root = _manifest(tmp_path)
    (root / "pairs.jsonl").rename(root / "mine.jsonl")
    assert find_reader("auto", root / "mine.jsonl").name == "pairs"
    assert _open(root / "mine.jsonl").classes == ("on",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predicate": "abve"}, r"unknown predicate 'abve'. Did you mean 'above'"),
        ({"image": "none.png"}, r"'none.png' does not exist"),
        ({"subject": {"box": [20, 5, 5, 20]}}, r"subject is not an object's place: the object has no area"),
        ({"subject": {"box": [20, 5, 5]}}, r"subject .* found box \[20, 5, 5\]"),
        ({"object": {"name": "cup"}}, r"object .* no shape"),
        ({"object": {"mask": "none.png"}}, r"mask 'none.png' does not exist"),
        ({"split": "tset"}, r"unknown split 'tset'"),
    ],
)
def test_a_fault_of_a_row_is_told_with_its_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    (tmp_path / "predicates.txt").write_text("above\non\n")
    root = _manifest(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"pairs\.jsonl:1: .*{said}"):
        _open(root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": {"box": [70, 5, 90, 20]}}, "outside the image"),
        ({"subject": {"mask": "empty.png"}}, "the mask is empty"),
        ({"subject": {"rle": {"size": [20, 20], "counts": [5, 395]}}}, "differ in size"),
        ({"subject": {"rle": {"size": [40, 60], "counts": [5, 5]}}}, "do not fill the mask"),
        ({"subject": {"box": [-9, 5, 20, 20]}}, "reaches beyond the image"),
    ],
)
def test_check_finds_what_only_pixels_tell(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "empty.png")
    problems = check(DataConfig(root=_manifest(tmp_path, **changes)))
    assert any(said in problem.what for problem in problems)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    root = _manifest(tmp_path)
    with (root / "pairs.jsonl").open("a") as file:
        file.write('{"image": \n')
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: the line is not JSON"):
        _open(root)


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    root = _manifest(tmp_path)
    for wrong in ({"mask_size": 0}, {"pairs_per_image": 0}, {"min_area": 1.0}, {"max_iou": 0.0}):
        with pytest.raises(ConfigError, match=f"data.{next(iter(wrong))}"):
            _open(root, **wrong)


# ---- COCO


@pytest.mark.parametrize("panoptic", [False, True])
def test_coco_draws_pairs_of_both_kinds_of_annotation(tmp_path: Path, panoptic: bool) -> None:
    root = write_coco(tmp_path / "coco", scenes=12, panoptic=panoptic)
    assert check(DataConfig(root=root)) == []
    dataset = _open(root, pairs_per_image=2)
    per_image = np.bincount(dataset.image_indices)
    assert per_image.max() == 2
    sample = dataset[0]
    assert sample["masks"].flatten(1).sum(1).min() > 0
    assert all(sample["names"])
    assert _open(root, pairs_per_image=2).ids == dataset.ids
    assert _open(root, pairs_per_image=2, split_seed=1).ids != dataset.ids


def test_both_kinds_of_coco_annotation_show_the_same(tmp_path: Path) -> None:
    one, two = (write_coco(tmp_path / str(p), scenes=8, panoptic=p) for p in (False, True))
    for a, b in zip(_open(one), _open(two), strict=True):
        torch.testing.assert_close(a["masks"], b["masks"])
        assert torch.equal(a["image"], b["image"])


def test_coco_leaves_out_crowds_and_faulty_annotations(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco", scenes=8)
    whole = len(_open(root, pairs_per_image=99))
    path = root / "annotations/instances_train2017.json"

    def spoil(data: Any) -> None:
        data["annotations"][0]["iscrowd"] = 1
        data["annotations"][3]["bbox"] = [400, 0, 9, 9]

    _edit(path, spoil)
    assert len(_open(root, pairs_per_image=99)) < whole
    problems = check(DataConfig(root=root))
    assert ["annotation" in p.what and "outside the image" in p.what for p in problems] == [True]


def test_coco_of_real_photographs(shared_data: Path) -> None:
    root = shared_data / "coco_tiny"
    dataset = _open(root, size=64, mask_size=64)
    assert len(dataset) > 100
    for index in range(0, len(dataset), 25):
        sample = dataset[index]
        record = dataset.records[index]
        boxes = sample["boxes"]
        # COCO's own boxes are those of its polygons.
        given = [dataset.frame(index).relative(region.box) for region in (record.subject, record.object)]
        np.testing.assert_allclose(boxes, np.stack(given), atol=0.03)
        assert (sample["masks"].flatten(1).sum(1) > 4).all()
    assert len(_open(root, "test")) > 0


# ---- SpatialSense


def test_spatialsense_reads_rows_first_and_keeps_what_holds(tmp_path: Path) -> None:
    root = _example("spatialsense", tmp_path)
    data = json.loads((root / "annotations.json").read_text())
    relation = next(r for r in data[0]["annotations"] if r["label"])
    dataset = _open(root)
    record = next(r for r in dataset.records if r.id.endswith(f"#{relation['_id']}"))
    y0, y1, x0, x1 = relation["subject"]["bbox"]
    assert record.subject.box == (x0, y0, x1, y1)
    assert dataset.classes[record.label] == relation["predicate"]
    assert len(dataset) == sum(r["label"] for entry in data for r in entry["annotations"])


def test_spatialsense_asks_whether_a_relation_holds(tmp_path: Path) -> None:
    dataset = _open(_example("spatialsense", tmp_path), protocol="binary")
    assert dataset.classes == ("no", "yes")
    assert np.bincount(dataset.labels).tolist() == [len(dataset) // 2] * 2
    assert {dataset.predicates[dataset[i]["predicate"]] for i in range(len(dataset))} <= set(dataset.predicates)
    with pytest.raises(ConfigError, match="protocol"):
        _open(tmp_path / "spatialsense", protocol="nine")


def test_spatialsense_faults(tmp_path: Path) -> None:
    root = _example("spatialsense", tmp_path)

    def spoil(data: Any) -> None:
        data[0]["annotations"][0]["subject"]["bbox"] = [500, 520, 3, 9]
        data[1]["annotations"][0]["predicate"] = "to teh left of"
        (root / "images/flickr/00002.png").unlink()

    _edit(root / "annotations.json", spoil)
    problems = check(DataConfig(root=root, format="spatialsense"))
    told = " ".join(f"{p.path} {p.what} {p.fix}" for p in problems)
    assert "box of the subject is empty or outside" in told
    assert "Did you mean 'to the left of'?" in told
    assert "00002.png the annotated image does not exist" in told


# ---- UnRel, GQA


def test_unrel_counts_every_relation(tmp_path: Path) -> None:
    dataset = _open(_example("unrel", tmp_path))
    assert len(dataset) > 8
    x0, y0, x1, y1 = dataset.records[0].subject.box or (0, 0, 0, 0)
    assert 0 <= x0 < x1 <= 48
    assert 0 <= y0 < y1 <= 48
    assert {name for r in dataset.records for name in (r.subject.name, r.object.name)} >= {"ring", "bar"}


def test_unrel_names_a_file_that_is_none(tmp_path: Path) -> None:
    root = _example("unrel", tmp_path)
    (root / "annotations.mat").write_bytes(b"no mat file" * 30)
    with pytest.raises(DataError, match=r"annotations\.mat.*UnRel"):
        _open(root)


def test_gqa_relations_are_lists_or_objects(tmp_path: Path) -> None:
    root = _example("gqa", tmp_path)
    before = _open(root)

    def as_objects(data: Any) -> None:
        for graph in data.values():
            for thing in graph["objects"].values():
                thing["relations"] = {str(k): relation for k, relation in enumerate(thing["relations"])}

    _edit(root / "train_sceneGraphs.json", as_objects)
    assert _open(root).ids == before.ids
    assert _open(root).labels.tolist() == before.labels.tolist()


def test_gqa_faults(tmp_path: Path) -> None:
    root = _example("gqa", tmp_path)

    def spoil(data: Any) -> None:
        first, second, *_ = (g for g in data.values() if any(t["relations"] for t in g["objects"].values()))
        for thing in first["objects"].values():
            thing["x"] = 1000
        for thing in second["objects"].values():
            for relation in thing["relations"]:
                relation["object"] = "gone"

    _edit(root / "train_sceneGraphs.json", spoil)
    told = " ".join(p.what for p in check(DataConfig(root=root)))
    assert "empty or outside the image" in told
    assert "lacks or has a wrong 'gone'" in told


@pytest.mark.parametrize("name", ["coco", "spatialsense", "gqa"])
def test_annotations_that_are_not_json_are_named(tmp_path: Path, name: str) -> None:
    root = _example(name, tmp_path)
    path = next(p for p in sorted(root.rglob("*.json")) if "questions" not in p.name)
    path.write_text(path.read_text()[:99])
    with pytest.raises(DataError, match=rf"{path.name}:1: the annotations are not JSON"):
        _open(root)
