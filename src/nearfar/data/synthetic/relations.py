"""The relations world: pictures of textured things in nine spatial relations, with masks, pairs and questions.

Nothing but geometry tells the relation: shape, colour and texture are drawn before the place is, open outlines (ring,
arch, comb, corner) occur in every relation, and boxes are not enough, because what is in front, inside or touching
depends on the outlines. Where two words fit, the label is one of them; truth/ has all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.questions import NAME, write_questions
from nearfar.data.synthetic.folders import whole_folder
from nearfar.data.synthetic.relations_questions import ask
from nearfar.data.synthetic.relations_rules import PREDICATES, Pair
from nearfar.data.synthetic.relations_scene import Scene, compose, render
from nearfar.errors import ConfigError

SIZE = 96
_SPLITS = (("train", 0.7), ("val", 0.1), ("test", 0.2))
_PAIRS = 4  # at most, of one scene


def generate(root: Path, *, n: int = 1500, seed: int = 0, size: int = SIZE) -> Path:
    """Write n scenes of `size` pixels below `root`, which must not exist or be empty, and return it.

    `images/ID.png`; `masks/ID.png`, a label image of what is seen of each thing; `pairs.jsonl` and `predicates.txt`,
    which the reader `pairs` reads: one to four ordered pairs a scene, each word about equally often. Scenes are split
    70 / 10 / 20. `truth/pairs.jsonl` has for every pair all `relations` that fit, and `weights`, the chance of each to
    become the label: no method can be right more often than the mean largest weight. `questions.jsonl` asks about the
    same pairs (`nearfar.data.questions`).

    The same arguments give the same bytes. The folder appears whole or not at all. Raises ConfigError.
    """
    root = Path(root)
    _check(n, size)
    with whole_folder(root) as folder:
        _write(folder, n, size, seed)
    return root


def scenes(n: int, size: int, seed: int) -> Iterable[tuple[str, Scene, Any]]:
    """(id, scene, picture uint8 [size, size, 3]) of each scene; a scene depends on (seed, its number, size) alone."""
    for number in range(n):
        scene = compose(np.random.default_rng([seed, 0, number]), size)
        yield f"s{number:05d}", scene, render(scene, np.random.default_rng([seed, 1, number]))


def choose_pairs(rng: np.random.Generator, id: str, split: str, scene: Scene, used: Counter[str]) -> list[Pair]:
    """Pairs of a scene with their words; those whose word was `used` least so far come first."""
    found: list[Pair] = []
    for subject, target in ((i, j) for i in range(len(scene.things)) for j in range(len(scene.things)) if i != j):
        fits = scene.words(subject, target)
        if fits:
            word = str(rng.choice(list(fits), p=list(fits.values())))
            names = scene.things[subject].name, scene.things[target].name
            found.append(Pair(id, split, subject, target, word, fits, names))
    chosen: list[Pair] = []
    for _ in range(min(_PAIRS, len(found))):
        pair = min(found, key=lambda p: used[p.word])
        # A word far more frequent than the rest is left out, so that none is rare.
        if chosen and used[pair.word] > 1.5 * (min(used[p] for p in PREDICATES) + 3):
            break
        found.remove(pair)
        chosen.append(pair)
        used[pair.word] += 1
    return chosen


def _check(n: int, size: int) -> None:
    for name, found, expected, fits in (
        ("n", n, "at least 8 scenes", n >= 8),
        ("size", size, "48 to 512 pixels", 48 <= size <= 512),
    ):
        if not fits:
            raise ConfigError("Value out of range", where=name, found=found, expected=expected)


def split_names(rng: np.random.Generator, n: int) -> list[str]:
    """A split for each of n scenes, each split at least once."""
    held = {name: max(1, round(share * n)) for name, share in _SPLITS[1:]}
    names = ["train"] * (n - sum(held.values())) + [name for name, count in held.items() for _ in range(count)]
    return [str(name) for name in rng.permutation(names)]


def _write(root: Path, n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 2])
    splits, used = split_names(rng, n), Counter[str]()
    for folder in ("images", "masks", "truth"):
        (root / folder).mkdir(parents=True)
    pairs: list[Pair] = []
    for (id, scene, picture), split in zip(scenes(n, size, seed), splits, strict=True):
        Image.fromarray(picture).save(root / f"images/{id}.png", compress_level=4)
        Image.fromarray(scene.labels).save(root / f"masks/{id}.png")
        pairs += choose_pairs(rng, id, split, scene, used)
    (root / "predicates.txt").write_text("\n".join(PREDICATES) + "\n", encoding="utf-8")
    _lines(root / "pairs.jsonl", map(_row, pairs))
    truth = (
        {"id": p.id, "relations": p.right, "weights": {w: round(x, 4) for w, x in p.weights.items()}} for p in pairs
    )
    _lines(root / "truth/pairs.jsonl", truth)
    write_questions(root / NAME, ask(pairs, np.random.default_rng([seed, 4])))


def _row(pair: Pair) -> dict[str, Any]:
    def region(number: int, name: str) -> dict[str, Any]:
        return {"mask": f"masks/{pair.scene}.png", "value": number + 1, "name": name}

    return {
        "id": pair.id,
        "image": f"images/{pair.scene}.png",
        "subject": region(pair.subject, pair.names[0]),
        "object": region(pair.target, pair.names[1]),
        "predicate": pair.word,
        "split": pair.split,
        "group": pair.scene,
    }


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
