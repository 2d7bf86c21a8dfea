"""Questions about the relations world that their own words do not answer.

Every pair is asked about three times: a right word (yes), a wrong word (no), and which word it is. The wrong word is
drawn from the words that other things of the same outlines stand in, so that over all questions yes and no are equally
likely for each word, whatever the outlines: who looks only at the question is right half of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nearfar.data.questions import Question
from nearfar.data.synthetic.relations_rules import Pair


def ask(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Question]:
    """The questions about pairs, in their order."""
    words: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        words[_outline(pair)].append(pair.word)
        words[""].append(pair.word)
    found: list[Question] = []
    for pair in pairs:
        subject, target = pair.names
        wrong = _wrong(pair, words, rng)
        texts = (
            (f"is the {subject} {pair.word} the {target}?", "yes", "verify"),
            (f"is the {subject} {wrong} the {target}?", "no", "verify"),
            (f"where is the {subject} relative to the {target}?", pair.word, "which"),
        )
        found += [
            Question(f"{pair.id}-{number}", pair.id, text, answer, kind, pair.split)
            for number, (text, answer, kind) in enumerate(texts)
        ]
    return found


def _outline(pair: Pair) -> str:
    """The outline of the object, which alone decides whether anything can be in it."""
    return pair.names[1].rpartition(" ")[2]


def _wrong(pair: Pair, words: dict[str, list[str]], rng: np.random.Generator) -> str:
    for pool in (words[_outline(pair)], words[""]):
        fitting = [word for word in pool if word not in pair.weights]
        if fitting:
            return str(rng.choice(fitting))
    return next(word for word in ("above", "under", "in", "on") if word not in pair.weights)
