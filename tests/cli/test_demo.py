"""The demonstration end to end on a very small world, and what happens when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nearfar.cli import main
from nearfar.cli.workers import Job, run_jobs
from nearfar.errors import ConfigError, NearfarError
from nearfar.presets import DEMOS

TINY = ["--samples", "96", "--epochs", "1"]


@pytest.mark.slow
def test_demo_writes_a_report_of_both_methods(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nearfar", "demo", "--out", str(tmp_path / "demo"), *TINY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "demo" / "report.html") in done.stdout
    assert "kNN balanced accuracy" in done.stdout
    numbers = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert set(numbers) == {"disco", "supcon", "comparison"}
    assert (tmp_path / "demo" / "disco" / "explorer.html").is_file()


@pytest.mark.slow
def test_demo_of_scenes_trains_all_three_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "nearfar", "demo", "smcl", "--out", str(out), "--samples", "8", "--epochs", "1"]
    done = subprocess.run([*command, "--seconds", "1"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((out / "report.json").read_text())
    assert set(numbers) == {"smcl", "scene", "objects"}
    assert "anchors" in numbers["scene"]["views"]["groups"]["held_out_views"]
    page = (out / "report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in ("Turntable", "Rendered views", "The points", "Mirrored views"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_demo_keeps_its_checkpoints(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "nearfar", "demo", "--out", str(tmp_path / "demo"), "--samples", "96"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    checkpoints = tmp_path / "demo" / "supcon" / "checkpoints"
    deadline = time.monotonic() + 120
    while not (checkpoints.is_dir() and any(checkpoints.glob("*.pt"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, number)
    process.communicate(timeout=90)
    assert process.returncode == status
    assert any(checkpoints.glob("*.pt"))


def test_an_unknown_demonstration_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "disko"]) == 2
    assert "Did you mean 'disco'?" in capsys.readouterr().err


def test_help_names_every_demonstration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in DEMOS)


def test_a_full_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.slow
def test_the_error_of_a_job_is_raised_as_it_was(tmp_path: Path) -> None:
    job = Job("disco", {"data.root": str(tmp_path / "nowhere"), "train.threads": 1}, tmp_path / "run")
    with pytest.raises(NearfarError, match="nowhere") as caught:
        run_jobs([job], lambda event: None)
    assert caught.value.exit_status == 3


@pytest.mark.slow
def test_a_job_with_a_bad_setting_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.lrr"):
        run_jobs([Job("disco", {"train.lrr": 1}, tmp_path / "run")], lambda event: None)
