"""Stages in a configuration: read with line numbers, checked, written back, stretched to a number of epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nearfar.cli.train import parse_flags
from nearfar.config import RunConfig, Stage, TrainConfig
from nearfar.configio import check, diff, dump, load, read_run_config, with_epochs
from nearfar.data.dataset import default_channels
from nearfar.errors import ConfigError
from nearfar.methods import build_method
from nearfar.presets import PRESETS, Preset
from nearfar.train.stages import Stages

TEXT = """\
train:
  lr: 0.01
  stages:
    - name: head
      epochs: 5
      train: [head.*]
    - name: all
      epochs: 10
      rates: {encoder.*: 1e-1}
      losses: {contrast: 0.5}
      warmup: 0
"""
HEAD = Stage("head", 5, ("head.*",))
ALL = Stage("all", 10, ("*",), {"encoder.*": 0.1}, {"contrast": 0.5}, 0.0)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return Path("run.yaml")

    return write


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset whose stages are mappings, as a preset may write them, one of them an instance."""
    stages = ({"name": "head", "epochs": 5, "train": ["head.*"]}, ALL)
    monkeypatch.setitem(PRESETS, "staged", Preset("simclr", "", {"train.stages": stages}))
    return "staged"


def test_stages_of_a_file_and_of_a_preset_are_the_same(file: Any, staged: str) -> None:
    config = load("simclr", file(TEXT))
    assert config.train.stages == (HEAD, ALL) == load(staged).train.stages
    assert config.train.epochs == load(staged).train.epochs == 15


def test_dump_reads_back_equal(staged: str, tmp_path: Path) -> None:
    config = load(staged, None, {"train.epochs": 7})
    (tmp_path / "config.yaml").write_text(dump(config), encoding="utf-8")
    assert read_run_config(tmp_path) == config
    assert yaml.safe_load(dump(config))["train"]["stages"][0]["train"] == ["head.*"]


def test_diff_names_the_stage_and_its_key(staged: str) -> None:
    old = load(staged)
    new = replace(old, train=replace(old.train, stages=(replace(HEAD, epochs=6), ALL), epochs=16))
    assert set(diff(old, new).splitlines()) == {"train.epochs: 15 -> 16", "train.stages[0].epochs: 5 -> 6"}


def test_an_empty_list_takes_the_stages_of_a_preset_away(file: Any, staged: str) -> None:
    train = load(staged, file("train: {stages: []}\n")).train
    assert (train.stages, train.epochs) == ((), TrainConfig().epochs)


ITEM = "train:\n  stages:\n    - name: a\n      epochs: 2\n"
FAULTS = [
    (
        ITEM + "      rate: {}\n",
        "run.yaml:5: unknown key 'train.stages[0].rate'. Did you mean 'train.stages[0].r",
    ),
    (
        ITEM + "      train: head.*\n",
        "run.yaml:5: 'train.stages[0].train' has a wrong value (found 'head.*', exp",
    ),
    (ITEM + "    - name: b\n", "run.yaml:5: 'train.stages[1]' has no 'epochs' (expected mappings with name, epochs, "),
    (ITEM + "    - b\n", "run.yaml:5: 'train.stages[1]' has a wrong value (found 'b', expected mappings with name, "),
    (ITEM + "      epochs: 3\n", "run.yaml:5: duplicate key 'epochs', first given in line 4."),
    ("train: {stages: {a: 1}}\n", "run.yaml:1: 'train.stages' has a wrong value (found {'a': 1}, expected a list of "),
    (
        ITEM + "      rates: {'*': 0}\n",
        "run.yaml:5: 'train.stages[0].rates' is out of range (found {'*': 0.0}, exp",
    ),
    (ITEM + "      losses: {x: .nan}\n", "run.yaml:5: 'train.stages[0].losses' is out of range (found {'x': nan}, exp"),
    (
        ITEM + "      train: []\n",
        "run.yaml:5: 'train.stages[0].train' is out of range (found (), expected at least",
    ),
    (ITEM + "      warmup: 1\n", "run.yaml:5: 'train.stages[0].warmup' is out of range (found 1.0, expected 0 or more"),
    (ITEM.replace("2", "0"), "run.yaml:4: 'train.stages[0].epochs' is out of range (found 0, expected 1 or more)."),
    (ITEM.replace("a\n", "''\n"), "run.yaml:3: 'train.stages[0].name' is out of range (found , expected a name)."),
    (ITEM + "    - {name: a, epochs: 1}\n", "run.yaml:3: two stages have one name (found a)."),
    (ITEM + "  epochs: 9\n", "run.yaml:5: 'train.epochs' is not the sum of the stages' epochs (found 9, expected 2). "),
    (
        ITEM + "  head_lr: 2\n",
        "run.yaml:5: 'train.head_lr' does not go with stages (found 2.0). Say it by ",
    ),
    (
        ITEM + "  freeze_encoder: 0.5\n",
        "run.yaml:5: 'train.freeze_encoder' does not go with stages (found 0.5).",
    ),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[message[:60] for _, message in FAULTS])
