import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from nearfar import TensorDataset, create, make_loader
from nearfar.config import TrainConfig
from nearfar.methods.base import Method
from nearfar.train.lightning_module import LightningMethod
from nearfar.train.optim import build_optimizer, set_rates

CONFIG = TrainConfig(lr=3e-3, warmup=0.25)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def method(name: str) -> Method:
    torch.manual_seed(0)
    return create(name, channels=3, size=16, encoder="nano_cnn")


def loader(batch_size: int = 8) -> Any:
    source = torch.Generator().manual_seed(0)
    return make_loader(
        TensorDataset(torch.rand(16, 3, 16, 16, generator=source), torch.arange(16) % 2), batch_size=batch_size
    )


def trained(module: LightningMethod, **options: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, loader(options.pop("batch_size", 8)))
    return trainer


@pytest.mark.parametrize("name", ["disco", "moco"])
def test_the_trainer_ends_where_a_plain_loop_does(name: str) -> None:
    module, other = LightningMethod(method(name), CONFIG), method(name)
    trainer = trained(module, max_epochs=2)
    optimizer, step = build_optimizer(other, CONFIG), 0
    for _ in range(2):
        for batch in loader():
            other.set_progress(step / 4)
            set_rates(optimizer, CONFIG, step, 4)
            optimizer.zero_grad()
            other.step(batch).loss.backward()
            optimizer.step()
            other.after_step()
            step += 1
    assert trainer.global_step == step == 4
    assert float(trainer.callback_metrics["loss"]) > 0
    ours, theirs = module.method.state_dict(), other.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_teachers_move_once_a_step_of_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    module, calls = LightningMethod(method("moco"), CONFIG), []
    monkeypatch.setattr(module.method, "after_step", lambda: calls.append(module.global_step))
    trained(module, max_epochs=3, accumulate_grad_batches=2)
    assert len(calls) == 3


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        file = tmp_path / f"{processes}.pt"
        command = [sys.executable, str(Path(__file__).parent / "lightning_ranks.py"), str(processes), str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        found.append(torch.load(file))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4, equal_nan=True)
    start = method("moco").state_dict()
    assert any(not torch.equal(start[key], value) for key, value in found[0].items() if key.startswith("encoder."))
