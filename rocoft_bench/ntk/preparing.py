"""Everything that analyses of one task need, loaded and checked: prompts, rows, the model, its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rocoft_bench import methods, models
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.fewshot import tasks
from rocoft_bench.ntk.fewshot.draws import Draw, draw_for_testing, draw_for_training
from rocoft_bench.ntk.fewshot.prompts import Prompter, prompter
from rocoft_bench.ntk.kernels import Capturer, Choices, Engine, Example, Parameters, Readout, make_set
from rocoft_bench.ntk.settings import KernelSettings

METHOD_SEED = 0
"""Of what a method draws when it is applied: the same for all draws of rows."""


@dataclass(frozen=True)
class Rows:
    """Rows as prompts. notes: what was cut, drawn or left out."""

    draw: Draw
    examples: list[Example]
    notes: list[str]


@dataclass(frozen=True)
class Prepared:
    """train: by seed. readout: the outputs that kernels are of; with `is_difference`, one for two classes."""

    settings: KernelSettings
    prompter: Prompter
    capturer: Capturer
    parameters: Parameters
    train: dict[int, Rows]
    test: Rows
    model_origin: dict[str, Any]
    notes: list[str]

    @property
    def is_difference(self) -> bool:
        return len(self.prompter.words) == 2 and self.settings.logits == "difference"

    @property
    def outputs(self) -> int:
        return 1 if self.is_difference else len(self.prompter.words)

    def engine(self, seeds: Sequence[int]) -> Engine:
        """For the settings' parameter sets, each under its name and a seed: "row/13"."""
        names = self.settings.kernels
        sets = {
            f"{name}/{seed}": make_set(name, self.parameters, choices(self.settings, seed))
            for seed in seeds
            for name in names
        }
        return Engine(sets, signs=self.settings.kernel == "signgd")

    def protocol(self) -> str:
        """How the logits are made, in one line."""
        p = self.prompter
        first = f", the first sentence at most {p.first_limit}" if p.first_limit else ""
        what = "logit difference" if self.is_difference else "logits"
        words = ", ".join(p.words)
        lengths = f"at most {p.max_length} tokens{first}; at most 1,000 test rows"
        return f"{p.task.text}: {what} of {words} at the mask; {lengths}"


def choices(settings: KernelSettings, seed: int) -> Choices:
    return Choices(
        count=settings.rank,
        selection=settings.selection,
        fraction=settings.fraction,
        lora_rank=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_targets=settings.lora_targets,
        lora_head=settings.lora_head,
        embeddings=settings.embeddings,
        head=settings.head,
        seed=seed,
    )


def prepare(settings: KernelSettings, seeds: Sequence[int]) -> Prepared:
    """Load the rows of each draw, then the model.

    Raises:
        UserError: If the rows, the model or the label words cannot be had or do not fit together.
    """
    task = tasks.get(settings.task)
    draws = {seed: draw_for_training(task, settings.shots, seed, settings.data_dir) for seed in seeds}
    tests = draw_for_testing(task, settings.data_dir, settings.max_test_rows)
    source = models.locate(settings.model)
    model, tokenizer, loading_notes = models.load(source, settings.model, models.MASKED_LM, {})
    own = prompter(task, tokenizer, settings.label_words, settings.max_length, settings.first_limit)
    own.check(settings.model.name)
    own, notes = _fitted(own, models.limits(model, tokenizer).source)
    rows = {seed: _rows(own, draw) for seed, draw in draws.items()}
    model, method_notes = _with_method(settings, model)
    trained = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device=device, dtype=getattr(torch, settings.precision))
    capturer = _capturer(settings, model, own, next(iter(rows.values())).examples)
    keys = tuple(capturer.capture(next(iter(rows.values())).examples[:1], 1).parameters)
    if own.words != task.words:
        notes.append(f"label words {', '.join(own.words)} in place of {', '.join(task.words)}")
    if capturer.direct:
        first, *others = capturer.direct
        which = f"{first} and {len(others)} other parameters" if others else first
        notes.append(f"gradients of {which} were taken from autograd, one example at a time")
    return Prepared(
        settings=settings,
        prompter=own,
        capturer=capturer,
        parameters=Parameters(model, keys, capturer.parameter_of, trained),
        train=rows,
        test=_rows(own, tests),
        model_origin=source.origin(model.config),
        notes=[*notes, *loading_notes, *method_notes],
    )


def _with_method(settings: KernelSettings, model: Any) -> tuple[Any, list[str]]:
    """The model with a method applied and not trained, where one is asked for.

    Raises:
        UserError: If the method is unknown or cannot be applied to such a model.
    """
    if settings.method is None:
        return model, []
    from accelerate.utils import set_seed

    method = methods.resolve(settings.method, None, "causal_lm", settings.model.name)
    method.check_supports("causal_lm", model.config.model_type)
    if method.added_tokens:
        raise UserError(f"--method {method.name}: puts tokens before a prompt, which moves its mask; choose another")
    set_seed(METHOD_SEED)
    try:
        applied = method.apply(model, models.MASKED_LM, METHOD_SEED)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"--method {method.name}: cannot be applied to {settings.model.name} ({error})") from None
    return applied, [f"{method.label} is applied with seed {METHOD_SEED} and not trained"]


def _capturer(settings: KernelSettings, model: Any, own: Prompter, examples: list[Example]) -> Capturer:
    readout = Readout.of_words(own.word_ids())
    if len(own.words) == 2 and settings.logits == "difference":
        readout = readout.difference()
    capturer = Capturer(model, readout, own.tokenizer.pad_token_id or 0, settings.tied)
    try:
        capturer.check(examples)
    except ValueError as error:
        raise UserError(f"--model {settings.model.name}: {error}") from None
    return capturer


def _rows(own: Prompter, draw: Draw) -> Rows:
    examples, notes = own.prompts(draw)
    return Rows(draw, examples, [*draw.notes, *notes])


def _fitted(own: Prompter, longest: int | None) -> tuple[Prompter, list[str]]:
    """Prompts no longer than the model takes."""
    if longest is None or longest >= own.max_length:
        return own, []
    shorter = Prompter(own.task, own.tokenizer, own.words, longest, own.first_limit)
    return shorter, [f"the model takes {longest} tokens, so prompts have at most {longest} instead of {own.max_length}"]
