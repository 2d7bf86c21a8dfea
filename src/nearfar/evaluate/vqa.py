"""Questions about pairs of objects: a head on the question and the frozen features of the picture.

The same head is fitted without the picture, since many questions can be guessed from their words, and with the two
boxes in place of the picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.gqa_questions import question_files, read_gqa_questions
from nearfar.data.questions import NAME, Question, read_questions
from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import IntArray, bootstrap_mean
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.pair_data import Pairs, box_features, open_pairs, pictures_of
from nearfar.evaluate.pair_fit import scores, train_network
from nearfar.evaluate.question_text import Reader, make_reader

if TYPE_CHECKING:
    from nearfar.train.run import Run

WIDTH, EPOCHS = 128, 15
SHOWN = 12  # test questions kept for pictures


@dataclass(frozen=True)
class Asked:
    """Questions about the pairs of a split: `rows` [n] says which pair each is about."""

    pairs: Pairs
    questions: list[Question]
    rows: IntArray

    @property
    def images(self) -> IntArray:
        """[n] the image of each question."""
        return self.pairs.images[self.rows]


class Answerer(nn.Module):
    """Seen [n, D] and tokens [n, L] -> scores of answers [n, A]: both, and their product, through one hidden layer."""

    def __init__(self, reader: Reader, seen: int, answers: int) -> None:
        super().__init__()
        self.reader = reader
        self.look = nn.Linear(seen, WIDTH)
        self.answer = nn.Sequential(
            nn.Linear(3 * WIDTH, 2 * WIDTH), nn.ReLU(), nn.Dropout(0.3), nn.Linear(2 * WIDTH, answers)
        )

    def forward(self, seen: Tensor, tokens: Tensor) -> Tensor:
        look, read = torch.relu(self.look(seen)), torch.tanh(self.reader(tokens))
        return cast(Tensor, self.answer(torch.cat([look, read, look * read], dim=1)))


def vqa_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Accuracy on the test questions beside the pairs (`questions.jsonl`, or GQA's own files), and by kind of question.

    `picture`: the head on question and features; `question_only`: the same without the picture; `boxes`: the same with
    what the boxes tell; `majority`: the most frequent answer of its kind. Only answers that training has for a kind
    of question are given. Intervals draw whole images. Writes arrays/vqa.npz: `question`, `answer`, `kind`, `id`,
    `predicted/NAME` [n], and of some, at `shown` [k], `picture` and `masks`. Raises DataError where there are no
    questions or none about test or training pairs.
    """
    parts = open_pairs(run, config, dataset)
    asked = ask(parts, _questions(parts))
    train, test = asked["train"], asked["test"]
    answers = sorted({question.answer for question in train.questions})
    permitted = _permitted(train.questions, test.questions, answers)
    seen = {
        "picture": {name: part.z for name, part in parts.items()},
        "question_only": {name: np.zeros((len(part), 1), np.float32) for name, part in parts.items()},
        "boxes": {name: box_features(part.data).astype(np.float32) for name, part in parts.items()},
    }
    predicted = {name: _answered(asked, views, answers, permitted, config) for name, views in seen.items()}
    predicted["majority"] = _majority(train.questions, test.questions)
    shown = np.unique(np.linspace(0, len(test.rows) - 1, min(SHOWN, len(test.rows))).astype(int))
    picture, masks = pictures_of(test.pairs.data, test.rows[shown])
    columns = ("question", "answer", "kind", "id")
    save_arrays(
        run.arrays / "vqa.npz",
        shown=shown,
        picture=picture,
        masks=masks,
        **{name: np.array([getattr(q, name) for q in test.questions], dtype=np.str_) for name in columns},
        **{f"predicted/{name}": guess for name, guess in predicted.items()},
    )
    section: dict[str, Any] = {name: _accuracy(test, guess, config) for name, guess in predicted.items()}
    return {**section, "text": config.text, "questions": len(test.rows), "train_questions": len(train.rows)}


