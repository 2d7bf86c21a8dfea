"""Methods by name: from a preset with options, from a run's configuration, and names that do not exist."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig, MethodConfig, RunConfig, ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError
from nearfar.methods import build_method, load_method_class
from nearfar.methods.supcon import SupCon, SupConConfig
from nearfar.presets import PRESETS
from nearfar.spatial.sensors import sensor

SMALL = EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_created(preset: str) -> None:
    overrides = PRESETS[preset].overrides
    channels = Channels.of({"rgb": ["r", "g", "b"], "thermal": [""]})
    encoder = SMALL
    if groups := overrides.get("encoder.groups"):
        channels, encoder = Channels.of({"s2": sensor("sentinel2_l1c").names}), replace(SMALL, groups=groups)
    method = nearfar.create(preset, channels=channels, encoder=encoder)
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        owner = {"method": method.config, "views": method.views_config}.get(section)
        assert owner is None or getattr(owner, name) == value


def test_options_reach_the_method_and_the_encoder() -> None:
    mean, std = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])
    views = ViewsConfig(recipe="none")
    method = nearfar.create(
        "supcon", channels=2, size=32, encoder="nano_vit", views=views, mean=mean, std=std, form="in", temperature=0.5
    )
    assert method.config == SupConConfig(temperature=0.5, form="in")
    assert (method.encoder.config.name, method.encoder.config.size) == ("nano_vit", 32)
    assert torch.equal(method.encoder.mean, mean) and torch.equal(method.encoder.std, std)
    assert method.views_config is views


def test_a_run_configuration_builds_the_method_of_its_preset() -> None:
    config = RunConfig(preset="supcon", method=SupConConfig(projection=()), encoder=SMALL)
    method = build_method(config, Channels.of({"thermal": [""]}), torch.zeros(1), torch.ones(1))
    assert isinstance(method, SupCon)
    assert method.embedding_dim == method.encoder.feature_dim
    with pytest.raises(ConfigError, match="found MethodConfig, expected SupConConfig"):
        build_method(replace(config, method=MethodConfig()), Channels.of({"thermal": [""]}))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nearfar.create("supcn"), 'no preset "supcn".*Did you mean "supcon"'),
        (lambda: nearfar.create("supcon", temprature=1.0), 'SupConConfig "temprature".*Did you mean "temperature"'),
        (lambda: nearfar.create("supcon", encoder=SMALL, temperature=0.0), "temperature"),
        (lambda: load_method_class("mocko"), 'Did you mean "moco"'),
        (lambda: load_method_class("zzz"), "There are: disco"),
    ],
)
def test_names_that_do_not_exist(call: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()  # type: ignore[operator]


def test_naming_methods_imports_none_of_them() -> None:
    code = (
        "import sys, nearfar.methods; print([m for m in sys.modules if m.split('.')[0] == 'torch' or '.methods.' in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
