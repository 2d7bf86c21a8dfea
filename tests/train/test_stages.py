"""Stages: what learns is what the optimiser has, the rest stands still, and a resumed run is the uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from staged import ALL, HEAD, StagedToy, build_staged, staged
from test_loop import assert_same, history, state
from torch import nn
from toy import build, configuration, dataset

from nearfar.cli.progress import Bars
from nearfar.config import RunConfig, Stage
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, ResumeError
from nearfar.train import Run, fit_method, optim, stages
from nearfar.train.engine import Engine
from nearfar.train.keeper import Keeper

Config = RunConfig[Any]


class KilledError(Exception):
    """A kill between two lines of the loop."""


def go(config: Config, path: Path, **options: Any) -> Run:
    return fit_method(build_staged(config), dataset(), config, path, **options)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every stage of a run began with."""
    seen: list[dict[str, Any]] = []
    begin = stages.Stages.begin

    def spy(self: stages.Stages, engine: Engine, stage: Stage | None) -> None:
        begin(self, engine, stage)
        method, names = engine.method, optim.parameter_names(engine.method)
        groups = engine.optimizer.param_groups
        seen.append(
            {
                "stage": self.name,
                "optimiser": sorted(names[p][0] for group in groups for p in group["params"]),
                "rates": {names[p][0]: group["peak"] for group in groups for p in group["params"]},
                "learns": sorted(name for name, p in method.named_parameters() if p.requires_grad),
                "trains": {name for name, module in method.named_modules() if module.training},
                "weights": {name: value.clone() for name, value in method.state_dict().items()},
                "moments": len(engine.optimizer.state),
            }
        )

    monkeypatch.setattr(stages.Stages, "begin", spy)
    return seen


def test_the_optimiser_of_a_stage_has_exactly_what_learns_in_it(tmp_path: Path, begun: list[dict[str, Any]]) -> None:
    """The published SpatialCLIP frees 250,997 parameters in its last stage, of which its optimiser never hears."""
    go(staged(), tmp_path / "run")
    head, everything = begun
    assert [head["stage"], everything["stage"]] == ["head", "all"]
    assert head["optimiser"] == head["learns"] == ["head.0.bias", "head.0.weight", "norm.bias", "norm.weight"]
    assert everything["optimiser"] == everything["learns"]
    assert everything["learns"] == sorted(name for name, _ in build_staged(staged()).named_parameters())
    assert head["moments"] == everything["moments"] == 0


def test_what_is_frozen_stands_still_with_its_statistics_and_the_rest_moves(
    tmp_path: Path, begun: list[dict[str, Any]]
) -> None:
    class Normed(StagedToy):
        def __init__(self, config: Any, encoder: ImageEncoder) -> None:
            super().__init__(config, encoder)
            self.encoder.body.add_module("drawn", nn.Sequential(nn.BatchNorm1d(encoder.feature_dim), nn.Dropout(0.5)))
            self.encoder.register_forward_hook(lambda module, args, out: module.body.drawn(out))

    config = staged()
    torch.manual_seed(0)
    method = Normed(config.method, build_staged(config).encoder)
    run = fit_method(method, dataset(), config, tmp_path / "run")
    head, everything = (item["weights"] for item in begun)
    moved = {name for name, value in everything.items() if not torch.equal(value, head[name])}
    assert moved == {"head.0.bias", "head.0.weight", *(f"norm.{n}" for n in ("weight", "bias", *STATISTICS)), "entered"}
    assert not any(name.startswith("encoder") for name in begun[0]["trains"])
    assert {"encoder.body.drawn.0", "encoder.body.drawn.1", "head.1", "norm"} <= begun[1]["trains"]
    trained = state(run.path)["method"]
    still = {name for name, value in trained.items() if torch.equal(value, everything[name])}
    assert still == {"entered", "encoder.mean", "encoder.std"} & set(trained)


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def test_the_last_pattern_that_matches_sets_the_rate(tmp_path: Path, begun: list[dict[str, Any]]) -> None:
    run = go(staged(lr=0.01), tmp_path / "run")
    rates = begun[1]["rates"]
    assert {rate for name, rate in rates.items() if name.startswith("encoder.body.model.stem.")} == {0.01 * 0.2}
    others = {n: r for n, r in rates.items() if n.startswith("encoder.") and ".stem." not in n}
    assert set(others.values()) == {0.01 * 0.1}
    assert rates["head.0.weight"] == 0.01 * 0.5
    assert set(begun[0]["rates"].values()) == {0.01}
    lines = [line for line in run.history() if line["kind"] == "step"]
    assert [line["stage"] for line in lines] == ["head"] * 10 + ["all"] * 5
    # Each stage warms up and cools down on its own; without warm-up it begins at its peak.
    assert [lines[k]["lr"] for k in (0, 1)] == pytest.approx([0.005, 0.01])
    assert lines[9]["lr"] == pytest.approx(0.01 * 0.01)


