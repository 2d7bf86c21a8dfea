"""Configuration: precedence, strictness with file and line, reading back, differences."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.config import MethodConfig
from nearfar.configio import check, diff, dump, load, read_run_config
from nearfar.errors import ConfigError
from nearfar.presets import METHODS, PRESETS, MethodSpec, Preset


@dataclass(frozen=True)
class PlanetConfig(MethodConfig):
    orbit: Literal["near", "far"] = "near"
    moons: int = 3


@pytest.fixture(autouse=True, scope="module")
def planet() -> Iterator[None]:
    """A method and a preset of this module only, so that the suite does not depend on any real method."""
    module = types.ModuleType("nearfar_test_planet")
    module.Planet = type("Planet", (), {"Config": PlanetConfig})  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(METHODS, "planet", MethodSpec(f"{module.__name__}:Planet", ""))
        patch.setitem(PRESETS, "planet", Preset("planet", "", {"method.moons": 5, "train.lr": 0.5}))
        yield


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("run.yaml").write_text(text, encoding="utf-8")
        return Path("run.yaml")

    return write


def test_each_source_overrides_the_one_before(file: Any) -> None:
    config = load("planet", file("method: {moons: 7}\ntrain:\n  epochs: 9\n  batch_size: 4\n"), {"train.epochs": 2})
    assert (config.method.moons, config.train.lr) == (7, 0.5)
    assert (config.train.epochs, config.train.batch_size, config.train.warmup) == (2, 4, 0.1)
    assert isinstance(config.method, PlanetConfig)


def test_values_take_the_annotated_type(file: Any) -> None:
    text = """
data: {root: a/b, modalities: [rgb, depth], splits: [0.5, 0, 0.5], scale: null}
encoder:
  options: {patch_size: 8, act: gelu, drop: 0.5, flag: true}
