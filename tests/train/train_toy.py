"""Run as a script: python train_toy.py RUN JSON, a training in a process of its own that tests kill and resume."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from toy import build, configuration, dataset

from nearfar.errors import NearfarError
from nearfar.train import fit_method


class Report:
    """Prints each step, so that the parent knows when to strike."""

    def __init__(self, pause: float) -> None:
        self.pause = pause

    def __call__(self, line: Mapping[str, Any]) -> None:
        print(line["kind"], line["step"], flush=True)
        time.sleep(self.pause)


def main() -> int:
    options = json.loads(sys.argv[2])
    torch.set_num_threads(1)
    config = configuration(options.get("method"), **options.get("train", {}))
    try:
        fit_method(
            build(config),
            dataset(),
            config,
            Path(sys.argv[1]),
            resume=options.get("resume", False),
            progress=Report(options.get("pause", 0.0)),
        )
    except NearfarError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
