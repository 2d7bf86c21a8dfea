"""Training: exact resume after a real kill, signals, guard, refusals, equal gradients with the two-pass step."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import build, configuration, dataset

from nearfar.config import RunConfig, Stage
from nearfar.errors import ConfigError, NearfarError, NonFiniteError, ResumeError
from nearfar.train import Run, checkpoint, fit_method

Config = RunConfig[Any]


def go(config: Config, path: Path, **options: Any) -> Run:
    return fit_method(build(config), dataset(), config, path, **options)


def state(path: Path) -> dict[str, Any]:
    found = checkpoint.newest(path / "checkpoints")
    assert found is not None
    return found


def history(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "time"} for line in Run(run).history()]


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Bit-equality of nested states."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key != "seconds":
                assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{number}]")
    else:
        assert a == b, where


def _slowly(line: Mapping[str, Any]) -> None:
    time.sleep(0.01)


def _child(config: Config, path: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    try:
        go(config, path, resume=resume, progress=_slowly)
    except KeyboardInterrupt:
        sys.exit(130)


def start(config: Config, path: Path, resume: bool = False) -> BaseProcess:
    # Forked: a fresh interpreter would spend most of the test importing torch.
    process = multiprocessing.get_context("fork").Process(target=_child, args=(config, path, resume))
    process.start()
    return process


def wait_for_lines(path: Path, count: int, process: BaseProcess) -> None:
    log = path / "metrics.jsonl"
    while process.is_alive() and not (log.exists() and log.read_bytes().count(b"\n") >= count):
        time.sleep(0.005)


VARIANTS = {
    "plain": ({"noise": 0.1}, {}),
    "queue, teacher, dropout": ({"memory": "queue", "dropout": 0.3, "noise": 0.1}, {"optimizer": "sgd", "clip": 1.0}),
    "accumulation": ({"memory": "queue", "dropout": 0.3}, {"accumulate": 2, "epochs": 6}),
    "stages": ({"dropout": 0.3}, {"stages": (Stage("head", 1, ("head.*",)), Stage("all", 2))}),
    "two passes, balanced": ({"dropout": 0.3, "noise": 0.1}, {"grad_cache": 3, "sampler": "balanced"}),
}


@pytest.mark.parametrize(
    "variant",
    [
        "queue, teacher, dropout",
        pytest.param("accumulation", marks=pytest.mark.slow),
        pytest.param("plain", marks=pytest.mark.slow),
        pytest.param("stages", marks=pytest.mark.slow),
        pytest.param("two passes, balanced", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_and_resumed_it_is_bit_equal(tmp_path: Path, variant: str) -> None:
    method, settings = VARIANTS[variant]
    config = configuration(method, **{"checkpoint_every": 2, "health_every": 1, **settings})
    go(config, tmp_path / "whole")
    draw, killed, resume = random.Random(variant), 0, False
    while True:
        process = start(config, tmp_path / "killed", resume)
        if killed < 2:
            wait_for_lines(tmp_path / "killed", 3 + 4 * killed, process)
            time.sleep(draw.random() * 0.05)
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGKILL)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed, resume = killed + 1, True
    assert killed >= 1
    assert_same(state(tmp_path / "whole"), state(tmp_path / "killed"))
    assert history(tmp_path / "whole") == history(tmp_path / "killed")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(tmp_path: Path, number: int, status: int) -> None:
    config = configuration(epochs=400, checkpoint_every=100000)
    process = start(config, tmp_path / "run")
    wait_for_lines(tmp_path / "run", 4, process)
    os.kill(process.pid or 0, number)
    process.join(60)
    assert process.exitcode == status
    done = state(tmp_path / "run")["step"]
    steps = [line["step"] for line in history(tmp_path / "run") if line["kind"] == "step"]
    assert steps == list(range(done))
    assert 0 < done < 2000


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    go(configuration(epochs=1), tmp_path / "run")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_run_leaves_what_the_design_says_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events: list[Mapping[str, Any]] = []
    run = go(configuration(health_every=2, epochs=4), Path("run"), progress=events.append)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    files = sorted(str(p.relative_to("run")) for p in Path("run").rglob("*") if p.is_file())
    checkpoints = ["checkpoints/step-00000015.pt", "checkpoints/step-00000020.pt"]
    assert files == [*checkpoints, "config.yaml", "encoder.safetensors", "metrics.json", "metrics.jsonl"]
    epochs = [line for line in run.history() if line["kind"] == "epoch"]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(0, 4), (1, 9), (2, 14), (3, 19)]
    assert ["health/effective_rank" in line for line in epochs] == [False, True, False, True]
    steps = [line for line in run.history() if line["kind"] == "step"]
    assert epochs[0]["loss"] == pytest.approx(sum(line["loss"] for line in steps[:5]) / 5)
    assert {"loss", "lr", "grad_norm", "parts/spread", "loss_baseline", "time"} <= steps[0].keys()
    assert len(events) == 24
    assert {event["total_steps"] for event in events} == {20}
    assert run.metrics["train"]["steps"] == 20
    x = torch.rand(2, 3, 8, 8)
    trained = build(configuration())
    trained.load_state_dict(state(run.path)["method"])
    torch.testing.assert_close(run.encoder()(x), trained.eval().encoder(x))


def test_the_loss_falls(tmp_path: Path) -> None:
    lines = go(configuration(epochs=8, lr=0.001, batch_size=8), tmp_path / "run").history()
    losses = [line["loss"] for line in lines if line["kind"] == "epoch"]
    assert losses[-1] < 0.9 * losses[0]


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"the run folder is not empty\. Choose another, or resume this one\."):
        go(configuration(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="there is no run to resume"):
        go(configuration(), tmp_path / "absent", resume=True)


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    config = configuration()
    go(config, tmp_path / "whole")
    process = start(config, tmp_path / "run")
    wait_for_lines(tmp_path / "run", 1, process)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    go(config, tmp_path / "run", resume=True)
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_a_changed_configuration_is_shown_and_refused_unless_allowed(tmp_path: Path) -> None:
    go(configuration(epochs=1), tmp_path / "run")
    changed = configuration(epochs=2, lr=0.5)
    with pytest.raises(ResumeError) as error:
        go(changed, tmp_path / "run", resume=True)
    assert "changed: train.epochs: 1 -> 2; train.lr: 0.01 -> 0.5. Resume with" in str(error.value)
    go(changed, tmp_path / "run", resume=True, allow_changes=True)
    assert [line["step"] for line in history(tmp_path / "run") if line["kind"] == "epoch"] == [4, 9]
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    config = configuration(epochs=1)
    go(config, tmp_path / "run")
    before = state(tmp_path / "run"), history(tmp_path / "run")
    go(config, tmp_path / "run", resume=True)
    assert_same(before, (state(tmp_path / "run"), history(tmp_path / "run")))


def test_a_truncated_newest_checkpoint_costs_only_its_steps(tmp_path: Path) -> None:
    config = configuration(checkpoint_every=4, keep=3)
    go(config, tmp_path / "run")
    before = state(tmp_path / "run"), history(tmp_path / "run")
    newest = checkpoint.paths(tmp_path / "run" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=newest.name):
        go(config, tmp_path / "run", resume=True)
    assert_same(before, (state(tmp_path / "run"), history(tmp_path / "run")))


def test_a_full_disk_stops_the_run_and_it_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(checkpoint_every=5)
    go(config, tmp_path / "whole")
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "step-00000010.pt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(NearfarError, match=r"step-00000010\.pt: the disk is full"):
            go(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000005.pt"]
    go(config, tmp_path / "run", resume=True)
    assert_same(state(tmp_path / "whole"), state(tmp_path / "run"))


def test_a_bad_sample_skips_its_steps_and_leaves_the_weights_finite(tmp_path: Path) -> None:
    run = go(configuration({"poison": (3,), "memory": "queue"}), tmp_path / "run")
    lines = run.history()
    bad = [line for line in lines if line["kind"] == "step" and line["loss"] is None]
    assert len(bad) == 3
    assert [line["skipped"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3]
    saved = state(tmp_path / "run")["method"]
    assert all(torch.isfinite(value).all() for value in saved.values())


def test_bad_steps_in_a_row_stop_the_run(tmp_path: Path) -> None:
    config = configuration({"poison": tuple(range(40))}, max_nonfinite=4)
    with pytest.raises(NonFiniteError, match="4 steps in a row had a non-finite loss or gradient"):
        go(config, tmp_path / "run")


def test_two_passes_train_as_one(tmp_path: Path) -> None:
    for name, rows in (("one", 0), ("two", 3)):
        go(configuration(precision="64-true", grad_cache=rows, optimizer="sgd", lr=0.003), tmp_path / name)
    one, two = (state(tmp_path / name)["method"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-7, atol=1e-9)


def test_accumulation_averages_the_micro_batches(tmp_path: Path) -> None:
    config = configuration(epochs=2, accumulate=5, optimizer="sgd", lr=0.003, warmup=0.0, precision="64-true")
    run = go(config, tmp_path / "run")
    steps = [line for line in run.history() if line["kind"] == "step"]
    assert [(line["step"], line["epoch"]) for line in steps] == [(0, 0), (1, 1)]
    single = go(configuration(epochs=1, lr=1e-12, precision="64-true"), tmp_path / "single").history()
    expected = sum(line["loss"] for line in single if line["kind"] == "step") / 5
    assert steps[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_float64_ends_with_the_run(tmp_path: Path) -> None:
    go(configuration(epochs=1, precision="64-true"), tmp_path / "run")
    assert torch.get_default_dtype() == torch.float32
    assert state(tmp_path / "run")["method"]["head.0.weight"].dtype == torch.float64


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the batch is larger than the training data \(found 64, expected at most 40\)"
    ):
        go(configuration(batch_size=64), tmp_path / "run")


def test_values_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.lr"):
        go(configuration(lr=float("nan")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