def test_a_stage_ends_at_its_own_floor(tmp_path: Path) -> None:
    method = build_staged(staged())
    optimizer = optim.build_optimizer(method, staged().train, replace(ALL, rates={"*": 1e-3}))
    rates = [optim.set_rates(optimizer, staged().train, step, 10) for step in range(10)]
    assert rates[-1] == pytest.approx(0.01 * 1e-3 * 0.01)
    assert rates[-1] < rates[1]


def test_lines_and_progress_name_the_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = go(staged(), tmp_path / "run", progress=Bars(live=False))
    epochs = [(line["epoch"], line["stage"]) for line in run.history() if line["kind"] == "epoch"]
    assert epochs == [(0, "head"), (1, "head"), (2, "all")]
    shown = capsys.readouterr().err.splitlines()
    assert "head  epoch 1  loss" in shown[0]
    assert "all  epoch 3  loss" in shown[2]


def killed(config: Config, path: Path, monkeypatch: pytest.MonkeyPatch, step: int, **options: Any) -> None:
    """A run that dies after the line of `step`, whatever its checkpoints."""
    write = Keeper.write

    def dying(self: Keeper, kind: str, values: Any) -> None:
        write(self, kind, values)
        if kind == "step" and values["step"] == step:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "write", dying)
        with pytest.raises(KilledError):
            go(config, path, **options)


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adamw": ({"dropout": 0.3, "noise": 0.1}, {"health_every": 1}),
    "queue, sgd, clip": ({"memory": "queue", "dropout": 0.3}, {"optimizer": "sgd", "clip": 1.0}),
    "accumulation": ({"noise": 0.1}, {"accumulate": 2}),
}


