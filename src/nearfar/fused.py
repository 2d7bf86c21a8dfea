"""A diagnostic model for use elsewhere: one safetensors file that holds all of it, or an ONNX graph of it.

The safetensors file carries configuration, channels, tokenizer, object classes and the frozen decision, and comes back
as a `Judge`, the same as that of its run.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar import __version__, configio
from nearfar.config import DataConfig
from nearfar.data.sample import Channels
from nearfar.data.study import CLASSES, MODALITIES
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError, NearfarError, missing_extra
from nearfar.evaluate.decision import Decision
from nearfar.evaluate.judge import Judge
from nearfar.methods import build_method
from nearfar.model_card import write_model_card
from nearfar.train.files import write_atomically

if TYPE_CHECKING:
    from nearfar.train.run import Run

KEY = "nearfar_fused"
CARD = "MODEL_CARD.md"
INPUTS = ("image", "ids", "mask", "objects", "labels", "present")


def export_fused(run: Run, to: str, path: Path) -> list[Path]:
    """Write a run's whole model and MODEL_CARD.md beside it; returns both paths.

    safetensors: for `load_fused`. onnx: see `OnnxModel`; the header of the former is JSON in the model's metadata.
    Raises ConfigError where the run makes no diagnosis, the format is unknown or an extra is missing.
    """
    if to not in ("safetensors", "onnx"):
        raise ConfigError("unknown format", where="to", found=to, expected="safetensors or onnx")
    judge = Judge.of_run(run)
    (_write_safetensors if to == "safetensors" else _write_onnx)(judge, run, path)
    return [path, write_model_card(run, path.parent / CARD, [path.name])]


def load_fused(path: Path | str) -> Judge:
    """The model of a file that `export_fused` wrote, on the CPU. DataError where it is missing, damaged or another."""
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError("there is no such model file", where=path) from None
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError("the model file cannot be read", where=path, found=error, fix="Export it again.") from error
    if KEY not in header:
        raise DataError("this safetensors file is no diagnostic model of nearfar", where=path)
    try:
        return _rebuilt(json.loads(header[KEY]), state)
    except (KeyError, TypeError, ValueError, RuntimeError, NearfarError) as error:
        raise DataError(
            f"the model cannot be rebuilt: {str(error).splitlines()[0]}",
            where=path,
            fix="Load it with the nearfar version that wrote it.",
        ) from error


def _header(judge: Judge, run: Run) -> dict[str, Any]:
    """All that the weights do not say, as plain values; no path of the machine that trained them."""
    data = judge.data
    kept = DataConfig(size=data.size, max_objects=data.max_objects, scale=data.scale, on_unknown=data.on_unknown)
    channels = judge.method.encoder.channels
    return {
        "nearfar": __version__,
        "config": configio.dump(replace(run.config, data=kept, eval=replace(run.config.eval, cohorts=()))),
        "channels": {"names": channels.names, "modalities": channels.modalities},
        "classes": CLASSES,
        "object_classes": judge.method.object_classes,
        "tokenizer": judge.method.tokenizer.state(),
        "decision": judge.decision.state() if judge.decision else None,
    }


def _write_safetensors(judge: Judge, run: Run, path: Path) -> None:
    state = {name: value.detach().cpu().contiguous() for name, value in judge.method.state_dict().items()}
    seen: set[int] = set()
    for name, value in state.items():  # safetensors refuses tensors that share memory
        if value.data_ptr() in seen:
            state[name] = value.clone()
        seen.add(value.data_ptr())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.torch.save(state, {KEY: json.dumps(_header(judge, run))}))


def _rebuilt(header: dict[str, Any], state: dict[str, Tensor]) -> Judge:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(header["config"], encoding="utf-8")
        config = configio.read_run_config(Path(folder))
    named = header["channels"]
    spans = {name: tuple(span) for name, span in named["modalities"].items()}
    method = build_method(config, Channels(tuple(named["names"]), spans))
    method.load_state_dict(state)
    decision = Decision.from_state(header["decision"]) if header["decision"] else None
    return Judge(method.eval(), decision, config.data)


class OnnxModel(nn.Module):
    """The whole model as a function of tensors, for ONNX: inputs in the order of `INPUTS`, batch size free.

    image float32 [B, C, S, S] letterboxed, scaled, not normalised; ids int64 and mask bool [B, L], tokens of the
    caption, padded to the model's length; objects float32 [B, M, 5] and labels int64 [B, M] (-1: none); present bool
    [B, 3]. Outputs `logit` [B] of label 1 and, where the fusion has them, `gates` [B, 3]. A missing modality may hold
    anything finite, with one token at least in the mask.
    """

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, image: Tensor, ids: Tensor, mask: Tensor, objects: Tensor, labels: Tensor, present: Tensor
    ) -> tuple[Tensor, ...]:
        method = self.method
        features = {
            "image": method.encoder(image),
            "text": method.text_encoder(ids, mask),
            # What is in `forward` of the box encoder beside this are checks, which a graph cannot make.
            "boxes": method.box_encoder.body(objects, labels),
        }
        z = [functional.normalize(method.projections[name](features[name]), dim=1) for name in MODALITIES]
        used = torch.tensor([name in method.config.modalities for name in MODALITIES])
        logit, gates = method.classifier(torch.stack(z, 1), present & used)
        return (logit,) if gates is None else (logit, gates)


def _write_onnx(judge: Judge, run: Run, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it and says so less clearly
    except ImportError:
        raise missing_extra("ONNX export", "onnx and onnxscript", "export") from None
    model: Any = _traced(judge.method.cpu(), judge.data.max_objects).model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(_header(judge, run))
    write_atomically(path, model.SerializeToString())


def onnx_example(method: Any, max_objects: int, batch: int = 2) -> tuple[Tensor, ...]:
    """Inputs of the right shapes: grey images, captions of two tokens, one box each, everything present."""
    size, length = method.encoder.config.size, method.config.text.length
    image = torch.full((batch, len(method.encoder.channels), size, size), 0.5)
    ids, mask = torch.zeros(batch, length, dtype=torch.int64), torch.zeros(batch, length, dtype=torch.bool)
    mask[:, :2] = True
    objects, labels = torch.zeros(batch, max_objects, 5), torch.full((batch, max_objects), -1)
    objects[:, 0], labels[:, 0] = torch.tensor([0.2, 0.2, 0.4, 0.4, 0.9]), 0
    return image, ids, mask, objects, labels, torch.ones(batch, len(MODALITIES), dtype=torch.bool)


def _traced(method: Any, max_objects: int) -> Any:
    model = OnnxModel(method)
    example = onnx_example(method, max_objects)
    has_gates = method.classifier.fusion.kind != "concat"
    log, fast = logging.getLogger("torch.onnx"), torch.backends.mha.get_fastpath_enabled()
    level = log.level
    log.setLevel(logging.ERROR)
    # The fast path of attention is one operator that ONNX does not have.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*axis name: batch will not be used")
            return torch.onnx.export(
                model,
                example,
                input_names=list(INPUTS),
                output_names=["logit", "gates"] if has_gates else ["logit"],
                dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in example),
                dynamo=True,
                verbose=False,
            )
    except NearfarError:
        raise
    except Exception as error:  # the exporter raises whatever the model's parts make it stumble over
        raise ConfigError(
            "this model has an operator that ONNX does not have",
            where=method.config.text.kind,
            found=" ".join(str(error).split())[:160],
            fix="Export to safetensors.",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        log.setLevel(level)
