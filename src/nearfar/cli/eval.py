"""`nearfar eval RUN`: measure a run and rewrite its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nearfar.cli.common import note, parse, result
from nearfar.config import EvalConfig
from nearfar.errors import ConfigError, DataError
from nearfar.report.summary import summary_text

if TYPE_CHECKING:
    from nearfar.scenes.run import SceneRun

Mode = Literal["linear", "histogram", "finetune"]
SETTINGS = (
    "landcover_mode", "protocol", "statistics", "decoder", "group_maps", "decoder_epochs", "finetune",
    "text", "text_path",
    "cohorts", "calibration", "operating", "operating_target", "abstain",
)  # fmt: skip


@dataclass
class Arguments:
    """Evaluate a run: metrics.json, arrays and report.html of its folder are rewritten."""

    run: tyro.conf.Positional[Path]
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--task"])] = ()
    """classify, retrieve, anomaly, health, noise, opinions, attention, relations, banners, vqa, clinical, landcover,
    segment, change; empty: all that the data allows"""
    root: Path | None = None
    """data of the task landcover, segment or change where it is asked for alone, or of relations, banners and vqa where
    nothing else is; otherwise another folder of the same format and classes as the run's, on which it is evaluated"""
    landcover_mode: Mode | None = None
    """a linear probe, features with texture histograms, or fine-tuning; this and what follows: default as in the run's
    settings"""
    protocol: str | None = None
    """which published split: official, or for EuroSAT spatial"""
    statistics: Literal["target", "run"] | None = None
    """normalise by those data's training split, or as in pre-training"""
    decoder: Literal["unet", "smp"] | None = None
    group_maps: Literal["each", "mean"] | None = None
    """what the decoder sees of an encoder of band groups: every group's maps, or their mean"""
    decoder_epochs: int | None = None
    finetune: bool | None = None
    """let the encoder learn with the decoder, or the relations"""
    text: Literal["bag", "gru", "open_clip", "huggingface"] | None = None
    """what reads the questions of vqa: a bag of words and word pairs, a recurrent network, or a model of --text-path"""
    text_path: Path | None = None
    cohorts: tuple[Path, ...] | None = None
    """clinical: JSON files of further labelled studies; default: prospective.json and external*.json beside its own"""
    calibration: Literal["temperature", "platt", "isotonic", "none"] | None = None
    """clinical: what turns logits into probabilities, fitted on validation images"""
    operating: Literal["youden", "sensitivity", "specificity", "cost"] | None = None
    """clinical: how the threshold is chosen on validation images"""
    operating_target: float | None = None
    """clinical: the sensitivity or specificity to reach there, or how many times worse it is to call a non-standard
    image standard than the reverse"""
    abstain: float | None = None
    """clinical: largest share of validation images that are left to a person"""
    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "eval")
    from nearfar.data import open_dataset
    from nearfar.evaluate import evaluate
    from nearfar.report import build
    from nearfar.scenes.run import SceneRun, open_run

    for path in args.cohorts or ():
        if not path.is_file():
            raise DataError("there is no such cohort", where=path, fix="Check --cohorts.")
    run = open_run(args.run)
    if isinstance(run, SceneRun):
        return _measure_scene(run, args)
    config, rooted = settings(args, run.config.eval)
    elsewhere = replace(run.config.data, root=args.root, train=None, val=None, test=None)
    other = open_dataset(elsewhere) if args.root and not rooted else None
    note(f"evaluating {args.run}")
    metrics = evaluate(run, config, other)
    page = build([run], run.path / "report.html")
    result(metrics, args.json, f"{summary_text({run.path.name: metrics})}\nreport  {page}")
    # Of what was asked for by name, nobody looks into the report for a reason.
    refused = {task: metrics["skipped"][task] for task in args.tasks if task in metrics["skipped"]}
    for task, why in refused.items():
        note(f"{task} is left out: {why}")
    return 3 if refused and len(refused) == len(set(args.tasks)) else 0


def _measure_scene(run: SceneRun, args: Arguments) -> int:
    """Held-out views beside their anchors. Raises ConfigError for options that only other runs have."""
    given = [name for name in ("tasks", "root", *SETTINGS) if getattr(args, name)]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise ConfigError("a run of a scene or of objects has no such option", where=flag, fix="Leave it out.")
    from nearfar.cli.train_scene import finish

    return finish(run, args.json)


def settings(args: Arguments, config: EvalConfig) -> tuple[EvalConfig, bool]:
    """(the run's settings with those of the command line, whether `--root` went to a task on data of its own).

    Raises ConfigError where it could belong to several tasks.
    """
    from nearfar.evaluate import DOWNSTREAM, PAIRS

    given: dict[str, Any] = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    asked = [task for task in args.tasks if task in (*DOWNSTREAM, *PAIRS)]
    alike = bool(asked) and set(args.tasks) <= set(PAIRS)
    if args.root and asked and len(args.tasks) > 1 and not alike:
        raise ConfigError(
            "one folder cannot serve several tasks",
            where="--root",
            found=", ".join(args.tasks),
            fix=f"Ask for one at a time: --task {asked[0]} --root {args.root}.",
        )
    if args.root and asked:
        given["pairs" if alike else asked[0]] = args.root
    return replace(config, tasks=args.tasks or config.tasks, **given), bool(args.root and asked)