@pytest.mark.parametrize(
    "variant",
    ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name != "adamw")],
)
def test_resumed_within_a_stage_and_across_a_boundary_it_is_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    method, settings = VARIANTS[variant]
    # Checkpoints every 5 steps: one lies on the boundary (10, or 4 with accumulation), the others within stages.
    every = 2 if "accumulate" in settings else 5
    config = staged(method=method, checkpoint_every=every, **settings)
    whole = go(config, tmp_path / "whole")
    last = state(whole.path)["step"] - 1
    for number, moments in enumerate([(last // 2,), (last,), (last - every, last), (every + 1, last - 1)]):
        path = tmp_path / str(number)
        for again, step in enumerate(moments):
            killed(config, path, monkeypatch, step, resume=again > 0)
        go(config, path, resume=True)
        assert_same(state(whole.path), state(path))
        assert history(whole.path) == history(path)


def test_killed_in_the_first_stage_with_a_checkpoint_on_the_boundary_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = staged(method={"dropout": 0.3}, checkpoint_every=10)
    whole = go(config, tmp_path / "whole")
    killed(config, tmp_path / "run", monkeypatch, 3)
    killed(config, tmp_path / "run", monkeypatch, 12, resume=True)
    assert state(tmp_path / "run")["stage"] == "head"
    go(config, tmp_path / "run", resume=True)
    assert_same(state(whole.path), state(tmp_path / "run"))


def test_a_finished_run_in_stages_is_resumed_to_itself(tmp_path: Path) -> None:
    go(staged(), tmp_path / "run")
    before = state(tmp_path / "run"), history(tmp_path / "run")
    go(staged(), tmp_path / "run", resume=True)
    assert_same(before, (state(tmp_path / "run"), history(tmp_path / "run")))


def test_a_checkpoint_of_a_stage_that_is_gone_or_trains_something_else_is_refused(tmp_path: Path) -> None:
    go(staged(HEAD), tmp_path / "run")
    for changed in (staged(replace(HEAD, name="top"), ALL), configuration(epochs=3)):
        with pytest.raises(ResumeError, match="made in another stage"):
            go(changed, tmp_path / "run", resume=True, allow_changes=True)
    with pytest.raises(ResumeError, match="other parameters than its checkpoint"):
        go(staged(replace(HEAD, epochs=3, train=("*",))), tmp_path / "run", resume=True, allow_changes=True)


def test_stages_may_be_added_to_a_run_and_a_changed_rate_counts(tmp_path: Path) -> None:
    go(staged(HEAD), tmp_path / "run")
    run = go(staged(lr=0.5), tmp_path / "run", resume=True, allow_changes=True)
    lines = [line for line in run.history() if line["kind"] == "step"]
    assert [line["stage"] for line in lines] == ["head"] * 10 + ["all"] * 5
    assert lines[10]["lr"] == pytest.approx(0.5 * 0.5)


def test_a_new_rate_counts_for_a_resumed_run(tmp_path: Path) -> None:
    config = configuration(epochs=1)
    fit_method(build(config), dataset(), config, tmp_path / "run")
    config = configuration(epochs=2, lr=0.5, warmup=0.0, lr_floor=1.0)
    run = fit_method(build(config), dataset(), config, tmp_path / "run", resume=True, allow_changes=True)
    assert run.history()[-1]["lr"] == 0.5


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            replace(HEAD, train=("encodr.*",)),
            r"stages\[1\]\.train: the pattern 'encodr\.\*' matches no parameter that ",
        ),
        (replace(HEAD, train=("encoder",)), r"can learn\. Did you mean 'encoder\.\*'\?"),
        (replace(HEAD, train=("qqq",)), r"There are: encoder\.\*, head\.\*, norm\.\*, scale\."),
        (replace(HEAD, train=("teacher.*",)), r"the pattern 'teacher\.\*' matches no parameter that can learn"),
        (
            replace(HEAD, rates={"encoder.*": 2.0}),
            r"\[1\]\.rates: the pattern .* matches no parameter that the stage trai",
        ),
        (replace(HEAD, rates={"had.*": 2.0}), r"Did you mean 'head\.\*'\?"),
        (replace(HEAD, losses={"spred": 1.0}), r"\[1\]\.losses: StagedToy has no loss part 'spred' .*mean 'spread'\?"),
    ],
)
def test_what_concerns_nothing_in_the_method_is_refused_before_anything_is_written(
    tmp_path: Path, stage: Stage, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        go(staged(replace(ALL, name="first"), stage, method={"memory": "queue"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_weight_for_a_method_that_has_none_is_refused(tmp_path: Path) -> None:
    config = staged(ALL)
    with pytest.raises(
        ConfigError, match=r"Toy has no loss part 'spread' whose weight a stage sets\. There are: none\."
    ):
        fit_method(build(config), dataset(), config, tmp_path / "run")


def test_a_stage_never_frees_what_the_method_holds_frozen(tmp_path: Path, begun: list[dict[str, Any]]) -> None:
    go(staged(ALL, method={"memory": "queue"}), tmp_path / "run")
    assert "encoder.mean" not in begun[0]["learns"]
    assert not any(name.startswith("teacher") for name in begun[0]["learns"])


def test_a_shared_parameter_answers_to_each_of_its_names() -> None:
    method = build_staged(staged())
    method.register_module("twin", method.head)
    taken = stages.Stages(method, staged(Stage("twin", 1, ("twin.*",), {"twin.*": 3.0})).train)
    assert taken.learnable >= {"head.0.weight", "head.0.bias"}
    stage = taken.config.stages[0]
    groups = optim.stage_groups(method, taken.config, stage)
    peaks = {p: group["peak"] for group in groups for p in group["params"]}
    assert peaks[method.head[0].weight] == pytest.approx(0.03)
    assert peaks[method.norm.weight] == pytest.approx(0.01)


def test_clipping_knows_only_what_learns(tmp_path: Path) -> None:
    """A gradient left on a frozen parameter would enter the norm and shrink the others', as in the published code."""

    class Leaking(StagedToy):
        def criterion(self, projections: Any, batch: Any) -> Any:
            for parameter in self.encoder.parameters():
                parameter.grad = torch.full_like(parameter, 1e6)
            return super().criterion(projections, batch)

    config = staged(HEAD, clip=1.0)
    torch.manual_seed(0)
    leaking = fit_method(Leaking(config.method, build_staged(config).encoder), dataset(), config, tmp_path / "leaking")
    torch.manual_seed(0)
    clean = fit_method(StagedToy(config.method, build_staged(config).encoder), dataset(), config, tmp_path / "clean")
    assert history(leaking.path) == history(clean.path)


@pytest.mark.slow
def test_two_ranks_train_in_stages_as_one_process(tmp_path: Path) -> None:
    """What is frozen first and trained then is exchanged between ranks from its stage on."""
    found = []
    for devices in (1, 2):
        config = staged(
            replace(HEAD, epochs=1, train=("head.*",)),
            replace(ALL, losses={}),
            method={"memory": "queue"},
            devices=devices,
            precision="64-true",
            optimizer="sgd",
            lr=0.003,
        )
        method = build_staged(config)
        method.norm = nn.LayerNorm(8)  # type: ignore[assignment]
        fit_method(method, dataset(), config, tmp_path / str(devices))
        found.append(state(tmp_path / str(devices))["method"])
    one, two = found
    start = build_staged(config).double().state_dict()
    for name in one:
        if name != "entered":
            torch.testing.assert_close(two[name], one[name], rtol=1e-9, atol=1e-11)
    # The second stage did train, but for the scale, which none of its losses sees.
    stem = next(name for name in one if ".stem." in name and name.endswith("weight"))
    assert not torch.equal(one[stem], start[stem])
    assert torch.equal(two["scale"], start["scale"])
