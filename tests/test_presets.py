"""The ready-made configurations: every family is in, and no name hides another."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from nearfar import presets
from nearfar.presets import DEMOS, METHODS, PRESETS

FAMILIES = [
    import_module(f"{presets.__name__}.{module.name}")
    for module in pkgutil.iter_modules(presets.__path__)
    if module.name != "kinds"
]


@pytest.mark.parametrize("table", ["METHODS", "PRESETS", "DEMOS"])
def test_every_family_is_in_and_no_name_stands_twice(table: str) -> None:
    listed = [name for family in FAMILIES for name in getattr(family, table, ())]
    assert sorted(listed) == sorted(getattr(presets, table))


def test_presets_and_demonstrations_name_what_there_is() -> None:
    assert {preset.method for preset in PRESETS.values()} == set(METHODS)
    for demo in DEMOS.values():
        assert {*demo.presets} <= set(PRESETS)
        assert {*demo.own} <= {*demo.presets}


def test_importing_them_does_not_import_torch() -> None:
    code = "import sys, nearfar.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
