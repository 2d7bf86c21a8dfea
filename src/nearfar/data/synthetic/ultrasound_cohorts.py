"""Who is examined where and when in the ultrasound world, and which of their frames fail for what.

A frame is standard where its image, its layout and its text all pass. The three are independent of each other and
pass with a known probability; within a patient each tends to fail in the same way again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from nearfar.data.synthetic.ultrasound_acoustics import Scanner
from nearfar.data.synthetic.ultrasound_anatomy import VIEWS
from nearfar.data.synthetic.ultrasound_captions import WINDOW
from nearfar.data.synthetic.ultrasound_defects import IMAGE_DEFECTS, LAYOUT_DEFECTS, TEXT_DEFECTS, Defect
from nearfar.errors import ConfigError, did_you_mean

MODALITIES = ("image", "text", "boxes")
PASSING = 0.8
_LATER_PASSING = 0.88  # after years of practice: 68 % of the frames are standard instead of 51 %
_PERSISTENCE = 0.5  # how often a frame shares the fate of its patient instead of having its own
_OUTSIDE_WINDOW = 0.05  # share of patients examined too early or too late, all of whose texts fail


@dataclass(frozen=True)
class Center:
    """A hospital: picture size (width, height), devices, wording of captions, share of each view.

    `mirror` where the convention is to show the fetus the other way round.
    """

    name: str
    size: tuple[int, int]
    scanners: tuple[Scanner, ...]
    style: int
    views: tuple[float, float, float, float]
    mirror: bool = False


@dataclass(frozen=True)
class Cohort:
    """Patients of one centre and period; `share` is their number relative to the internal cohort."""

    name: str
    file: str
    center: Center
    share: float
    start: date
    days: int
    passing: float = PASSING


@dataclass(frozen=True)
class Frame:
    """One picture of a patient: its view and its defects; the text defect has no severity."""

    view: str
    image: Defect | None
    layout: Defect | None
    text: str | None

    @property
    def standard(self) -> bool:
        return self.image is None and self.layout is None and self.text is None


@dataclass(frozen=True)
class Patient:
    """One examination: gestational age in days, date, device, and its frames."""

    id: str
    age: int
    day: date
    scanner: Scanner
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Ceiling:
    """The best that can be reached with some of the modalities."""

    accuracy: float
    roc_auc: float
    prevalence: float


_EVEN = (0.25, 0.25, 0.25, 0.25)
CENTERS = (
    Center("C0", (160, 128), (Scanner("Aria 4"), Scanner("Aria 6", 34, 1.3, 0.7, 57, 1.0)), 0, _EVEN),
    Center("C1", (144, 144), (Scanner("Boreal", 38, 1.9, 0.9, 52, 2, 0.95),), 0, (0.3, 0.2, 0.3, 0.2)),
    Center("C2", (200, 150), (Scanner("Corva", 30, 1.3, 0.7, 60, -2, 1.1),), 1, (0.4, 0.2, 0.2, 0.2)),
    Center("C3", (160, 120), (Scanner("Delta X", 45, 2.1, 1.0, 50, 3, 0.9),), 1, (0.1, 0.4, 0.3, 0.2), True),
    Center("C4", (128, 160), (Scanner("Estel", 28, 1.6, 0.9, 55, 0, 1.2),), 2, _EVEN),
    Center("C5", (180, 135), (Scanner("Faro", 40, 2.3, 1.1, 48, -3, 1.0),), 2, (0.2, 0.2, 0.2, 0.4), True),
)
INTERNAL = Cohort("internal", "train", CENTERS[0], 1.0, date(2021, 1, 4), 900)
COHORTS = (
    INTERNAL,
    Cohort("prospective", "prospective", CENTERS[0], 0.25, date(2024, 1, 8), 350, _LATER_PASSING),
    *(Cohort("external", f"external_{c.name}", c, 0.125, date(2022, 1, 10), 700) for c in CENTERS[1:]),
)


def bayes_ceiling(modalities: Iterable[str], *, passing: float = PASSING, label_noise: float = 0.0) -> Ceiling:
    """Exact best accuracy and ROC-AUC of whoever sees only these of `MODALITIES`, and the share of standard frames.

    With q the probability that all seen factors pass and r that all others do, a frame that passes is standard with
    probability r, one that fails never is; noise e mixes both with their complements. Raises ConfigError.
    """
    names = set(modalities)
    for name in sorted(names - set(MODALITIES)):
        fix = did_you_mean(name, MODALITIES, f"Known are {', '.join(MODALITIES)}.", quote="'")
        raise ConfigError("Unknown modality", where="modalities", found=repr(name), fix=fix)
    seen = len(names)
    passes, rest = passing**seen, passing ** (len(MODALITIES) - seen)
    after_pass = rest * (1 - label_noise) + (1 - rest) * label_noise
    accuracy = passes * max(after_pass, 1 - after_pass) + (1 - passes) * (1 - label_noise)
    prevalence = passes * after_pass + (1 - passes) * label_noise
    sensitivity = passes * after_pass / prevalence
    false_alarms = passes * (1 - after_pass) / (1 - prevalence)
    return Ceiling(accuracy, (1 + sensitivity - false_alarms) / 2, prevalence)


def draw_patient(cohort: Cohort, number: int, seed: int) -> Patient:
    """One patient of a cohort; each factor has its own stream of random numbers, so that none tells of another."""
    place = COHORTS.index(cohort)
    who, image, layout, text = (np.random.default_rng([seed, stream, place, number]) for stream in range(4))
    views = _views(cohort.center, int(who.integers(3, 6)), who)
    age = int(who.integers(WINDOW[0], WINDOW[1] + 1))
    if who.random() < _OUTSIDE_WINDOW:
        age = int(who.choice((*range(WINDOW[0] - 7, WINDOW[0]), *range(WINDOW[1] + 1, WINDOW[1] + 8))))
    images = _fates(image, len(views), cohort.passing)
    layouts = _fates(layout, len(views), cohort.passing)
    texts = _texts(text, age, len(views), cohort.passing)
    frames = tuple(
        Frame(view, _named(images[i], IMAGE_DEFECTS), _named(layouts[i], LAYOUT_DEFECTS[view]), texts[i])
        for i, view in enumerate(views)
    )
    day = cohort.start + timedelta(int(who.integers(cohort.days)))
    scanner = cohort.center.scanners[int(who.integers(len(cohort.center.scanners)))]
    return Patient(f"{cohort.center.name}-{cohort.name[0]}{number:04d}", age, day, scanner, frames)


def _views(center: Center, frames: int, rng: np.random.Generator) -> list[str]:
    two = rng.choice(VIEWS, 2, replace=False, p=center.views)
    return [str(two[int(rng.random() < 0.5)]) for _ in range(frames)]


Fate = tuple[float, float] | None  # which kind of failure, and how severe, both 0..1


def _fates(rng: np.random.Generator, frames: int, passing: float) -> list[Fate]:
    """Each frame fails with probability 1 - passing, frames of one patient together more often than by chance."""

    def draw() -> Fate:
        failed, kind, severity = rng.random(3)
        return None if failed < passing else (float(kind), float(severity))

    shared = draw()
    return [_again(shared, rng) if rng.random() < _PERSISTENCE else draw() for _ in range(frames)]


def _again(fate: Fate, rng: np.random.Generator) -> Fate:
    change = float(rng.uniform(-0.15, 0.15))
    return None if fate is None else (fate[0], min(max(fate[1] + change, 0.0), 1.0))


def _named(fate: Fate, kinds: tuple[str, ...]) -> Defect | None:
    if fate is None:
        return None
    kind = kinds[math.floor(fate[0] * len(kinds))]
    return Defect(kind, 1.0 if kind.startswith("missing") else round(fate[1], 3))


def _texts(rng: np.random.Generator, age: int, frames: int, passing: float) -> list[str | None]:
    if not WINDOW[0] <= age <= WINDOW[1]:
        return ["age"] * frames
    fates = _fates(rng, frames, passing / (1 - _OUTSIDE_WINDOW))
    return [None if fate is None else TEXT_DEFECTS[math.floor(fate[0] * len(TEXT_DEFECTS))] for fate in fates]
