"""`nearfar doctor`: what this machine has, what is missing, and the line that installs it."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nearfar.cli.common import parse, result, table

CORE = ("torch", "torchvision", "timm", "lightning", "numpy", "pillow", "safetensors", "scikit-learn", "matplotlib",
        "pyyaml", "tyro", "rich", "jinja2")  # fmt: skip
EXTRAS = {
    "parquet": ("pyarrow",),
    "medical": ("pydicom",),
    "text": ("open_clip", "transformers", "peft"),
    "search": ("faiss",),
    "track": ("tensorboard", "mlflow"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "docs": ("zensical",),
}
COMPROMISED = ("2.6.2", "2.6.3")


@dataclass
class Arguments:
    """Check the installation."""

    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "doctor")
    facts = {"machine": _machine(), "packages": _packages(), "extras": _extras(), "problems": _problems()}
    result(facts, args.json, _text(facts))
    return 1 if facts["problems"] else 0


def _machine() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages() -> dict[str, str | None]:
    return {package: _version(package) for package in CORE}


def _extras() -> dict[str, dict[str, bool]]:
    return {extra: {name: find_spec(name) is not None for name in names} for extra, names in EXTRAS.items()}


def _problems() -> list[str]:
    found = [f"{p} is not installed: pip install {p}" for p, v in _packages().items() if v is None]
    if _version("lightning") in COMPROMISED:
        found.append("this release of lightning was malicious: pip install 'lightning>=2.6.4'")
    return found


def _text(facts: dict[str, Any]) -> str:
    rows = [["what", "value"], *([k, str(v)] for k, v in facts["machine"].items())]
    rows += [[name, str(value)] for name, value in facts["packages"].items()]
    for extra, names in facts["extras"].items():
        missing = [name for name, there in names.items() if not there]
        state = f"missing {', '.join(missing)}: pip install 'nearfar[{extra}]'" if missing else "installed"
        rows.append([f"[{extra}]", state])
    return "\n".join([table(rows), "", *(facts["problems"] or ["no problems found"])])
