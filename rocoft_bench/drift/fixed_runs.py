"""The fixed set: the demo's runs on few rows, and what is held of each."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rocoft_bench import models
from rocoft_bench.analysis.records import Run
from rocoft_bench.config import config_root, read_settings
from rocoft_bench.engine.observer import Observer
from rocoft_bench.experiment.resolve import Experiment, resolve

FEW = (
    *("task.max_train_rows=96", "task.max_eval_rows=24"),
    *("training.epochs=1", "training.batch_size=8", "training.warmup_steps=1", "training.evaluate=end"),
)
"""Settings in which the runs differ from the demo's: twelve steps each."""

SCORED_EXAMPLES = 4
"""Whose scores are held, where predictions have some."""


def config_files() -> dict[str, Path]:
    """The demo's configs by name."""
    return {file.stem: file for file in sorted((config_root() / "demo").glob("*.yaml"))}


def experiment_of(file: Path) -> Experiment:
    """The demo's run of a config, on few rows."""
    settings = read_settings(file)
    settings.assign(FEW)
    return resolve(settings)


def is_installed(experiment: Experiment) -> bool:
    """Whether the model is there; one of the demo's comes with an extra."""
    known = models.known_model(experiment.config.model.name)
    return known is None or known.embedded is None or known.embedded.path() is not None


def measured(experiment: Experiment) -> dict[str, Any]:
    """What a run of an experiment gives: losses, metrics, scores of the first examples, its prompt, and what it was of.

    Raises: UserError if it cannot be run.
    """
    from rocoft_bench.experiment.run import run

    with TemporaryDirectory() as folder:
        record, _ = run(experiment, Path(folder) / "run", Observer())
        left = Run("run", record, Path(folder) / "run")
        return {
            "status": record.status,
            "data": {name: record.data[name]["sha256"] for name in ("train", "evaluation")},
            "weights": record.model.get("weights_sha256"),
            "parameters": record.parameters,
            "prompt": record.prompt,
            "losses": [loss for _, loss in left.losses()],
            "metrics": {"before": record.initial_metrics, "after": record.metrics},
            "scores": [_scores(prediction) for prediction in left.predictions(SCORED_EXAMPLES)],
        }


def _scores(prediction: dict[str, Any]) -> list[float]:
    found = prediction.get("scores", prediction.get("score"))
    return found if isinstance(found, list) else [found] if isinstance(found, float) else []
