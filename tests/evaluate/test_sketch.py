"""Two drawn blobs: how they are read, and what they find in a trained run."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar.cli import main
from nearfar.data.synthetic.relations import generate
from nearfar.errors import DataError
from nearfar.evaluate.sketch import nearest, read_blob, read_sketch, search_sketch
from nearfar.train.run import Run

TRAIN = [
    "--data.size", "32", "--data.mask-size", "24", "--encoder.name", "nano_cnn", "--encoder.size", "32",
    "--encoder.options", "width", "8", "depth", "1", "--train.epochs", "22", "--train.batch-size", "48",
    "--train.lr", "4e-3", "--method.projection", "32", "--method.head-norm", "batch", "--method.banner-width", "8",
    "--train.threads", "1", "--train.health-every", "99", "--no-eval",
]  # fmt: skip


def draw(path: Path, box: tuple[int, int, int, int], ink: int = 255, paper: int = 0) -> Path:
    canvas = np.full((60, 80), paper, np.uint8)
    canvas[box[1] : box[3], box[0] : box[2]] = ink
    Image.fromarray(canvas).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    world = generate(tmp_path_factory.mktemp("data") / "world", n=64, size=48)
    path = tmp_path_factory.mktemp("runs") / "csip-1"
    assert main(["train", "csip", "--data.root", str(world), "--out", str(path), *TRAIN]) == 0
    return Run(path)


@pytest.fixture
def drawings(tmp_path: Path) -> tuple[Path, Path]:
    return draw(tmp_path / "a.png", (5, 20, 20, 40)), draw(tmp_path / "b.png", (60, 20, 75, 40))


def test_ink_and_paper_may_be_dark_or_light_or_transparent(tmp_path: Path) -> None:
    light = read_blob(draw(tmp_path / "light.png", (5, 6, 20, 30)))
    assert light.sum() == 15 * 24 and light[6:30, 5:20].all()
    np.testing.assert_array_equal(read_blob(draw(tmp_path / "dark.png", (5, 6, 20, 30), ink=10, paper=250)), light)
    clear = np.zeros((60, 80, 4), np.uint8)
    clear[6:30, 5:20, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read_blob(tmp_path / "clear.png"), light)


def test_a_sketch_is_framed_as_pairs_are(run: Run, drawings: tuple[Path, Path]) -> None:
    sketch = read_sketch(run, *drawings)
    assert sketch.masks.shape == (2, 24, 24) and sketch.banner.shape == (24, 180)
    assert sketch.masks[0, :, :4].any() and not sketch.masks[0, :, 12:].any()  # on the left
    assert sketch.banner[12].argmax() == 90  # 180 degrees
    sums = sketch.masks.sum((1, 2)) / 24**2 * 70**2  # the crop is as wide as both: 70 pixels
    np.testing.assert_allclose(sums, 15 * 20, rtol=1e-5)


def test_what_is_found_lies_as_the_sketch_does(run: Run, drawings: tuple[Path, Path]) -> None:
    hits = search_sketch(run, read_sketch(run, *drawings), 5)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    boxes = np.stack([hit.data[hit.index]["boxes"].numpy() for hit in hits])
    offset = boxes[:, 0, 0] + boxes[:, 0, 2] - boxes[:, 1, 0] - boxes[:, 1, 2]
    assert (offset < 0).mean() >= 0.8  # on the left


def test_the_command_ranks_and_draws(
    run: Run, drawings: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", str(run.path), "--sketch", *map(str, drawings)]
    assert main([*command, "--k", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in found] == [1, 2, 3] and Path(found[0]["image"]).is_file()
    out = tmp_path / "found.png"
    assert main([*command, "--k", "7", "-o", str(out)]) == 0
    with Image.open(out) as drawn:
        assert drawn.width > 600
    assert main([*command, "-o", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


def test_an_index_finds_what_a_comparison_of_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(4, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    with_index = nearest(queries, keys, 60)
    assert with_index[1].shape == (4, 50)
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    without = nearest(queries, keys, 60)
    np.testing.assert_array_equal(with_index[1], without[1])
    np.testing.assert_allclose(with_index[0], without[0], atol=1e-6)


def test_bad_drawings_are_refused(run: Run, drawings: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is drawn"):
        read_blob(draw(tmp_path / "even.png", (0, 0, 0, 0)))
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"different sizes .*found 9 x 9, expected 80 x 60"):
        read_sketch(run, drawings[0], tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        read_blob(tmp_path / "broken.png")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], 2, "search by an image or by --sketch A B (found neither)"),
        (["IMAGE", "--sketch", "A", "B"], 2, "found both"),
        (["--sketch", "A", "NONE"], 3, "there is no such drawing"),
        (["IMAGE", "-o", "x.png"], 2, "-o draws what a sketch finds"),
        (["--sketch", "A", "B", "--k", "0"], 2, "k must be at least 1"),
    ],
)
def test_wrong_use_is_told(
    run: Run,
    drawings: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    status: int,
    message: str,
) -> None:
    known = {"A": str(drawings[0]), "B": str(drawings[1]), "IMAGE": str(drawings[0])}
    assert main(["search", str(run.path), *(known.get(arg, arg) for arg in args)]) == status
    assert message in capsys.readouterr().err


def test_runs_of_other_methods_say_so(run: Run, drawings: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.yaml", "encoder.safetensors"):
        (other / name).write_bytes((run.path / name).read_bytes())
    with pytest.raises(Exception, match=r"only C-SIP's runs, with their checkpoint"):
        read_sketch(Run(other), *drawings)
