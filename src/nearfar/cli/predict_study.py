"""`nearfar predict RUN image.json|image.png|folder|file.dcm`: a diagnosis of each image, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.cli.common import fresh_file, note

if TYPE_CHECKING:
    from nearfar.train import Run


def predict_study(run: Run, source: Path, output: Path | None, force: bool) -> int:
    """Write the table to `output`, or to standard output. Returns the exit status: 3 where images could not be read."""
    out = fresh_file(output, force) if output else None
    from nearfar.evaluate.judge import Judge
    from nearfar.train.files import write_atomically

    judge = Judge.of_run(run)
    note(f"predicting {source}")
    if judge.decision is None:
        note(f"{run.path} has no decision.json: p is not calibrated and nothing is decided. Run `nearfar eval` first.")
    rows = judge(source)
    text = _csv(rows)
    if out is None:
        print(text, end="")
    else:
        write_atomically(out, text.encode())
        note(str(out))
    failed = [row for row in rows if row["error"]]
    for row in failed:
        note(f"{row['sample_id']}: {row['error']}")
    return 3 if failed else 0


def _csv(rows: Sequence[dict[str, str]]) -> str:
    """Rows under the columns of the first; what a row lacks is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
