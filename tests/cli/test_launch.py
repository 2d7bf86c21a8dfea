"""Job scripts: what is printed can be parsed by what will run it."""

from __future__ import annotations

import ast

import pytest
import yaml

from nearfar.cli import main

TRAIN = ["--", "disco", "--data.root", "/data/my images"]


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["launch", *argv]) == 0
    return capsys.readouterr().out


def test_slurm_asks_for_what_training_uses(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(["slurm", "--nodes", "4", "--devices", "8", *TRAIN], capsys)
    assert "#SBATCH --nodes=4" in script
    assert "#SBATCH --ntasks-per-node=8" in script
    assert "--data.root '/data/my images' --train.devices 8 --train.nodes 4" in script


@pytest.mark.parametrize(("nodes", "workers"), [(1, None), (3, 2)])
def test_kubernetes_yaml_is_valid(nodes: int, workers: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    job = yaml.safe_load(printed(["k8s", "--nodes", str(nodes), *TRAIN], capsys))
    replicas = job["spec"]["pytorchReplicaSpecs"]
    container = replicas["Master"]["template"]["spec"]["containers"][0]
    assert container["args"][:4] == ["nearfar", "train", "disco", "--data.root"]
    assert container["args"][4] == "/data/my images"
    assert (replicas["Worker"]["replicas"] if "Worker" in replicas else None) == workers


def test_ray_script_is_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert "num_workers=8" in printed(["ray", *TRAIN], capsys)
    ast.parse(printed(["ray", *TRAIN], capsys))


def test_needs_a_training_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "slurm"]) == 2
    assert "Put it after --" in capsys.readouterr().err