def ask(parts: dict[str, Pairs], questions: list[Question]) -> dict[str, Asked]:
    """The questions about the pairs of each split. Raises DataError where training or test pairs have none."""
    asked = {}
    for name, pairs in parts.items():
        place = {id: row for row, id in enumerate(pairs.data.ids)}
        about = [question for question in questions if question.pair in place]
        if about:
            asked[name] = Asked(pairs, about, np.array([place[q.pair] for q in about], dtype=np.int64))
    for name in ("train", "test"):
        if name not in asked:
            raise DataError(
                f"no question is about a {name} pair",
                found=f"{len(questions)} questions",
                fix="Questions name their pair by its id.",
            )
    return asked


def _questions(parts: dict[str, Pairs]) -> list[Question]:
    root = next(iter(parts.values())).data.root
    folder = root if root is None or root.is_dir() else root.parent
    if folder is not None and (folder / NAME).is_file():
        return read_questions(folder / NAME)
    files = question_files(folder) if folder is not None else []
    if not files:
        expected = f"{NAME}, or train_balanced_questions.json and val_balanced_questions.json of GQA"
        raise DataError("there are no questions about the pairs", where=folder, expected=expected)
    return read_gqa_questions(files, [id for part in parts.values() for id in part.data.ids])


def _answered(
    asked: dict[str, Asked],
    seen: dict[str, NDArray[np.float32]],
    answers: list[str],
    permitted: NDArray[np.bool_],
    config: EvalConfig,
) -> NDArray[np.str_]:
    """Answers [n] to the test questions."""
    mean, std = seen["train"].mean(0), seen["train"].std(0).clip(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        words, reader = make_reader(
            config.text, [q.question for q in asked["train"].questions], WIDTH, config.text_path
        )
        network = Answerer(reader, seen["train"].shape[1], len(answers))

        def inputs(name: str) -> tuple[Tensor, Tensor]:
            standard = (seen[name] - mean) / std
            rows = torch.from_numpy(standard[asked[name].rows]).float()
            return rows, words([question.question for question in asked[name].questions])

        train = inputs("train"), _numbers(asked["train"].questions, answers)
        val = (inputs("val"), _numbers(asked["val"].questions, answers)) if "val" in asked else None
        train_network(network, train, val, epochs=EPOCHS, seed=config.seed)
    found = scores(network, inputs("test")).numpy()
    best = np.where(permitted, found, -np.inf).argmax(1)
    return np.array([answers[i] for i in best], dtype=np.str_)


def _numbers(questions: list[Question], answers: list[str]) -> Tensor:
    """Positions of the answers; -1, which never counts as right, for one that training does not have."""
    place = {answer: i for i, answer in enumerate(answers)}
    return torch.tensor([place.get(question.answer, -1) for question in questions])


def _permitted(train: list[Question], test: list[Question], answers: list[str]) -> NDArray[np.bool_]:
    """Which answers [n, A] training has for questions of each one's kind; all for a kind that is new."""
    seen = {(question.kind, question.answer) for question in train}
    kinds = {kind: np.array([(kind, answer) in seen for answer in answers]) for kind in {q.kind for q in test}}
    return np.stack([kinds[q.kind] if kinds[q.kind].any() else ~kinds[q.kind] for q in test])


def _majority(train: list[Question], test: list[Question]) -> NDArray[np.str_]:
    whole = Counter(question.answer for question in train)
    kinds = {question.kind: Counter[str]() for question in train}
    for question in train:
        kinds[question.kind][question.answer] += 1
    return np.array([kinds.get(question.kind, whole).most_common(1)[0][0] for question in test], dtype=np.str_)


def _accuracy(asked: Asked, predicted: NDArray[np.str_], config: EvalConfig) -> dict[str, Any]:
    right = predicted == np.array([question.answer for question in asked.questions])
    kinds = np.array([question.kind for question in asked.questions])

    def mean(rows: NDArray[np.bool_]) -> dict[str, float]:
        return bootstrap_mean(
            right[rows],
            clusters=asked.images[rows],
            resamples=config.bootstrap,
            confidence=config.confidence,
            seed=config.seed,
        )

    return {
        "accuracy": mean(np.ones(len(right), bool)),
        **{str(kind): mean(kinds == kind) for kind in np.unique(kinds)},
    }
