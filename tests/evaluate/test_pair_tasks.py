"""Relations, retrieval by banners and questions, on a small generated world and on real photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import configio
from nearfar.config import EvalConfig
from nearfar.data.synthetic.relations import generate
from nearfar.data.synthetic.relations_layouts import write_spatialsense
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import save_encoder
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate import evaluate
from nearfar.evaluate.banners import banners_task, rankings, recall
from nearfar.evaluate.pair_data import banner_settings, banners_of, box_features, fitting, open_pairs
from nearfar.evaluate.pair_fit import mlp_probe
from nearfar.evaluate.question_text import UNKNOWN, Vocabulary, make_reader
from nearfar.evaluate.relations import majority, relations_task
from nearfar.evaluate.vqa import vqa_task
from nearfar.methods import build_method
from nearfar.train.run import Run

FAST = EvalConfig(bootstrap=30)


def write_run(path: Path, data: Path, preset: str = "csip", **overrides: Any) -> Run:
    """A run on pairs whose encoder nobody trained."""
    settings = {
        "data.root": data, "data.size": 32, "data.mask_size": 24, "data.modalities": ("rgb", "masks"),
        "encoder.name": "nano_cnn", "encoder.size": 32, "encoder.options": {"width": 8, "depth": 1},
        "eval.bootstrap": 30,
    }  # fmt: skip
    run = Run(path)
    path.mkdir(parents=True)
    config = configio.load(preset, None, {**settings, **overrides})
    (path / "config.yaml").write_text(configio.dump(config), encoding="utf-8")
    torch.manual_seed(0)
    channels = run.dataset("all").channels
    half = torch.full((len(channels),), 0.5)
    save_encoder(ImageEncoder(config.encoder, channels, half, half), path / "encoder.safetensors")
    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("data") / "world", n=48, size=64)


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("runs") / "csip-1", world)


@pytest.fixture(scope="module")
def relations(run: Run) -> dict[str, Any]:
    return relations_task(run, FAST)


def test_every_probe_and_baseline_is_measured(relations: dict[str, Any]) -> None:
    for name in ("linear", "mlp", "boxes", "banner", "majority"):
        section = relations[name]
        assert 0 <= section["accuracy"]["low"] <= section["accuracy"]["value"] <= section["accuracy"]["high"] <= 1
        assert section["fitting"]["value"] >= section["accuracy"]["value"]
        assert np.sum(section["confusion"]["counts"]) == relations["test_pairs"]
    assert relations["boxes"]["accuracy"]["value"] > relations["majority"]["accuracy"]["value"]
    assert 0.5 < relations["ceiling"] <= 1
    difference = relations["linear"]["accuracy"]["value"] - relations["boxes"]["accuracy"]["value"]
    assert relations["minus_boxes"]["accuracy"]["value"] == pytest.approx(difference)


def test_the_arrays_say_what_was_predicted(run: Run, relations: dict[str, Any]) -> None:
    with np.load(run.arrays / "relations.npz") as arrays:
        right = arrays["predicted/linear"] == arrays["true"]
        assert right.mean() == pytest.approx(relations["linear"]["accuracy"]["value"])
        assert len(arrays["picture"]) == len(arrays["shown"]) == len(arrays["masks"])
        assert arrays["picture"].dtype == np.uint8 and arrays["picture"].shape[1:] == (32, 32, 3)


def test_finetuning_learns_from_the_pictures(run: Run, world: Path) -> None:
    found = relations_task(run, EvalConfig(bootstrap=5, finetune=True))
    assert found["finetune"]["accuracy"]["value"] > found["majority"]["accuracy"]["value"]


def test_majority_is_the_most_frequent_word(run: Run) -> None:
    parts = open_pairs(run, FAST)
    counts = np.bincount(parts["train"].labels, minlength=9)
    assert set(counts[majority(parts["train"], parts["test"])]) == {counts.max()}


def test_words_that_fit_are_those_of_the_truth(run: Run, world: Path) -> None:
    test = open_pairs(run, FAST)["test"]
    known = fitting(test.data)
    assert known is not None
    rows = {row["id"]: row for row in map(json.loads, (world / "truth/pairs.jsonl").read_text().splitlines())}
    for row, id in enumerate(test.data.ids):
        assert {c for c, fits in zip(test.data.classes, known[0][row], strict=True) if fits} == set(
            rows[id]["relations"]
        )


def test_box_features_tell_left_from_right(run: Run) -> None:
    test = open_pairs(run, FAST)["test"]
    features = box_features(test.data)
    assert features.shape == (len(test), 22) and np.isfinite(features).all()
    side = {
        name: features[test.labels == test.data.classes.index(name), 12]
        for name in ("to the left of", "to the right of")
    }
    assert side["to the left of"].max() < 0 < side["to the right of"].min()


def test_banners_are_those_of_the_method(run: Run) -> None:
    test = open_pairs(run, FAST)["test"]
    encoder = run.encoder()
    method: Any = build_method(run.config, encoder.channels, encoder.mean, encoder.std)
    alone = torch.stack([test.data.masks(i) for i in range(5)])
    masks = torch.stack([test.data[i]["masks"] for i in range(5)])
    kept = torch.stack([test.data.masks(i) for i in range(5)])
    assert torch.equal(alone, masks) and torch.equal(kept, masks)
    made = banners_of(test.data, banner_settings(run), size=3)
    np.testing.assert_allclose(made[:5], method.banner(masks).numpy(), atol=1e-6)
    assert made.shape == (len(test), 24, 180)


def test_retrieval_stands_between_chance_and_oracle(run: Run) -> None:
    found = banners_task(run, FAST)
    assert set(found) == {"features", "levels", "pairs", "images"}  # no checkpoint: no heads
    for level in ("1", "25"):
        figure = found["features"]["ndcg"][level]
        assert 0 < figure["chance"] < 1 and figure["low"] <= figure["value"] <= figure["high"] <= 1
        expected = (figure["value"] - figure["chance"]) / (1 - figure["chance"])
        assert figure["rescaled"]["value"] == pytest.approx(expected)
    assert found["features"]["map"]["oracle"] > found["features"]["map"]["chance"]
    with np.load(run.arrays / "banners.npz") as arrays:
        ideal, ours = (arrays[f"hits/{how}/relevance"] for how in ("oracle", "features"))
        assert (np.diff(ideal, axis=1) <= 1e-6).all() and ideal.sum() > ours.sum()
        assert arrays["banner"].shape[1:] == (24, 180) == (len(arrays["forces"]), 180)


def test_ranking_by_the_banners_themselves_is_the_oracle_and_finds_itself() -> None:
    rng = np.random.default_rng(0)
    banners, images = rng.random((40, 30)).astype(np.float32), np.arange(40) // 2
    options: dict[str, Any] = {"resamples": 20, "confidence": 0.95, "seed": 0}
    found = rankings(banners, banners, banners, np.arange(40) % 3, images, **options)
    assert found["ndcg"]["5"]["value"] == pytest.approx(1) and found["ndcg"]["5"]["rescaled"]["low"] == pytest.approx(1)
    assert found["map"]["value"] == pytest.approx(found["map"]["oracle"])
    assert recall(banners, banners, images, **options)["1"]["value"] == 1
    assert recall(banners, banners[::-1].copy(), images, **options)["1"]["value"] < 0.2
    assert rankings(banners, banners, banners, np.full(40, -1), images, **options)["map"] is None


def test_questions_are_answered_with_and_without_the_picture(run: Run) -> None:
    found = vqa_task(run, FAST)
    assert found["majority"]["verify"]["value"] == pytest.approx(0.5)
    assert found["boxes"]["accuracy"]["value"] > found["question_only"]["accuracy"]["value"]
    assert found["questions"] == 3 * len(open_pairs(run, FAST)["test"])
    with np.load(run.arrays / "vqa.npz") as arrays:
        verify = arrays["kind"] == "verify"
        for name in ("picture", "question_only", "boxes", "majority"):
            assert set(arrays[f"predicted/{name}"][verify]) <= {"yes", "no"}
            assert not set(arrays[f"predicted/{name}"][~verify]) & {"yes", "no"}


@pytest.mark.parametrize("kind", ["bag", "gru"])
def test_readers_take_unknown_and_empty_questions(kind: Any) -> None:
    known = ["is the disc above the ring?", "is the ring above the disc?"]
    words, reader = make_reader(kind, known, 8)
    tokens = words([*known, "zebra", "?"])
    assert tokens[2, 0] == UNKNOWN and not tokens[3].any()
    out = reader(tokens)
    assert out.shape == (4, 8) and bool(torch.isfinite(out).all())
    assert not torch.equal(out[0], out[1])  # the order of the words is read
    assert torch.allclose(reader(words(known[:1])), out[:1], atol=1e-6)  # and padding is not
    assert Vocabulary([], pairs=True)([]).shape == (0, 1)


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"bag \| gru"):
        make_reader("lstm", ["what"], 8)  # type: ignore[arg-type]


def test_a_statement_is_judged_with_the_predicate_it_is_about(tmp_path: Path) -> None:
    data = write_spatialsense(tmp_path / "data", scenes=40, size=48, seed=0)
    run = write_run(tmp_path / "run", data, **{"data.protocol": "binary"})
    found = relations_task(run, FAST)
    assert found["linear"]["confusion"]["classes"] == ["no", "yes"]
    with pytest.raises(ConfigError, match="cannot be told"):
        relations_task(run, EvalConfig(bootstrap=5, finetune=True))


def test_pairs_of_another_folder_serve_a_run_without_relations(run: Run, tmp_path: Path) -> None:
    data = write_spatialsense(tmp_path / "data", scenes=40, size=48, seed=1)
    other = write_run(tmp_path / "run", run.config.data.root or tmp_path)
    found = evaluate(other, EvalConfig(tasks=("relations", "banners"), pairs=data, bootstrap=10))
    assert not (other.arrays / "embeddings.npz").exists()  # the run's own data are not asked for
    assert found["skipped"].keys() & {"relations", "banners"} == set()
    assert found["relations"]["linear"]["confusion"]["classes"] == list(run.dataset("all").classes)
    assert found["banners"]["pairs"] == sum(found["relations"][f"{s}_pairs"] for s in ("train", "val", "test"))


def test_real_photographs_are_retrieved(shared_data: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shared_data / "coco_tiny", **{"data.pairs_per_image": 3})
    found = banners_task(run, FAST)
    assert found["features"]["map"] is None
    assert 0 < found["features"]["ndcg"]["5"]["chance"] < found["features"]["ndcg"]["5"]["value"] < 1
    with pytest.raises(DataError, match=r"no labelled pair .*--root SPATIALSENSE"):
        relations_task(run, FAST)
    with pytest.raises(DataError, match="no questions about the pairs"):
        vqa_task(run, FAST)


def test_images_that_are_no_pairs_are_refused(make_run: Any) -> None:
    for task in (relations_task, banners_task, vqa_task):
        with pytest.raises(DataError, match="no pairs of objects"):
            task(make_run(task.__name__), FAST)


def test_questions_about_other_pairs_are_refused(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "world"
    shutil.copytree(world, data)
    line = json.loads((data / "questions.jsonl").read_text().splitlines()[0])
    (data / "questions.jsonl").write_text(json.dumps({**line, "pair": "nobody"}) + "\n")
    with pytest.raises(DataError, match="no question is about a train pair"):
        vqa_task(write_run(tmp_path / "run", data), FAST)


def test_probes_need_two_classes_and_numbers() -> None:
    x = np.ones((4, 2))
    with pytest.raises(DataError, match="needs two classes"):
        mlp_probe(x, [1, 1, 1, 1], x, 2)
    with pytest.raises(DataError, match="NaN"):
        mlp_probe(x * np.nan, [0, 1, 0, 1], x, 2)
