"""Everything that analyses of one task need, loaded and checked: prompts, rows, the model, its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rocoft_bench import methods, models
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import compute
from rocoft_bench.ntk.fewshot import tasks
from rocoft_bench.ntk.fewshot.draws import Draw, draw_for_testing, draw_for_training
from rocoft_bench.ntk.fewshot.prompts import Prompter
from rocoft_bench.ntk.fewshot.tasks import FewShotTask
from rocoft_bench.ntk.kernel_settings import KernelSettings
from rocoft_bench.ntk.kernels import SCRATCH, Block, Capturer, Example, GradientProducts, Parameters, Readout, make_set
from rocoft_bench.ntk.memory_budget import MemoryBudget, make_budget
from rocoft_bench.ntk.solvers import Array, check_counts, predicted
from rocoft_bench.runs.identity import template_version

SIGNS = {"sgd": (False, False), "signgd": (True, True), "asymmetric-signgd": (False, True)}
METHOD_SEED = 0
"""Of what a method draws when it is applied: the same for all draws of rows."""


@dataclass(frozen=True)
class PromptSet:
    """The rows of a draw as prompts. notes: what was cut, drawn or left out."""

    draw: Draw
    examples: list[Example]
    notes: list[str]


@dataclass(frozen=True)
class KernelInputs:
    """train: by seed."""

    settings: KernelSettings
    prompter: Prompter
    capturer: Capturer
    parameters: Parameters
    train: dict[int, PromptSet]
    test: PromptSet
    budget: MemoryBudget
    model_origin: dict[str, Any]
    notes: list[str]

    def products(self, seeds: Sequence[int]) -> GradientProducts:
        """For the settings' parameter sets, each under its name and a seed: "row/13"."""
        drawn = [self.settings.model_copy(update={"seed": seed}) for seed in seeds]
        sets = {f"{name}/{own.seed}": make_set(name, self.parameters, own) for own in drawn for name in own.kernels}
        return GradientProducts(sets, SIGNS[self.settings.kernel])

    def capture(self, examples: Sequence[Example]) -> Block:
        """In batches that the budget has room for."""
        return self.capturer.capture(examples, self.budget.batch)

    def training_blocks(self, seed: int) -> list[list[Example]]:
        """The training examples of a draw, as many at a time as the budget has room for."""
        examples, size = self.train[seed].examples, self.budget.block
        return [examples[start : start + size] for start in range(0, len(examples), size)]

    def metrics(self, scores: Array) -> dict[str, float]:
        """Of the test rows, from f of each output, (m, c)."""
        names = ("accuracy", "f1") if self.prompter.task.has_f1 else ("accuracy",)
        return compute(names, predicted(scores).tolist(), list(self.test.draw.labels))

    def protocol(self) -> str:
        """How the logits are made, in one line."""
        p = self.prompter.task
        first = f", the first sentence at most {p.first_limit}" if p.first_limit else ""
        what = "logit difference" if self.settings.outputs(len(p.words)) == 1 else "logits"
        words = ", ".join(p.words)
        lengths = f"at most {p.max_length} tokens{first}; at most 1,000 test rows"
        return f"{p.text}: {what} of {words} at the mask; {lengths}"

    def prompt(self, seed: int) -> dict[str, Any]:
        """What is recorded of the prompts of a draw: the template, and the first ones as the model sees them."""
        template, tokenizer = self.prompter.task.text, self.prompter.tokenizer
        first = {"training": self.train[seed].examples[0], "evaluation": self.test.examples[0]}
        seen = {
            name: {
                "text": tokenizer.decode(example.input_ids, clean_up_tokenization_spaces=False),
                "input_ids": list(example.input_ids),
                "mask_position": example.position,
            }
            for name, example in first.items()
        }
        words = dict(zip(self.prompter.task.words, self.prompter.word_ids(), strict=True))
        return {"template": template, "template_version": template_version(template), **seen, "label_words": words}


