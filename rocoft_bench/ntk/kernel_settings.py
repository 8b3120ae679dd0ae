"""What a kernel analysis is made of: a model, few-shot rows, parameter sets, and how kernels lead to predictions; and
from a YAML file and the command line to the analyses that they name: for each task, one for each draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from rocoft_bench import methods, tasks
from rocoft_bench.config import Count, CountFromZero, LargeCount, ModelConfig, Settings, StrictModel, checked, override
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.experiment.trained_model import experiment_of
from rocoft_bench.models import MASKED_LM
from rocoft_bench.ntk.solvers import SolverName
from rocoft_bench.runs import RunDirectory, digest
from rocoft_bench.tasks.fewshot import FAMILY

SET_NAMES = ("full", "row", "column", "lora", "entries", "biases", "norms", "ia3", "head", "trained")
DRAW_SEEDS = (13, 21, 42, 87, 100)
PAPER_KERNELS = ("full", "row", "column", "lora")
PUBLISHED: dict[str, Any] = {"solver": "published", "tied": False, "lora_head": True}
"""What `preset: published` changes, as the code that the paper follows has it."""
FINISHED = "finished"
"""What a record says of `run`."""
SCORED = ("max", "min", "mixed")
"""Selections by Wanda score (Section 6)."""
SECTION = "ntk"
"""The one group of a file of analyses. It holds settings of an analysis, and `tasks`, `seeds`, `methods` (each analysed
beside the kernels that are named), and `label_words` by task."""
OF_RUN = {"shots": "shots", "data_dir": "data_dir", "label_words": "label_words", "max_length": "max_length",
          "first_limit": "first_limit", "max_test_rows": "max_eval_rows"}  # fmt: skip
"""Settings that are those of a few-shot run's task, and their names there."""
ELSEWHERE = ("model", "task", "seed", *OF_RUN)
"""Settings that have a place of their own in the record, or show in its protocol and notes."""
LATER = ("method", "run", "indices", "fine_tuning")
LATER_OF_MODEL = ("quantization",)
"""Settings, and those of the model, that were added after records had been made."""
HOW_ONLY = ("batch_size", "memory_gib", "test_kernels")
"""Settings that change how something is computed and not what."""


class FineTuning(StrictModel):
    """Prompt-based fine-tuning on each draw, for comparison."""

    steps: Count = 1000
    """Optimizer steps, to the next whole pass over the training rows; as many as in LM-BFF by default."""
    batch_size: Count = 8
    """Rows per step."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate; by default the method's own."""

    def training(self, rows: int) -> dict[str, Any]:
        """As settings of a run on so many rows."""
        epochs = math.ceil(self.steps / math.ceil(rows / self.batch_size))
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return {"epochs": epochs, "batch_size": self.batch_size, "lr_scheduler": "linear", "evaluate": "end", **rate}


