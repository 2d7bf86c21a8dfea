"""The command line's promises: exit statuses, messages, and what is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nearfar.cli import COMMANDS, main
from nearfar.errors import DataError, NearfarError, ShapeError


def imported(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has imported after `code`."""
    script = f"import sys\n{code}\nprint('|'.join(sorted({{m.split('.')[0] for m in sys.modules}})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.strip().splitlines()[-1].split("|"))


@pytest.mark.parametrize(
    "code", ["import nearfar", "from nearfar.cli import main; main(['--help'])", "import nearfar.configio"]
)
def test_light_imports_leave_torch_out(code: str) -> None:
    assert not {"torch", "lightning", "timm", "sklearn", "matplotlib"} & imported(code)


@pytest.mark.parametrize("command", ["methods", "launch", "doctor", "train"])
def test_help_of_light_commands_leaves_torch_out(command: str) -> None:
    code = f"from nearfar.cli import main\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass"
    assert "torch" not in imported(code)


@pytest.mark.parametrize("words", [["dicso"], ["smcl", "--task", "scene", "--preset", "photo"]])
def test_a_mistyped_name_is_refused_before_torch_is_read(words: list[str]) -> None:
    assert "torch" not in imported(f"from nearfar.cli import main\nassert main(['train', *{words}]) == 2")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "usage" in capsys.readouterr().out.lower()


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "nearfar: unknown command 'trian'. Did you mean 'train'?\n"


def test_missing_argument_is_wrong_use() -> None:
    assert main(["eval"]) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("bad"), 3),
        (NearfarError("other"), 1),
        (ShapeError("shape"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
        (OSError(28, "No space left on device", "x"), 1),
        (PermissionError(13, "denied", "secret"), 1),
        (ValueError("a bug"), 1),
    ],
)
def test_exit_status_of_each_error(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr("nearfar.cli.methods.main", fail)
    assert main(["methods"]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_traceback_is_shown_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: list[str]) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr("nearfar.cli.methods.main", fail)
    assert main(["methods", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_methods_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    assert {"disco", "supcon", "simclr", "moco"} <= set(json.loads(capsys.readouterr().out)["methods"])


def test_error_reads_as_one_paragraph() -> None:
    error = DataError("not a PNG", where="a.png", found="JPEG", expected="PNG", fix="Convert it.")
    assert str(error) == "a.png: not a PNG (found JPEG, expected PNG). Convert it."
