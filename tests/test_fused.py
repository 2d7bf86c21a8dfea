"""A diagnostic model outside of its run: the same rows, a card with its limits, a graph with the same logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from nearfar.cli import main
from nearfar.data.loader import collate
from nearfar.encoders.io import load_encoder, save_encoder
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.judge import Judge
from nearfar.fused import CARD, INPUTS, export_fused, load_fused
from nearfar.report.page import number
from nearfar.train.run import Run


def test_the_exported_file_judges_as_its_run(measured_study: Run, study: Path, tmp_path: Path) -> None:
    path, card = export_fused(measured_study, "safetensors", tmp_path / "model.safetensors")
    judge = load_fused(path)
    rows = judge(study / "test.json")
    assert rows == Judge.of_run(measured_study)(study / "test.json") and rows[0]["decision"]
    assert card == tmp_path / CARD
    assert str(study) not in path.read_bytes()[:20000].decode("latin-1")  # no folder of the training data


def test_a_run_without_decision_exports_one_without(measured_study: Run, tmp_path: Path) -> None:
    shutil.copytree(
        measured_study.path, tmp_path / "run", ignore=shutil.ignore_patterns("decision.json", "metrics.json")
    )
    path, card = export_fused(Run(tmp_path / "run"), "safetensors", tmp_path / "model.safetensors")
    assert load_fused(path).decision is None
    text = card.read_text()
    assert "Not measured" in text and "NOT a medical device" in text and "calls nothing" in text


def test_the_card_holds_the_numbers_of_the_run_and_its_limits(measured_study: Run, tmp_path: Path) -> None:
    _, card = export_fused(measured_study, "safetensors", tmp_path / "model.safetensors")
    text, found = card.read_text(), measured_study.metrics["clinical"]
    for heading in ("Intended use", "Decision", "Cohorts and measures", "Calibration", "Limits", "A missing modality"):
        assert f"## {heading}" in text
    assert "NOT a medical device" in text and found["decision"]["rule"] in text
    for cohort in found["cohorts"].values():
        assert number(cohort["auc"]) in text and number(cohort["calibration"]["calibrated"]["ece"]) in text
    assert number(found["ablation"]["image+boxes"]["drop"]) in text


def test_the_command_exports_all_or_the_encoder_alone(
    measured_study: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "model.safetensors"
    assert main(["export", str(measured_study.path), "-o", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out), str(out.parent / CARD)]
    assert main(["export", str(measured_study.path), "-o", str(tmp_path / "out" / "other.safetensors")]) == 2
    alone = tmp_path / "encoder.safetensors"
    assert main(["export", str(measured_study.path), "--encoder-only", "-o", str(alone)]) == 0
    assert load_encoder(alone).feature_dim == load_fused(out).method.encoder.feature_dim


def test_files_that_are_no_such_model(measured_study: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such model file"):
        load_fused(tmp_path / "none.safetensors")
    other = save_encoder(measured_study.encoder(), tmp_path / "encoder.safetensors")
    with pytest.raises(DataError, match="no diagnostic model"):
        load_fused(other)
    other.write_bytes(other.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        load_fused(other)
    path, _ = export_fused(measured_study, "safetensors", tmp_path / "model.safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, header)
    with pytest.raises(DataError, match="cannot be rebuilt"):
        load_fused(path)
    with pytest.raises(ConfigError, match="unknown format"):
        export_fused(measured_study, "pickle", tmp_path / "model.pkl")


@pytest.mark.slow
def test_the_onnx_graph_gives_the_same_logits_and_gates(measured_study: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    path, _ = export_fused(measured_study, "onnx", tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(INPUTS)
    method: Any = measured_study.method()
    test = measured_study.dataset("test")
    batch = collate([test[i] for i in range(5)])
    batch["present"][1, 1], batch["present"][2, 0], batch["present"][3, 2] = False, False, False
    ids, mask = padded(*method.tokenizer(batch["text"]), method.config.text.length)
    expected = method.predict(batch)
    for rows in (slice(0, 5), slice(2, 3)):
        inputs = (batch["image"], ids, mask, batch["objects"], batch["object_labels"], batch["present"])
        logit, gates = session.run(None, {n: v[rows].numpy() for n, v in zip(INPUTS, inputs, strict=True)})
        np.testing.assert_allclose(logit, expected["logit"][rows].numpy(), atol=1e-4)
        np.testing.assert_allclose(gates, expected["gates"][rows].numpy(), atol=1e-5)
    header = json.loads(session.get_modelmeta().custom_metadata_map["nearfar_fused"])
    assert header["decision"]["operating"] == measured_study.metrics["clinical"]["decision"]["operating"]
    assert header["tokenizer"]["kind"] == "word" and header["object_classes"][0] == "CB"


def padded(ids: torch.Tensor, mask: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    more = length - ids.shape[1]
    return torch.nn.functional.pad(ids, (0, more)), torch.nn.functional.pad(mask, (0, more))