class KernelSettings(StrictModel):
    """One analysis: all seeds but one setting of everything."""

    model: ModelConfig = ModelConfig()
    task: str
    shots: Count = 16
    """Training rows of each class."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    """Of the draw, and of whatever is random in a parameter set."""
    kernels: tuple[str, ...] = PAPER_KERNELS
    """Parameter sets: full, row, column, lora, entries, biases, norms, ia3, head; trained: those of `method`."""
    method: dict[str, Any] | None = None
    """`name` and settings of a fine-tuning method, applied to the model and not yet trained; for the set `trained`."""
    run: Path | None = None
    """Folder of a finished few-shot run by that method: the model is in its state. Its values are in the model's own
    weights for all sets but `trained`."""
    data_dir: Path | None = None
    """Folder with fewshot/<task>/<shots>-<seed>/train and fewshot/<task>/{train,test}; without it, the hub."""
    label_words: tuple[str, ...] | None = None
    """By class, each one token after a blank; by default the task's own."""
    max_length: Count | None = None
    """Tokens of a prompt; by default the task's."""
    first_limit: Count | None = None
    """Tokens of a prompt's first sentence; by default the task's."""
    max_test_rows: LargeCount | None = None
    """Test on the first rows only (for trying things out; recorded)."""
    preset: Literal["strict", "published"] = "strict"
    """strict: the paper's text on the model as it is; published: switches as in the code that the paper follows."""
    logits: Literal["difference", "all"] = "difference"
    """Of a task with two classes: one output, class 1's logit minus class 0's, or one for each class."""
    kernel: Literal["sgd", "signgd", "asymmetric-signgd"] = "sgd"
    """Inner products of gradients, of their signs, or of gradients with the signs of training examples'."""
    tied: bool = True
    """Whether a decoder that shares the embeddings' matrix is the same parameter, cross terms included."""
    embeddings: bool = True
    """Whether K_full has the embeddings."""
    head: bool = True
    """Whether K_full has the language-model head."""
    rank: Count = 1
    """Rows or columns of each matrix."""
    selection: Literal["first", "random", "max", "min", "mixed"] = "first"
    """Which rows or columns; max, min and mixed by Wanda score on the training rows."""
    indices: Annotated[tuple[CountFromZero, ...], Field(min_length=1)] | None = None
    """Of the rows or columns, from 0, in place of rank and selection."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of each matrix's entries in the set `entries`."""
    lora_rank: Count = 8
    lora_alpha: PositiveFloat = 16.0
    lora_targets: tuple[str, ...] = ("query", "value")
    """Roles (query, key, value, attention_output, ffn_in, …) or module names."""
    lora_head: bool = False
    """Whether K_LoRA has the language-model head, as in the followed code."""
    solver: SolverName = "strict"
    ridge: NonNegativeFloat = 0.0
    """For the solver ridge: penalty relative to the kernel's operator norm."""
    f0: bool = False
    """Whether predictions start from the model's own logits."""
    fine_tuning: FineTuning | None = None
    """Fine-tune on each draw too, by `method` or, without one, all parameters."""
    precision: Literal["float32", "float64"] = "float32"
    """Of the gradients; kernels are summed in float64."""
    test_kernels: bool = False
    """Make the kernels between test and training rows too, and keep them."""
    batch_size: Count = 8
    """Examples per forward pass."""
    memory_gib: PositiveFloat = 6.0
    """The most memory to use; smaller means more and smaller blocks."""

    @model_validator(mode="after")
    def _they_fit_each_other(self) -> KernelSettings:
        trained = "trained" in self.kernels
        if (trained and len(self.kernels) > 1) or (trained != (self.method is not None) and self.run is None):
            raise ValueError("kernels = trained is that of a method: give both, and make other kernels without them")
        if self.solver == "published" and self.f0:
            raise ValueError("solver published does not use f0: leave out f0, or use strict or ridge")
        if not self.is_symmetric and self.solver == "strict":
            raise ValueError(f"solver strict needs a symmetric kernel, not {self.kernel}: use ridge or published")
        if self.indices is not None and self.model_fields_set & {"rank", "selection"}:
            raise ValueError("indices name the rows or columns: leave out rank and selection")
        return self

    @field_validator("kernels")
    @classmethod
    def _known_kernels(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SET_NAMES:
                raise ValueError(f'unknown kernel "{name}"; {suggest(name, SET_NAMES)}')
        if not names:
            raise ValueError(f"name at least one of {', '.join(SET_NAMES)}")
        return tuple(dict.fromkeys(names))

    @field_validator("task")
    @classmethod
    def _known_task(cls, name: str) -> str:
        try:
            tasks.get(FAMILY, name)
        except UserError as error:
            raise ValueError(str(error)) from None
        return name

    @property
    def is_symmetric(self) -> bool:
        return self.kernel != "asymmetric-signgd"

    def experiment(self) -> Experiment:
        """The few-shot run whose start this is, or that it stands beside. Raises: UserError."""
        task = {theirs: value for name, theirs in OF_RUN.items() if (value := getattr(self, name)) is not None}
        rows = self.shots * len(tasks.get(FAMILY, self.task).label_names)  # type: ignore[attr-defined]
        sections = {
            "task": {"family": FAMILY, "name": self.task, "draw": self.seed, **task},
            "model": self.model.model_dump(),
            "method": self.method or {"name": "full"},
            "training": self.fine_tuning.training(rows) if self.fine_tuning else {},
        }
        return resolve(Settings({**sections, "seed": self.seed}))

    def outputs(self, classes: int) -> int:
        """Logits that kernels are of: one for each class, or the difference of two."""
        return 1 if classes == 2 and self.logits == "difference" else classes

    def chosen(self) -> dict[str, Any]:
        """How kernels and predictions are made, as plain values: what is the same for all tasks of a table."""
        state = {"run": FINISHED} if self.run else {}
        return {**self._values(HOW_ONLY + ELSEWHERE), **state}

    def config_hash(self) -> str:
        """Equal where the same is computed."""
        return digest(self._values(HOW_ONLY))

    def settings_hash(self) -> str:
        """Equal for analyses that differ in their seed only."""
        run = Path(FINISHED) if self.run else None  # of each seed another one
        return self.model_copy(update={"seed": 0, "run": run}).config_hash()

    def _values(self, without: tuple[str, ...]) -> dict[str, Any]:
        """Later settings are left out where they are not used, so that earlier analyses keep their hashes."""
        unused = [name for name in LATER if getattr(self, name) is None]
        of_model = {name for name in LATER_OF_MODEL if getattr(self.model, name) is None}
        return self.model_dump(mode="json", exclude={"model": of_model, **dict.fromkeys((*without, *unused), True)})

    @property
    def folder_name(self) -> str:
        """Below the folder of all results; different for every different analysis."""
        name = Path(self.model.name).name
        return f"ntk-{self.task}/{name}_{self.shots}-shot_seed{self.seed}_{self.config_hash()}"


def of_paper() -> list[str]:
    """The thirteen tasks of Tables 4, 5 and 13."""
    return [name for name, task in tasks.of_family(FAMILY).items() if task.made_by is None]


def is_of_kernels(settings: Settings) -> bool:
    """Whether a file is one of kernel analyses."""
    return SECTION in settings.values


def analyses(settings: Settings) -> list[list[KernelSettings]]:
    """The analyses of each task, which differ in their seed only.

    settings: as read from a file and laid over by flags, all in the section `ntk`.

    Raises: UserError if a setting is unknown or out of range, or the file holds something else.
    """
    section = settings.only_group(SECTION, "kernel analyses")
    if not isinstance(section, dict):
        raise UserError(f"{settings.sources.get(SECTION, SECTION)}: {SECTION} = {section!r}: is a group of settings")
    for key in ("task", "seed"):
        if key in section:
            raise UserError(f"{SECTION}.{key}: is of one analysis; name them all in a list, {SECTION}.{key}s")
    settings.check_keys(SECTION, {"tasks", "seeds", "methods", *KernelSettings.model_fields} - {"task", "seed"})
    values = dict(section)
    if values.get("run") is not None:
        values |= of_run(Path(values["run"]), values)
    names = _listed(values.pop("tasks", None), "tasks", str)
    seeds = _listed(values.pop("seeds", list(DRAW_SEEDS)), "seeds", int)
    words, several = values.pop("label_words", None), values.pop("methods", None)
    if values.get("preset") == "published":
        values = {**PUBLISHED, **values}
    of_task = {name: words.get(name) if isinstance(words, dict) else words for name in names}
    variants = [values, *({**values, "kernels": ["trained"], "method": own} for own in _methods(several))]
    return [
        [_one({**own, "task": name, "seed": seed, "label_words": of_task[name]}, settings.sources) for seed in seeds]
        for name in names
        for own in variants
    ]


def of_run(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of analyses of a finished run. given: those that are stated.

    Raises: UserError if it is not a finished few-shot run, or something is stated that is the run's.
    """
    experiment = experiment_of(RunDirectory(folder))
    config, task = experiment.config, experiment.task
    if task.family != FAMILY:
        raise UserError(
            f"--run {folder}: is a run on {task.family} {task.name}; kernels are of runs on few-shot tasks, as "
            "rocoft train fewshot --task sst-2 makes them"
        )
    of_task = {name: getattr(config.task, theirs) for name, theirs in OF_RUN.items()}
    own = {"model": config.model.model_dump(), "method": config.method, "tasks": [task.name], **of_task}
    own = {**own, "seeds": [config.seed if config.task.draw is None else config.task.draw], "run": folder.absolute()}  # type: ignore[attr-defined]
    if stated := sorted((set(given) & set(own)) - {"run"}):
        raise UserError(f"--run {folder}: {', '.join(stated)} is that of the run; leave it out")
    return own


def _methods(several: Any) -> Sequence[Any]:
    if several is None or (isinstance(several, list) and several):
        return several or []
    raise UserError(f"{SECTION}.methods = {several!r}: must be a list of methods")


def _one(values: dict[str, Any], sources: dict[str, str]) -> KernelSettings:
    named = dict(values)
    for key in named.keys() & {"model", "method"}:
        named |= override(key, values[key])  # a name alone says enough
    if named.get("method") is not None:
        named.setdefault("kernels", ["trained"])
    settings = checked(KernelSettings, named, sources, SECTION)
    if settings.method is not None:
        methods.resolve(settings.method, task_kind=MASKED_LM)  # of several, a wrong one is told of before any is tried
    return settings


def _listed(value: Any, key: str, kind: type) -> Sequence[Any]:
    if not isinstance(value, list) or not value or not all(type(each) is kind for each in value):
        raise UserError(f"{SECTION}.{key} = {value!r}: must be a list of {'names' if kind is str else 'whole numbers'}")
    return list(dict.fromkeys(value))
