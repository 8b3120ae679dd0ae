"""A card's metadata, as the hub reads it: https://huggingface.co/docs/hub/model-cards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rocoft_bench.experiment.card.card_context import CardContext, Form
from rocoft_bench.runs import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

PIPELINES = {
    "sequence_classification": "text-classification",
    "question_answering": "question-answering",
    "masked_lm": "fill-mask",
    "causal_lm": "text-generation",
    "seq2seq_lm": "summarization",
}
"""The hub's name for a kind of task."""

LIBRARIES: dict[Form, str | None] = {"peft": "peft", "own": None, "merged": "transformers"}
"""The library that loads a form, where the hub knows one."""

HUB_METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "rouge1": "rouge", "rouge2": "rouge", "rougeL": "rouge"}
"""The hub's name of a metric where it has another one."""


def metadata(context: CardContext) -> ModelCardData:
    """The YAML part. A licence is not in it: the run does not know any."""
    from huggingface_hub import ModelCardData

    library, method = LIBRARIES[context.form], context.experiment.method
    pipeline = PIPELINES[context.experiment.task.kind]
    metrics = [name for record in context.records for name in record.metrics or {}]
    datasets = [origin["id"] for origin in context.data.values() if origin.get("kind") == "hub"]
    return ModelCardData(
        base_model=context.base.id,
        library_name=library,
        pipeline_tag=pipeline,
        tags=["rocoft-bench", method.name, context.experiment.task.kind, *([library] if library else [])],
        datasets=list(dict.fromkeys(datasets)) or None,
        metrics=list(dict.fromkeys(HUB_METRICS.get(name, name) for name in metrics)) or None,
        model_name=context.repo_id or f"{context.record.label} on {context.record.task['name']}",
        eval_results=[result for record in context.records for result in _results(record, pipeline)] or None,
    )


def _results(record: RunRecord, pipeline: str) -> Iterator[EvalResult]:
    """Metrics as fractions, each with its seed, examples and protocol: the format keeps one description for all results
    on a split, and only a metric's own arguments tell them apart."""
    from huggingface_hub import EvalResult

    task, origin = record.task, record.data.get("evaluation", {})
    on_hub, name = origin.get("kind") == "hub", f"{task['family']} {task['name']}"
    conditions = {
        "seed": record.seed,
        "protocol": record.protocol,
        "rows": record.data.get("eval_rows"),
        "rows_of_split": origin.get("num_rows"),
        "rows_sha256": origin.get("sha256"),
    }
    for metric, value in (record.metrics or {}).items():
        yield EvalResult(
            task_type=pipeline,
            task_name=name,
            dataset_type=origin["id"] if on_hub else f"{task['family']}/{task['name']}",
            dataset_name=name if on_hub else f"{name} ({SOURCES.get(origin.get('kind'), 'source not on record')})",
            dataset_config=origin.get("config"),
            dataset_split=origin.get("split") or task["eval_split"],
            dataset_revision=origin.get("revision"),
            metric_type=HUB_METRICS.get(metric, metric),
            metric_name=metric,
            metric_value=value,
            metric_args=conditions,
        )


SOURCES = {
    "hub": "the Hugging Face hub",
    "github": "GitHub",
    "data_dir": "a local file",
    "file": "a local file",
    "embedded": "generated examples that come with rocoft-bench",
}
"""In words, where examples are from."""
