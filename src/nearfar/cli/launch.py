"""`nearfar launch slurm|k8s|ray`: print the script that runs the same training on a cluster."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

import tyro

from nearfar.cli.common import parse
from nearfar.errors import ConfigError


@dataclass
class Arguments:
    """Print a job script; everything after `--` is the `nearfar train` command line."""

    target: tyro.conf.Positional[Literal["slurm", "k8s", "ray"]]
    nodes: int = 1
    devices: int = 8
    """GPUs a node"""
    hours: int = 24
    image: str = "YOUR-IMAGE-WITH-NEARFAR"
    """container image (k8s)"""
    name: str = "nearfar"


def main(argv: list[str]) -> int:
    own, _, train = _split(argv)
    args = parse(Arguments, own, "launch")
    if not train:
        raise ConfigError(
            "no training command", fix="Put it after --: nearfar launch slurm -- disco --data.root FOLDER"
        )
    if args.nodes < 1 or args.devices < 1:
        raise ConfigError("--nodes and --devices count from 1")
    command = shlex.join(
        ["nearfar", "train", *train, "--train.devices", str(args.devices), "--train.nodes", str(args.nodes)]
    )
    print({"slurm": _slurm, "k8s": _k8s, "ray": _ray}[args.target](args, command))
    return 0


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in argv:
        return argv, "", []
    at = argv.index("--")
    train = argv[at + 1 :]
    if train[:2] == ["nearfar", "train"]:
        train = train[2:]
    return argv[:at], "--", train


def _slurm(args: Arguments, command: str) -> str:
    return f"""#!/bin/bash
#SBATCH --job-name={args.name}
#SBATCH --nodes={args.nodes}
#SBATCH --ntasks-per-node={args.devices}
#SBATCH --gpus-per-node={args.devices}
#SBATCH --time={args.hours}:00:00
#SBATCH --signal=SIGTERM@120
# SIGTERM two minutes before the end: nearfar writes a checkpoint and exits with 143;
# `nearfar train --resume RUN` goes on.
srun {command}"""


def _k8s(args: Arguments, command: str) -> str:
    container = f"""        - name: pytorch
          image: {args.image}
          command: ["torchrun", "--no-python"]
          args: {_yaml_list(shlex.split(command))}
          resources: {{limits: {{nvidia.com/gpu: {args.devices}}}}}"""
    spec = f"""replicas: %d
      restartPolicy: OnFailure
      template:
       spec:
        containers:
{container}"""
    workers = f"\n    Worker:\n      {spec % (args.nodes - 1)}" if args.nodes > 1 else ""
    return f"""apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {{name: {args.name}}}
spec:
  nprocPerNode: "{args.devices}"
  pytorchReplicaSpecs:
    Master:
      {spec % 1}{workers}"""


def _yaml_list(parts: list[str]) -> str:
    quoted = ", ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
    return f"[{quoted}]"


def _ray(args: Arguments, command: str) -> str:
    config = shlex.split(command)[2:]
    return f'''"""Run with: python this_file.py (needs `pip install "ray[train]"`)."""
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer


def worker():
    # Ray has set the process group's environment; nearfar attaches to it as it does under torchrun.
    from nearfar.cli import main

    status = main(["train", *{config!r}])
    if status:
        raise SystemExit(status)


TorchTrainer(worker, scaling_config=ScalingConfig(num_workers={args.nodes * args.devices}, use_gpu=True)).fit()'''