train: {lr: 1e-3, log: [mlflow]}
"""
    config = load("planet", file(text))
    assert config.data.root == Path("a/b")
    assert config.data.modalities == ("rgb", "depth")
    assert config.data.splits == (0.5, 0.0, 0.5)
    assert all(type(share) is float for share in config.data.splits)
    assert config.encoder.options == {"patch_size": 8, "act": "gelu", "drop": 0.5, "flag": True}
    assert type(config.encoder.options["patch_size"]) is int
    assert (config.train.lr, config.train.log) == (1e-3, ("mlflow",))


def test_overrides_as_text_are_read_by_the_type_of_the_field() -> None:
    given = {
        "train.epochs": "3",
        "views.crop_scale": "[0.2, 1]",
        "data.format": "3",
        "encoder.options.depth": "4",
        "train.sync_batchnorm": "true",
        "data.root": "5",
    }
    config = load("planet", None, given)
    assert (config.train.epochs, config.views.crop_scale, config.data.format) == (3, (0.2, 1.0), "3")
    assert config.encoder.options == {"depth": 4}
    assert config.train.sync_batchnorm is True
    assert config.data.root == Path("5")


GOLDEN = [
    (
        "train:\n  epochs: 3\n  bach_size: 3\n",
        "run.yaml:3: unknown key 'train.bach_size'. Did you mean 'train.batch_size'?",
    ),
    ("trian: {}\n", "run.yaml:1: unknown key 'trian'. Did you mean 'train'?"),
    ("method:\n  qqqqq: 1\n", "run.yaml:2: unknown key 'method.qqqqq'. Known: method.temperature, method.projection, "),
    (
        "train:\n  optimizer: adam_w\n",
        "run.yaml:2: 'train.optimizer' has a wrong value (found 'adam_w', expected one of 'adamw', 'sgd', 'lars').",
    ),
    ("train: {epochs: 2.5}\n", "'train.epochs' has a wrong value (found 2.5, expected a whole number)."),
    ("train: {epochs: true}\n", "'train.epochs' has a wrong value (found True, expected a whole number)."),
    ("train: {epochs: '3'}\n", "'train.epochs' has a wrong value (found '3', expected a whole number)."),
    ("train: {lr: fast}\n", "run.yaml:1: 'train.lr' has a wrong value (found 'fast', expected a number)."),
    ("train: {lr: null}\n", "'train.lr' has a wrong value (found None, expected a number)."),
    (
        "views:\n  crop_scale: [0.5]\n",
        "run.yaml:2: 'views.crop_scale' has a wrong value (found [0.5], expected a list of 2: a number, a number).",
    ),
    ("data: {root: 3}\n", "'data.root' has a wrong value (found 3, expected a path or nothing (null))."),
    (
        "encoder: {options: {depth: [1]}}\n",
        "expected a mapping, each value a whole number or a number or text or true or false).",
    ),
    ("train: {log: [wandb]}\n", "(found ['wandb'], expected a list, each one of 'tensorboard', 'mlflow')."),
    ("train: {log: mlflow}\n", "(found 'mlflow', expected a list, each one of 'tensorboard', 'mlflow')."),
    ("train: 3\n", "run.yaml:1: 'train' must be a mapping of keys to values (found a single value)."),
    ("- 1\n", "run.yaml:1: the file must be a mapping of keys to values (found a list)."),
    ("train:\n  lr: 1\n  lr: 2\n", "run.yaml:3: duplicate key 'train.lr', first given in line 2."),
    ("train: {lr: [}\n", "run.yaml:1: not valid YAML: "),
    ("data: {root: !!python/object:os.x {}}\n", "run.yaml:1: not a plain value: "),
    ("preset: disco\n", "run.yaml:1: the file is for preset 'disco' (expected planet)."),
    ("train: {lr: .nan}\n", "run.yaml:1: 'train.lr' is not finite (found nan, expected a finite number)."),
    ("views: {crop_scale: [0.1, .inf]}\n", "run.yaml:1: 'views.crop_scale' is not finite"),
    ("train:\n  batch_size: 0\n", "run.yaml:2: 'train.batch_size' is out of range (found 0, expected 1 or more)."),
    ("train: {lr: -1}\n", "run.yaml:1: 'train.lr' is out of range (found -1.0, expected more than 0)."),
    ("data: {splits: [0.5, 0.5, 0.5]}\n", "expected shares of 0 or more that sum to 1)."),
    ("views: {crop_scale: [0.9, 0.1]}\n", "expected two shares, 0 < smallest <= largest <= 1)."),
    (
        "train: {batch_size: 5, devices: 2}\n",
        "run.yaml:1: 'train.batch_size' is not a multiple of the devices (found 5, expected a multiple of 2).",
    ),
]


@pytest.mark.parametrize(("text", "message"), GOLDEN, ids=[text.strip()[:40] for text, _ in GOLDEN])
def test_every_fault_names_its_place_and_remedy(file: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load("planet", file(text))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.epoch": 1}, "train.epoch: unknown key 'train.epoch'. Did you mean 'train.epochs'?"),
        ({"train": {"lr": 1}}, "train: 'train' is a section. Set one of its keys, such as 'train.NAME'."),
        ({"train.epochs": "many"}, "train.epochs: 'train.epochs' has a wrong value (found 'many', expected a whole"),
        ({"train.lr": float("nan")}, "train.lr: 'train.lr' is not finite"),
    ],
)
def test_faults_of_overrides_name_the_key(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load("planet", None, overrides)
    assert message in str(error.value)


def test_unknown_preset_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'planett'\. Did you mean 'planet'\?"):
        load("planett")
    with pytest.raises(ConfigError, match="there is no such configuration file"):
        load("planet", tmp_path / "absent.yaml")
    (tmp_path / "config.yaml").write_text("train: {lr: 1}\n")
    with pytest.raises(ConfigError, match="does not say its preset"):
        read_run_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load("planet", tmp_path / "latin.yaml")


def test_an_empty_file_changes_nothing(file: Any) -> None:
    assert load("planet", file("# nothing yet\n")) == load("planet")


@settings(max_examples=30, deadline=None)
@given(
    lr=st.floats(1e-12, 1e6),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12),
    options=st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6),
        st.integers() | st.booleans() | st.floats(-1e9, 1e9) | st.text("ab1.:#'\"-[] ", max_size=6),
        max_size=3,
    ),
    width=st.lists(st.integers(1, 4096), max_size=3),
)
def test_dump_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, lr: float, name: str, options: dict[str, Any], width: list[int]
) -> None:
    overrides = {"train.lr": lr, "encoder.options": options, "method.projection": width, "data.root": Path(name)}
    config = load("planet", None, overrides)
    path = tmp_path_factory.mktemp("run") / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert read_run_config(path) == config == read_run_config(path.parent)


def test_diff_shows_each_changed_key_once() -> None:
    old = load("planet", None, {"encoder.options.depth": 1})
    new = load("planet", None, {"train.lr": 0.25, "method.orbit": "far"})
    lines = set(diff(old, new).splitlines())
    assert lines == {
        "train.lr: 0.5 -> 0.25",
        "method.orbit: near -> far",
        "encoder.options.depth: 1 -> (absent)",
        "encoder.options: (absent) -> {}",
    }
    assert diff(dump(old), new) == diff(old, new)
    assert diff(old, replace(old)) == ""


def test_a_configuration_built_in_python_is_checked_too() -> None:
    config = load("planet")
    check(config)
    with pytest.raises(ConfigError, match=r"train\.keep: 'train\.keep' is out of range"):
        check(replace(config, train=replace(config.train, keep=0)))


def test_dump_is_plain_yaml_in_the_order_of_the_fields() -> None:
    tree = yaml.safe_load(dump(load("planet")))
    assert list(tree) == ["preset", "method", "data", "views", "encoder", "train", "eval"]
    assert tree["views"]["crop_scale"] == [0.35, 1.0]


def test_importing_configio_does_not_import_torch() -> None:
    code = "import sys, nearfar.configio; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
