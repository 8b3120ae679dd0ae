"""What is put on record of the prompt: the first examples exactly as the model sees them, and when an answer ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rocoft_bench.runs.identity import template_version

if TYPE_CHECKING:
    from rocoft_bench.config import TaskConfig
    from rocoft_bench.experiment.encoded_split import EncodedSplit
    from rocoft_bench.tasks import Task


def prompt_facts(
    task: Task, settings: TaskConfig, tokenizer: Any, model: Any, **splits: EncodedSplit
) -> dict[str, Any]:
    """`RunRecord.prompt`, with the first example of each split by its name; empty where no words are answered."""
    template = task.template(tokenizer)
    if template is None:
        return {}
    first = {name: _as_seen(task, split.encoded[0], tokenizer) for name, split in splits.items()}
    stop = _stop_rules(task, settings, tokenizer, model)
    return {"template": template, "template_version": template_version(template), **first, "stop": stop}


def _as_seen(task: Task, example: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """loss_mask: 1 for each label that is learnt or, of a choice, scored."""
    from rocoft_bench.engine.batching import NO_LABEL

    seen = {"text": _text(tokenizer, example["input_ids"]), "input_ids": example["input_ids"]}
    if "mask_position" in example:
        return {**seen, "mask_position": example["mask_position"]}
    labels = example.get("labels")
    if labels is None:
        return seen
    if task.kind == "seq2seq_lm":
        seen |= {"target_text": _text(tokenizer, labels), "target_ids": labels}
    return {**seen, "loss_mask": [int(label != NO_LABEL) for label in labels]}


def _stop_rules(task: Task, settings: TaskConfig, tokenizer: Any, model: Any) -> dict[str, Any]:
    """How answers are generated and what ends them; empty where nothing is generated."""
    from rocoft_bench.engine.prediction import special_tokens

    if task.output(settings) != "text":
        return {}
    tokens = {name: ids for name, ids in special_tokens(model, tokenizer).items() if ids is not None}
    end = tokens.get("eos_token_id")
    return {**task.generation(settings), **tokens, "eos_token": None if end is None else _text(tokenizer, end)}


def _text(tokenizer: Any, ids: Any) -> str:
    text: str = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text