def prepare(settings: KernelSettings, seeds: Sequence[int]) -> KernelInputs:
    """Load the rows of each draw, then the model.

    Raises:
        UserError: If the rows, the model or the label words cannot be had or do not fit together, the model lacks what
            a kernel is of, or there is too little memory.
    """
    task = tasks.get(settings.task)
    draws = {seed: draw_for_training(task, settings.shots, seed, settings.data_dir) for seed in seeds}
    for draw in draws.values():
        check_counts(draw.labels, settings.outputs(len(task.words)), settings.solver)
    tests = draw_for_testing(task, settings.data_dir, settings.max_test_rows)
    source = models.locate(settings.model)
    model, tokenizer, loading_notes = models.load(source, settings.model, models.MASKED_LM, {})
    prompter, notes = _prompter(settings, task, tokenizer, models.limits(model, tokenizer).source)
    train = {seed: _prompts(prompter, draw) for seed, draw in draws.items()}
    some = next(iter(train.values())).examples
    model, method_notes = _with_method(settings, model)
    capturer, parameters, capturing_notes = _capturer(settings, model, prompter, some)
    test = _prompts(prompter, tests)
    every = [example for prompts in (*train.values(), test) for example in prompts.examples]
    for name in settings.kernels:
        make_set(name, parameters, settings)
    return KernelInputs(
        settings=settings,
        prompter=prompter,
        capturer=capturer,
        parameters=parameters,
        train=train,
        test=test,
        budget=make_budget(capturer, SCRATCH, every, max(len(own.examples) for own in train.values()), settings),
        model_origin=source.origin(model.config),
        notes=[*notes, *capturing_notes, *loading_notes, *method_notes],
    )


def _prompter(
    settings: KernelSettings, task: FewShotTask, tokenizer: Any, longest: int | None
) -> tuple[Prompter, list[str]]:
    """For the task with the settings' words and lengths, and prompts no longer than the model takes."""
    own, notes = task.with_choices(settings.label_words, settings.max_length, settings.first_limit), []
    if own.words != task.words:
        notes.append(f"label words {', '.join(own.words)} in place of {', '.join(task.words)}")
    if longest is not None and longest < own.max_length:
        instead = f"instead of {own.max_length}"
        notes.append(f"the model takes {longest} tokens, so prompts have at most {longest} {instead}")
        own = own.with_choices(max_length=longest)
    prompter = Prompter(own, tokenizer)
    prompter.check(settings.model.name)
    return prompter, notes


def _with_method(settings: KernelSettings, model: Any) -> tuple[Any, list[str]]:
    """The model with a method applied and not trained, where one is asked for. Raises: UserError as `applied`."""
    if settings.method is None:
        return model, []
    method = methods.resolve(settings.method, None, "causal_lm", settings.model.name)
    note = f"{method.label} is applied with seed {METHOD_SEED} and not trained"
    return applied(method, model, settings.model.name, METHOD_SEED), [note]


def applied(method: methods.Method, model: Any, model_name: str, seed: int) -> Any:
    """The model with a method's part.

    Raises:
        UserError: If the method cannot be applied to such a model, or would move the mask.
    """
    from accelerate.utils import set_seed

    method.check_supports("causal_lm", model.config.model_type)
    if method.added_tokens:
        raise UserError(f"--method {method.name}: puts tokens before a prompt, which moves its mask; choose another")
    set_seed(seed)
    try:
        return method.apply(model, models.MASKED_LM, seed)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"--method {method.name}: cannot be applied to {model_name} ({error})") from None


def _capturer(
    settings: KernelSettings, model: Any, prompter: Prompter, examples: list[Example]
) -> tuple[Capturer, Parameters, list[str]]:
    readout = Readout.of_words(prompter.word_ids())
    if settings.outputs(len(prompter.task.words)) == 1:
        readout = readout.difference()
    trained = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device=device, dtype=getattr(torch, settings.precision))
    capturer = Capturer(model, readout, prompter.tokenizer.pad_token_id or 0, settings.tied)
    try:
        capturer.check(examples)
    except ValueError as error:
        raise UserError(f"--model {settings.model.name}: {error}") from None
    keys = tuple(capturer.capture(examples[:1], 1).parameters)
    parameters = Parameters(model, keys, capturer.parameter_of, trained)
    if not capturer.direct:
        return capturer, parameters, []
    first, *others = capturer.direct
    which = f"{first} and {len(others)} other parameters" if others else first
    return capturer, parameters, [f"gradients of {which} were taken from autograd, one example at a time"]


def _prompts(prompter: Prompter, draw: Draw) -> PromptSet:
    examples, notes = prompter.prompts(draw)
    return PromptSet(draw, examples, [*draw.notes, *notes])
