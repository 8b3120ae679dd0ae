"""What is put on record of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rocoft_bench import models
from rocoft_bench.experiment import memory_estimate
from rocoft_bench.experiment.prompt_record import prompt_facts
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models.activations import ExampleLength
from rocoft_bench.runs import RunRecord, SavedFile

if TYPE_CHECKING:
    from rocoft_bench.engine.trainer import TrainResult
    from rocoft_bench.experiment.build import Built


def make_record(experiment: Experiment, built: Built | None, **outcome: Any) -> RunRecord:
    """A record with what is known of a run: of one that was never built, less."""
    config = experiment.config
    known = models.known_model(config.model.name)
    facts: dict[str, Any] = {"notes": list(experiment.notes)}
    if built is not None:
        origins = {"train": built.train.origin, "evaluation": built.evaluation.origin}
        facts = {
            "data": {**origins, "train_rows": len(built.train.raw), "eval_rows": len(built.evaluation.raw)},
            "parameters": _parameters(experiment, built.model),
            "memory_estimate_mib": _memory_estimate(experiment, built),
            "notes": built.notes,
            "prompt": prompt_facts(
                experiment.task,
                built.settings,
                built.tokenizer,
                built.model,
                training=built.train,
                evaluation=built.evaluation,
            ),
        }
    return RunRecord(
        **evaluation_fields(experiment),
        method=config.method,
        model={
            "name": config.model.name,
            **(built.model_origin if built else {}),
            "paper_name": known.paper_name if known else None,
        },
        seed=config.seed,
        keep=config.training.keep,
        **facts,
        **outcome,
    )


def record_of_result(
    experiment: Experiment, built: Built, result: TrainResult, adapter_files: dict[str, SavedFile], processes: int
) -> RunRecord:
    """adapter_files: what was saved of the trained values. processes: how many trained them."""
    from rocoft_bench.engine.peak_memory import peak_memory_mib

    peak, kind = peak_memory_mib(next(built.model.parameters()).device)
    return make_record(
        experiment,
        built,
        status="ok",
        processes=processes,
        adapter_bytes=sum(file.bytes for file in adapter_files.values()),
        adapter_files=adapter_files,
        metrics=result.evaluation.metrics,
        kept_epoch=result.kept_epoch,
        initial_metrics=next((entry["metrics"] for entry in result.history if entry.get("epoch") == 0), None),
        epoch_metrics=[entry["metrics"] for entry in result.history if entry.get("epoch")],
        steps=result.steps,
        train_seconds=round(result.train_seconds, 3),
        eval_seconds=round(result.eval_seconds, 3),
        peak_memory_mib=round(peak, 1),
        peak_memory_kind=kind if processes == 1 else f"{kind}, the first of {processes} processes",
    )


def evaluation_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of a record that say what was evaluated and how."""
    config, task = experiment.config, experiment.task
    held_out = config.task.hold_out
    trial = f"; trial of tuning: on {held_out} training rows that it held out" if held_out else ""
    return {
        "config_hash": experiment.identity.config_hash,
        "settings_hash": experiment.identity.settings_hash,
        "label": experiment.method.label,
        "task": {
            "family": task.family,
            "name": task.name,
            "version": task.version,
            "paper_task": task.paper_task,
            "metric_names": list(task.metric_names),
            "eval_split": task.train_split if held_out else task.eval_split,
            "random_baseline": task.random_baseline,
            "settings": config.task.model_dump(mode="json", exclude={"family", "name"}),
        },
        "protocol": task.protocol(config.task) + trial,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _parameters(experiment: Experiment, model: Any) -> dict[str, int]:
    from rocoft_bench.models.parameter_counts import count_parameters

    counts = count_parameters(model, experiment.task.kind in TASKS_WITH_HEAD)
    return {**counts.as_record(), "stored": experiment.method.stored_parameters(model, counts.adapter)}


def _memory_estimate(experiment: Experiment, built: Built) -> dict[str, float] | None:
    """By parts, for the longest example that there is and the device that the run is on."""
    layers = memory_estimate.facts_of(experiment)
    if layers is None:
        return None
    source = max(built.train.longest(), built.evaluation.longest()) + experiment.method.added_tokens
    target = built.train.longest("labels") if experiment.task.kind == "seq2seq_lm" else source
    length = ExampleLength(source, target if layers.shapes.is_encoder_decoder else 0)
    on_gpu = next(built.model.parameters()).device.type != "cpu"
    return memory_estimate.estimate(experiment, layers, length, on_gpu).as_record()
