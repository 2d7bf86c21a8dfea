"""A run folder: what a training writes and everything after it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nearfar import configio
from nearfar.config import RunConfig
from nearfar.data import SampleDataset
from nearfar.data.open import open_dataset
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder
from nearfar.errors import ConfigError, DataError, ResumeError
from nearfar.methods import build_method
from nearfar.methods.base import Method
from nearfar.train import checkpoint
from nearfar.train.files import write_atomically
from nearfar.train.log import read_lines


class RunFolder:
    """What every run folder has, whatever was trained in it; nothing is read before it is asked for.

    `path`; `checkpoints`, `figures`, `arrays`: folders in it, which exist once something was written into them.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.checkpoints, self.figures, self.arrays = (self.path / n for n in ("checkpoints", "figures", "arrays"))

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_lines(self.path / "metrics.jsonl")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json by section; empty before anything was measured."""
        path = self.path / "metrics.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except json.JSONDecodeError as error:
            raise DataError(f"the file is not JSON: {error}", where=path, fix="Delete it and evaluate again.") from None
        return content

    def update_metrics(self, section: str, values: dict[str, Any]) -> None:
        """Replace one section of metrics.json, atomically."""
        content = {**self.metrics, section: values}
        write_atomically(self.path / "metrics.json", (json.dumps(content, indent=2) + "\n").encode())


class Run(RunFolder):
    """Access to the run of a method."""

    @property
    def config(self) -> RunConfig[Any]:
        """config.yaml. Raises ConfigError where there is none: this is not a run folder."""
        return configio.read_run_config(self.path / "config.yaml")

    def dataset(self, split: str = "all") -> SampleDataset:
        """The data of the run: train, val, test or all."""
        return open_dataset(self.config.data, split)  # type: ignore[arg-type]

    def encoder(self) -> ImageEncoder:
        """encoder.safetensors: the encoder as of the last checkpoint."""
        return load_encoder(self.path / "encoder.safetensors")

    def method(self) -> Method:
        """The method with the state of the newest whole checkpoint, in evaluation mode. Raises ResumeError."""
        state = checkpoint.newest(self.checkpoints)
        if state is None:
            raise ResumeError("there is no checkpoint", where=self.checkpoints, fix="Train the run first.")
        encoder = self.encoder()
        method = build_method(self.config, encoder.channels, encoder.mean, encoder.std)
        method.load_state_dict(state["method"])
        return method.eval()


def prepare(run: RunFolder, config: RunConfig[Any], resume: bool, allow_changes: bool) -> None:
    """Make a new run folder, or check that an old one goes on with the same configuration; write config.yaml.

    Raises ConfigError where a new run would land in a folder with files, ResumeError where there is nothing to resume
    or the configuration changed.
    """
    occupied = run.path.is_dir() and any(run.path.iterdir())
    if run.path.exists() and not run.path.is_dir():
        raise ConfigError("the run folder is a file", where=run.path)
    if occupied and not resume:
        raise ConfigError("the run folder is not empty", where=run.path, fix="Choose another, or resume this one.")
    written = run.path / "config.yaml"
    if resume:
        if not written.is_file():
            raise ResumeError("there is no run to resume", where=run.path, expected="a folder with config.yaml")
        changes = configio.diff(written.read_text(encoding="utf-8"), config)
        if changes and not allow_changes:
            raise ResumeError(
                "the configuration changed: " + "; ".join(changes.splitlines()),
                where=run.path,
                fix="Resume with the old values, or allow the changes (--allow-changes).",
            )
    write_atomically(written, configio.dump(config).encode())
