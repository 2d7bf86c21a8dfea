"""Captions of the ultrasound world: what a sonographer notes, in the wording of the centre."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nearfar.data.synthetic.ultrasound_anatomy import STRUCTURES

WINDOW = (77, 97)  # days of gestation in which the examination counts: 11 weeks + 0 to 13 weeks + 6
_OPENINGS = ("First trimester scan:", "Routine early examination:", "Still from screening:")
_VIEWS = {
    "head": ("axial head view", "transventricular section", "axial plane of the fetal head"),
    "nt": ("midsagittal face and neck view", "nuchal translucency section", "profile with nuchal region"),
    "crl": ("sagittal view of the whole fetus", "crown rump section", "longitudinal view of the fetus"),
    "abdomen": ("axial abdominal view", "cord insertion section", "transverse plane of the abdomen"),
}
_STATEMENTS = {  # what is said where it holds, and where it does not
    "calipers": (
        ("calipers on the outer borders", "markers set outer to outer", "caliper position confirmed"),
        ("calipers not on the outer borders", "markers set inner to outer", "caliper position not confirmed"),
    ),
    "posture": (
        ("fetus in neutral position", "neck neither flexed nor extended", "fetus at rest"),
        ("fetus not in neutral position", "neck extended", "fetus moving during the freeze"),
    ),
    "plane": (
        ("plane verified by a second reader", "sweep confirms the section", "required plane reached"),
        ("plane not verified by a second reader", "sweep suggests an adjacent section", "required plane not reached"),
    ),
}
_NAMES = {
    "CB": "cranial bone",
    "CP1": "choroid plexus",
    "CP2": "second choroid plexus",
    "CF": "cerebral falx",
    "NT": "nuchal translucency",
    "NB": "nasal bone",
    "F": "face",
    "NA": "nasal apex",
    "CRL": "crown-rump length",
    "S": "stomach",
    "AS": "abdominal section",
    "UC": "umbilical cord",
    "UI": "umbilical insertion",
}


def caption(
    view: str, age: int, defect: str | None, style: int, rng: np.random.Generator, structures: Iterable[str] = ()
) -> str:
    """One caption; `age` in days, `style` 0..2 picks which two of three wordings the centre uses.

    `structures`, where given, are named at the end.
    """

    def say(wordings: tuple[str, str, str]) -> str:
        return wordings[(style + int(rng.integers(2))) % 3]

    notes = [say(_STATEMENTS[name][name == defect]) for name in _STATEMENTS]
    order = rng.permutation(len(notes))
    parts = [f"{say(_OPENINGS)} {say(_VIEWS[view])}", f"{age // 7} weeks {age % 7} days", *(notes[i] for i in order)]
    named = [_NAMES[label] for label in STRUCTURES if label in set(structures)]
    if named:
        parts.append(f"seen: {', '.join(named)}")
    return ". ".join(parts) + "."
