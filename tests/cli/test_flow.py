"""A user's way through the commands on a small world, and what goes wrong on it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nearfar
from nearfar.cli import main
from nearfar.data.synthetic import spills

SMALL = [
    "--data.size", "32", "--encoder.name", "nano_cnn", "--encoder.size", "32",
    "--encoder.options", "width", "8", "depth", "1", "--train.epochs", "2",
    "--train.batch-size", "32", "--method.projection", "16", "8", "--eval.bootstrap", "50",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spills.generate(tmp_path_factory.mktemp("world") / "spills", n=120, size=32)


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "disco-1"
    assert main(["train", "disco", "--data.root", str(world), "--out", str(folder), *SMALL]) == 0
    return folder


def test_the_run_folder_holds_what_is_promised(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "config.yaml", "metrics.jsonl", "metrics.json", "checkpoints", "encoder.safetensors", "report.html", "figures",
        "arrays", "noise.csv",
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"classify", "health", "noise", "attention", "opinions"} <= set(metrics)
    assert set(metrics["classify"]["linear"]["per_class"]) == {"clean", "cold", "warm"}


@pytest.mark.slow
def test_eval_of_one_task_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--tasks", "health", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["health"]["effective_rank"]


def test_eval_of_an_unknown_task_suggests_the_nearest(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--tasks", "clasify"]) == 2
    assert "Did you mean 'classify'?" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_embed_writes_one_row_an_image(run: Path, world: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"out.{suffix}"
    assert main(["embed", str(run), str(world), "-o", str(out)]) == 0
    assert main(["embed", str(run), str(world), "-o", str(out)]) == 2  # nothing is overwritten unasked
    if suffix == "npz":
        assert np.load(out)["z"].shape == (120, 32)


def test_exported_encoder_gives_the_embeddings_of_the_run(run: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.safetensors"
    assert main(["export", str(run), "--to", "safetensors", "-o", str(out)]) == 0
    from nearfar.config import DataConfig
    from nearfar.data import open_dataset

    sample = open_dataset(DataConfig(root=world, size=32), "test")[0]
    features = nearfar.load_encoder(out).eval()(sample["image"][None]).detach().numpy()[0]
    stored = np.load(run / "arrays" / "embeddings.npz")
    np.testing.assert_allclose(features, stored["z"][stored["id"] == sample["id"]][0], atol=1e-5)


def test_search_finds_the_query_itself_first(run: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(run), str(world), "--k", "2", "--json"]) == 0
    hits = [h for h in json.loads(capsys.readouterr().out) if h["rank"] == 1]
    assert np.mean([h["similarity"] > 0.9999 for h in hits]) == 1.0


def test_predict_gives_probabilities_of_every_class(run: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    assert main(["predict", str(run), str(world), "-o", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert sum(float(rows[0][f"p({c})"]) for c in ("clean", "cold", "warm")) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_report_of_two_runs_and_explorer(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), str(run)]) == 2
    out = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(out)]) == 0
    assert main(["explore", str(run), "-o", str(tmp_path / "e.html")]) == 0
    assert "Labels in doubt" in out.read_text()


def test_a_finished_run_is_not_overwritten(run: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "disco", "--data.root", str(world), "--out", str(run), *SMALL]) == 2
    assert "resume" in capsys.readouterr().err


def test_resume_refuses_a_changed_configuration_and_shows_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(run), "--train.lr", "0.5"]) == 2
    assert "train.lr: 0.001 -> 0.5" in capsys.readouterr().err


def test_resume_with_allowed_changes_goes_on(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    assert main(["train", "--resume", str(copy), "--allow-changes", "--train.epochs", "3", "--no-eval"]) == 0
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert max(line["epoch"] for line in lines) == 2


def test_wrong_folder_is_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "disco", "--data.root", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    assert main(arguments) == 3
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_unknown_preset_and_missing_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "discoo"]) == 2
    assert "Did you mean 'disco'?" in capsys.readouterr().err
    assert main(["train", "disco"]) == 2
    assert "--data.root" in capsys.readouterr().err


def test_configuration_file_errors_name_file_and_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train:\n  epochs: 2\n  learning_rate: 0.1\n")
    assert main(["train", "disco", "--config", str(file), "--data.root", str(world)]) == 2
    assert "c.yaml:3" in capsys.readouterr().err


def test_data_check_lists_every_problem(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(world)]) == 0
    broken = Path(shutil.copytree(world, tmp_path / "broken"))
    images = sorted((broken / "rgb").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:60])
    gone = sorted((broken / "depth").iterdir())[1]
    gone.unlink()
    capsys.readouterr()
    assert main(["data", "check", str(broken), "--json"]) == 3
    listed = capsys.readouterr().out
    assert images[0].name in listed
    assert gone.stem in listed


def test_data_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "formats", "--json"]) == 0
    assert {"folder", "manifest", "mvtec", "modalities"} <= set(json.loads(capsys.readouterr().out))


def test_truncated_encoder_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "encoder.safetensors").write_bytes((copy / "encoder.safetensors").read_bytes()[:100])
    assert main(["export", str(copy), "-o", str(tmp_path / "x.safetensors")]) == 3
    assert "encoder.safetensors" in capsys.readouterr().err


def test_a_small_folder_works_with_the_default_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nearfar.data.readers import READERS

    root = READERS["folder"].write_example(tmp_path / "images", count=40, size=32)
    at = SMALL.index("--train.batch-size")
    small = SMALL[:at] + SMALL[at + 2 :]
    small[small.index("--train.epochs") + 1] = "1"
    arguments = ["train", "simclr", "--data.root", str(root), "--out", str(tmp_path / "run"), "--no-eval", *small]
    assert main(arguments) == 0
    assert "nearfar: note: train.batch_size 256 exceeds the" in capsys.readouterr().err


def test_one_image_is_enough_where_there_is_one_modality(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((world / "rgb").iterdir())
    assert main(["search", str(run), str(image)]) == 3
    assert "one file does not hold several modalities" in capsys.readouterr().err
    single = tmp_path / "single"
    arguments = ["train", "supcon", "--data.root", str(world), "--data.modalities", "rgb", "--out", str(single), *SMALL]
    assert main([*arguments, "--no-eval"]) == 0
    capsys.readouterr()
    assert main(["search", str(single), str(image), "--k", "1", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [h["id"] for h in hits] == [image.stem]
