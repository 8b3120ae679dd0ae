"""Everything that analyses of one task need, loaded and checked: prompts, rows, the model, its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from rocoft_bench import models, tasks
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.build import CALIBRATION_EXAMPLES, applied, calibrate, load_base, single_examples
from rocoft_bench.experiment.encoded_split import EncodedSplit, encode, fitted_settings, limited
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.experiment.run_record import prompt_facts
from rocoft_bench.experiment.trained_model import experiment_of, load_trained
from rocoft_bench.ntk.kernel_settings import SCORED, KernelSettings
from rocoft_bench.ntk.kernels import Block, Capturer, Example, GradientProducts, Parameters, Readout, make_set
from rocoft_bench.ntk.memory_budget import MemoryBudget, make_budget
from rocoft_bench.ntk.solvers import check_counts
from rocoft_bench.runs import RunDirectory
from rocoft_bench.tasks import LoadedSplit
from rocoft_bench.tasks.fewshot import FAMILY, FewShotTask

SIGNS = {"sgd": (False, False), "signgd": (True, True), "asymmetric-signgd": (False, True)}

TRAINED_VALUES = "trained_values"
"""In the model's origin: the files of a run's."""


@dataclass(frozen=True)
class PromptSet(EncodedSplit):
    """The rows of a draw as prompts. notes: what was cut, drawn or left out."""

    notes: list[str]

    @property
    def labels(self) -> list[int]:
        return list(self.encoded["labels"][:])

    @cached_property
    def examples(self) -> list[Example]:
        rows = zip(self.encoded["input_ids"][:], self.encoded["mask_position"][:], strict=True)
        return [Example(tuple(ids), position) for ids, position in rows]


@dataclass(frozen=True)
class KernelInputs:
    """train: by seed. task_settings: with lengths that the model takes."""

    settings: KernelSettings
    task: FewShotTask
    task_settings: Any
    tokenizer: Any
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

    def prompt(self, seed: int) -> dict[str, Any]:
        """What is recorded of the prompts of a draw: the template, and the first ones as the model sees them."""
        splits = {"training": self.train[seed], "evaluation": self.test}
        facts = prompt_facts(self.task, self.task_settings, self.tokenizer, self.capturer.model, **splits)
        ids = self.capturer.readout.words.tolist()
        return {**facts, "label_words": dict(zip(self.task.label_names, ids, strict=True))}


def prepare(settings: KernelSettings, seeds: Sequence[int]) -> KernelInputs:
    """Load the rows of each draw, then the model.

    Raises: UserError if the rows, the model or the label words cannot be had or do not fit together, the model lacks
    what a kernel is of, or there is too little memory.
    """
    experiment = settings.experiment()
    task, of_task = experiment.task, experiment.config.task
    assert isinstance(task, FewShotTask)
    drawn = {seed: task.load_training(of_task.model_copy(update={"draw": seed})) for seed in seeds}
    outputs = settings.outputs(len(task.label_names))
    for split in drawn.values():
        check_counts(split.examples["label"][:], outputs, settings.solver)
    tests = task.load(task.eval_split, of_task.data_dir)
    notes: list[str] = []
    model, tokenizer, origin = _loaded(settings, experiment, notes)
    fitted = fitted_settings(experiment, of_task, model, tokenizer, notes)
    if settings.label_words is not None:
        usual: Any = tasks.get(FAMILY, task.name)
        notes.append(f"label words {', '.join(task.label_names)} in place of {', '.join(usual.label_names)}")

    def prompts(split: LoadedSplit, training: bool) -> PromptSet:
        own = [*split.notes]
        rows = split if training else limited(split, settings.max_test_rows, "test", own)
        encoded = encode(task, rows, tokenizer, fitted, training, own)
        return PromptSet(encoded.raw, encoded.encoded, encoded.origin, own)

    train, test = {seed: prompts(split, True) for seed, split in drawn.items()}, prompts(tests, False)
    if settings.run is None and settings.method is not None:
        calibrate(experiment, model, train[seeds[0]], tokenizer, notes)
    readout = Readout.of_words(task.word_ids(tokenizer, fitted))
    model = model.to("cuda" if torch.cuda.is_available() else "cpu", getattr(torch, settings.precision))
    readout = readout.difference() if outputs == 1 else readout
    capturer = Capturer(model, readout, tokenizer.pad_token_id or 0, settings.tied)
    parameters = _parameters(settings, capturer, train[seeds[0]].examples, notes)
    if settings.selection in SCORED and settings.indices is None and {"row", "column"} & set(settings.kernels):
        parameters = parameters.with_scores({seed: single_examples(own, tokenizer) for seed, own in train.items()})
        notes.append(f"rows or columns were scored on the first {CALIBRATION_EXAMPLES} training examples of a draw")
    for name in settings.kernels:
        make_set(name, parameters, settings)
    every = [example for own in (*train.values(), test) for example in own.examples]
    return KernelInputs(
        settings=settings,
        task=task,
        task_settings=fitted,
        tokenizer=tokenizer,
        capturer=capturer,
        parameters=parameters,
        train=train,
        test=test,
        budget=make_budget(capturer, every, max(len(each.examples) for each in train.values()), settings),
        model_origin=origin,
        notes=notes,
    )


def _loaded(settings: KernelSettings, experiment: Experiment, notes: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    """The model in the state that is asked for, what it trains trainable; its tokenizer; and its origin."""
    from accelerate.utils import set_seed

    set_seed(experiment.config.seed)  # as a run does, whose start this is
    source = models.locate(experiment.config.model)
    model, tokenizer, of_model = load_base(experiment, source)
    notes += [*experiment.notes, *of_model]
    origin = source.origin(model.config)
    if settings.method is None:
        return model.requires_grad_(False), tokenizer, origin
    model = applied(experiment, model, notes)
    label = experiment.method.label
    if settings.run is None:
        notes.append(f"{label} is applied with the seed of the draw and not trained")
        return model, tokenizer, origin
    directory = RunDirectory(settings.run)
    run = load_trained(experiment_of(directory), directory, experiment.config.model.name)
    notes += [*run.notes, f"in the state of a finished run of {label}"]
    files = directory.read_record().model_dump(mode="json")["adapter_files"]
    origin = {**origin, TRAINED_VALUES: files}
    if "trained" not in settings.kernels:
        return experiment.method.merge(run.model).requires_grad_(False), tokenizer, origin
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if unknown := trained - {name for name, _ in run.model.named_parameters()}:
        raise UserError(
            f"--run {settings.run}: what {label} trains, {min(unknown)}, is no parameter of its finished model; name "
            "other --kernels"
        )
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad_(name in trained)
    return run.model, tokenizer, origin


def _parameters(settings: KernelSettings, capturer: Capturer, examples: list[Example], notes: list[str]) -> Parameters:
    """What the examples' logits depend on. Raises: UserError if gradients cannot be told apart by examples."""
    try:
        capturer.check(examples)
    except ValueError as error:
        raise UserError(f"--model {settings.model.name}: {error}") from None
    if capturer.direct:
        first, *others = capturer.direct
        which = f"{first} and {len(others)} other parameters" if others else first
        notes.append(f"gradients of {which} were taken from autograd, one example at a time")
    keys = tuple(capturer.capture(examples[:1], 1).parameters)
    return Parameters(capturer.model, keys, capturer.parameter_of, capturer.trained)
