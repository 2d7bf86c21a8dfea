"""The relations world: what it writes, that geometry alone tells the words, and that questions do not tell answers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import Delaunay

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.pairs import PairDataset
from nearfar.data.questions import read_questions
from nearfar.data.synthetic.relations import generate
from nearfar.data.synthetic.relations_rules import PREDICATES, Placed, weights
from nearfar.data.synthetic.relations_shapes import OPEN, SHAPES, TEXTURES, Thing, outline
from nearfar.errors import ConfigError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("relations") / "world", n=120)


@pytest.fixture(scope="module")
def pairs(world: Path) -> PairDataset:
    dataset = open_dataset(DataConfig(root=world))
    assert isinstance(dataset, PairDataset)
    return dataset


def _truth(world: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in (world / "truth/pairs.jsonl").read_text().splitlines()]
    return {row["id"]: row for row in rows}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> dict[str, bytes]:
        root = generate(tmp_path / name, n=8, seed=seed, size=48)
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    one = content("a", 1)
    assert one == content("b", 1)
    assert one["pairs.jsonl"] != content("c", 2)["pairs.jsonl"]


def test_all_words_are_about_as_frequent(pairs: PairDataset) -> None:
    counts = np.bincount(pairs.labels, minlength=9)
    assert pairs.classes == PREDICATES
    assert counts.min() > 0.6 * counts.max()
    assert len(pairs) > 2 * 120


def test_truth_holds_every_label_and_some_ambiguity(world: Path, pairs: PairDataset) -> None:
    truth = _truth(world)
    assert set(truth) == set(pairs.ids)
    for record in pairs.records:
        row = truth[record.id]
        assert pairs.classes[record.label] in row["relations"]
        assert sum(row["weights"].values()) == pytest.approx(1, abs=1e-3)
    ambiguous = np.mean([len(row["relations"]) > 1 for row in truth.values()])
    assert 0.1 < ambiguous < 0.5


def test_scenes_stay_in_one_split(world: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for split in ("train", "val", "test"):
        for group in open_dataset(DataConfig(root=world), split).groups:
            seen[group].add(split)
    assert {len(splits) for splits in seen.values()} == {1}


def test_outlines_tell_no_word_but_in(pairs: PairDataset) -> None:
    """Each outline occurs as subject with many words; what is in something is so for the object's outline."""
    words: dict[str, set[str]] = defaultdict(set)
    for record in pairs.records:
        words[record.subject.name.split()[1]].add(pairs.classes[record.label])
    assert set(words) == set(SHAPES)
    assert min(len(found) for found in words.values()) >= 4


def test_a_question_does_not_answer_itself(world: Path) -> None:
    questions = read_questions(world)
    verify = [q for q in questions if q.kind == "verify"]
    assert Counter(q.answer for q in verify)["yes"] == len(verify) / 2
    answers: dict[str, list[bool]] = defaultdict(list)
    for q in verify:
        word = next(w for w in sorted(PREDICATES, key=len, reverse=True) if f" {w} the " in q.question)
        answers[word].append(q.answer == "yes")
    assert all(0.33 < np.mean(found) < 0.67 for found in answers.values())
    truth = _truth(world)
    for q in verify:
        word = next(w for w in sorted(PREDICATES, key=len, reverse=True) if f" {w} the " in q.question)
        assert (word in truth[q.pair]["weights"]) == (q.answer == "yes")


# ---- the rules


def _put(shape: str, x: float, y: float, radius: float = 10, turn: float = 0.0) -> Placed:
    thing = Thing(shape, "red", TEXTURES[0], radius, turn, 1.0)
    return Placed.of(outline(thing, x, y, 96), shape)


@pytest.mark.parametrize(
    ("subject", "target", "word"),
    [
        (_put("disc", 48, 15), _put("box", 48, 70), "above"),
        (_put("disc", 48, 70), _put("box", 48, 15), "under"),
        (_put("disc", 15, 48), _put("box", 75, 48), "to the left of"),
        (_put("disc", 75, 48), _put("box", 15, 48), "to the right of"),
        (_put("box", 30, 48), _put("box", 46.5, 48), "next to"),
        (_put("box", 48, 32), _put("box", 48, 48), "on"),
        (_put("disc", 48, 48, 6), _put("ring", 48, 48, 20), "in"),
        (_put("bar", 48, 44, 4), _put("arch", 48, 48, 20), "in"),
    ],
)
def test_the_word_that_fits_most(subject: Placed, target: Placed, word: str) -> None:
    found = weights(subject, target, in_front=False)
    assert max(found, key=lambda name: found[name]) == word
    assert sum(found.values()) == pytest.approx(1)


def test_who_covers_whom() -> None:
    one, other = _put("disc", 44, 48), _put("disc", 52, 48)
    assert weights(one, other, in_front=True) == {"in front of": 1}
    assert weights(one, other, in_front=False) == {"behind": 1}


def test_what_holds_a_thing_has_no_word() -> None:
    assert weights(_put("ring", 48, 48, 20), _put("disc", 48, 48, 6), in_front=True) == {}


def test_the_same_boxes_can_be_in_or_in_front() -> None:
    small = _put("disc", 48, 48, 6)
    assert "in" in weights(small, _put("ring", 48, 48, 20), in_front=True)
    assert "in front of" in weights(small, _put("cross", 48, 48, 20), in_front=True)


def test_a_diagonal_fits_two_words() -> None:
    found = weights(_put("disc", 20, 20), _put("disc", 75, 75), in_front=False)
    assert found == pytest.approx({"above": 0.5, "to the left of": 0.5}, abs=0.05)


@pytest.mark.parametrize("shape", OPEN)
@pytest.mark.parametrize("turn", [0.0, 0.4, 2.0])
def test_the_hull_is_what_triangles_between_its_points_cover(shape: str, turn: float) -> None:
    placed = _put(shape, 47.3, 50.1, 17, turn)
    grid = np.argwhere(np.ones_like(placed.mask))
    covered = Delaunay(np.argwhere(placed.mask)).find_simplex(grid) >= 0
    assert (placed.hull == covered.reshape(placed.mask.shape)).all()
    assert placed.hull.sum() > placed.mask.sum()


def test_a_line_is_its_own_hull() -> None:
    line = np.zeros((48, 48), bool)
    line[20, 5:30] = True
    assert (Placed.of(line, "corner").hull == line).all()


def test_settings_are_checked(tmp_path: Path) -> None:
    for wrong in ({"n": 2}, {"size": 20}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            generate(tmp_path / "world", **wrong)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        generate(tmp_path / "full")
