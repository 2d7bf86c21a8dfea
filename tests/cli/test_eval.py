"""`nearfar eval`: which task the root and the settings of the command line go to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.cli.common import parse
from nearfar.cli.eval import Arguments, settings
from nearfar.config import EvalConfig
from nearfar.errors import ConfigError


def parsed(*argv: str) -> Arguments:
    return parse(Arguments, ["RUN", *argv], "eval")


def test_the_root_goes_to_the_task_on_data_of_its_own() -> None:
    for task in ("landcover", "segment", "change"):
        config, rooted = settings(parsed("--task", task, "--root", "DATA"), EvalConfig())
        assert rooted and config.tasks == (task,)
        assert {name: getattr(config, name) for name in ("landcover", "segment", "change")} == {
            **dict.fromkeys(("landcover", "segment", "change")),
            task: Path("DATA"),
        }


def test_the_root_of_other_tasks_is_data_like_the_runs() -> None:
    config, rooted = settings(parsed("--tasks", "health", "classify", "--root", "DATA"), EvalConfig(segment=Path("S")))
    assert not rooted and config == EvalConfig(tasks=("health", "classify"), segment=Path("S"))
    assert settings(parsed(), EvalConfig(tasks=("health",)))[0] == EvalConfig(tasks=("health",))


def test_one_root_cannot_serve_several_tasks() -> None:
    with pytest.raises(ConfigError, match=r"several tasks .*Ask for one at a time: --task segment --root DATA"):
        settings(parsed("--tasks", "segment", "change", "--root", "DATA"), EvalConfig())


def test_settings_given_replace_the_runs_and_the_others_stay() -> None:
    before = EvalConfig(decoder_epochs=7, protocol="spatial", finetune=True)
    flags = ("--landcover-mode", "histogram", "--statistics", "run", "--finetune", "False", "--decoder-epochs", "3")
    config, _ = settings(parsed("--task", "landcover", "--root", "DATA", *flags), before)
    assert (config.landcover_mode, config.statistics, config.finetune, config.decoder_epochs) == (
        *("histogram", "run", False, 3),
    )
    assert config.protocol == "spatial" and config.decoder == "unet"


def test_one_root_serves_all_tasks_on_pairs_and_them_alone() -> None:
    config, rooted = settings(
        parsed("--tasks", "relations", "banners", "--root", "DATA", "--text", "gru"), EvalConfig()
    )
    assert rooted and config.pairs == Path("DATA") and config.tasks == ("relations", "banners") and config.text == "gru"
    assert settings(parsed("--tasks", "relations"), EvalConfig(pairs=Path("P")))[0].pairs == Path("P")
    for others in (("banners", "health"), ("relations", "segment")):
        with pytest.raises(ConfigError, match="several tasks"):
            settings(parsed("--tasks", *others, "--root", "DATA"), EvalConfig())