def test_every_fault_names_its_line_and_remedy(file: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load("simclr", file(text))
    assert message in str(error.value)


def test_epochs_given_later_stretch_the_stages_and_given_earlier_yield(file: Any, staged: str) -> None:
    for train in (load(staged, file("train: {epochs: 6}\n")).train, load(staged, None, {"train.epochs": "6"}).train):
        assert [stage.epochs for stage in train.stages] == [2, 4]
        assert train.epochs == 6
    assert load("supcon", file(TEXT)).train.epochs == 15
    with pytest.raises(ConfigError, match=r"train\.epochs: every stage needs an epoch \(found 1, expected at least"):
        load(staged, None, {"train.epochs": 1})


@pytest.mark.parametrize(
    ("epochs", "total", "expected"),
    [((5, 10, 15), 30, (5, 10, 15)), ((5, 10, 15), 6, (1, 2, 3)), ((1, 1, 100), 5, (1, 1, 3)), ((1, 2), 7, (2, 5))],
)
def test_stretching_keeps_shares_and_leaves_no_stage_empty(
    epochs: tuple[int, ...], total: int, expected: tuple[int, ...]
) -> None:
    stages = tuple(Stage(str(number), count) for number, count in enumerate(epochs))
    train = with_epochs(TrainConfig(epochs=sum(epochs), stages=stages), total)
    assert tuple(stage.epochs for stage in train.stages) == expected
    assert train.epochs == total


def test_a_configuration_built_in_python_must_agree_with_its_stages(staged: str) -> None:
    config = load(staged)
    check(config)
    with pytest.raises(ConfigError, match=r"not the sum of the stages' epochs \(found 3, expected 15\).*with_epochs"):
        check(replace(config, train=replace(config.train, epochs=3)))


def flagged(config: RunConfig[Any], *flags: str) -> TrainConfig:
    return parse_flags(config, list(flags)).train


def test_flags_stretch_stages_and_do_not_set_them(staged: str) -> None:
    config = load(staged)
    assert flagged(config, "--train.lr", "0.5").stages == config.train.stages
    assert [stage.epochs for stage in flagged(config, "--train.epochs", "3").stages] == [1, 2]
    with pytest.raises(ConfigError, match=r"stages are not set by flags\. Give them in a YAML file: --config FILE\."):
        flagged(config, "--train.stages.0.epochs", "3")


def test_help_does_not_list_the_keys_of_stages(staged: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flagged(load(staged), "--help")
    shown = capsys.readouterr().out
    assert "--train.epochs" in shown
    assert "stages" not in shown.replace("with stages:", "").replace("the stages'", "")


def test_the_documented_stages_fit_the_preset_they_are_shown_with(file: Any) -> None:
    page = Path(__file__).parents[1] / "docs/guides/stages.md"
    text = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    config = load("simclr", file(text))
    assert [stage.epochs for stage in config.train.stages] == [2, 4]
    assert [stage.epochs for stage in with_epochs(config.train, 3).stages] == [1, 2]
    Stages(build_method(config, default_channels(3)), config.train)
