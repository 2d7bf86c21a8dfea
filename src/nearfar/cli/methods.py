"""`nearfar methods`: what can be trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nearfar.cli.common import parse, result, table
from nearfar.presets import METHODS, PRESETS


@dataclass
class Arguments:
    """List the methods and their presets."""

    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "methods")
    rows = [["preset", "method", "what it is", "state"]]
    rows += [[name, p.method, p.summary, METHODS[p.method].state] for name, p in PRESETS.items()]
    data = {
        "methods": {name: asdict(spec) for name, spec in METHODS.items()},
        "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
    }
    result(data, args.json, table(rows))
    return 0
