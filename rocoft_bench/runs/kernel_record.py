"""The record of one kernel analysis (the paper's Section 5): one model, one task, one draw of k examples per class.

It lies in a folder of its own: `kernels.json`, this record (Tables 4, 5 and 13, Fig. 5); `kernels.safetensors`, the
training kernels (Figs. 3 and 6): a float tensor (n * c, n * c) for each name in `kernels` that has one, for n training
examples in order of their class and c logits, those of an example together; `provenance.json`, as of a run.
"""

from typing import Annotated, Any, Literal

from rocoft_bench.runs.record_schema import (
    Count,
    Fraction,
    KernelDataFacts,
    ModelFacts,
    Number,
    PromptFacts,
    RecordPart,
    Seconds,
    StatusRecord,
    holds,
)

KernelName = Literal[
    "full_ft",
    "trained_ft",
    "K_full",
    "K_row",
    "K_column",
    "K_lora",
    "K_entries",
    "K_biases",
    "K_norms",
    "K_ia3",
    "K_head",
    "K_trained",
]
"""Of all parameters, of rows or columns of each matrix, of LoRA's at its start, of single entries of each matrix, of
all biases, of the norms, of (IA)³'s vectors at their start, of the language-model head, of what a method (of the
settings) trains, before training or, where the settings say `run`, in the state of a finished one; no kernels, for
comparison: fine-tuning with the same prompts, of everything (`full_ft`) or by that method (`trained_ft`)."""


class Kernel(RecordPart):
    """What came out for one kernel."""

    accuracy: Fraction | None = None
    """Of kernel logistic regression (for full_ft: of fine-tuning) on the test rows, as a fraction."""
    f1: Fraction | None = None
    """Of the same predictions, as a fraction, for mrpc and qqp: the paper does not name the metric of Table 4, and the
    code that it follows (Malladi et al., 2023) scores these two by either."""
    regularization: Number | None = None
    """The penalty λ that cross-validation on the training rows chose."""
    parameters: Count | None = None
    """Length of the gradients."""
    relative_difference: dict[Literal["1", "2"], Number] = {}
    """||K / ||K||_p - K_full / ||K_full||_p||_p of the flattened training kernels, for p = 1 and 2."""
    alignment: Number | None = None
    """Centred kernel alignment with K_full (Cortes et al., 2012); 1 is the nearest."""
    eigenvalues: list[Number] = []
    """Of the training kernel, the largest first."""


class KernelRecord(StatusRecord):
    """`kernels.json`. Fields that an analysis did not reach are None or empty."""

    config_hash: str
    settings_hash: str
    """Equal for analyses that differ in their seed only; only those may share a cell of a table."""
    task: str
    """As in the paper's Tables 4, 5 and 13, e.g. sst-2."""
    shots: Count
    """Training examples per class."""
    labels: list[str] = []
    """The label words, in the order of the classes in which the training examples lie; two make one logit, c make c."""
    seed: int
    model: Annotated[dict[str, Any], holds(ModelFacts)]
    """As in a run's record."""
    data: Annotated[dict[str, Any], holds(KernelDataFacts)] = {}
    """As in a run's record: train, evaluation, train_rows, eval_rows."""
    protocol: str
    """Template, label words, length, cap of test rows: how the logits were made."""
    settings: dict[str, Any] = {}
    """Whatever else was chosen, apart from task, shots and seed: selection of the row or column, LoRA's rank and alpha,
    penalties tried, folds, steps and learning rate of full_ft."""
    kernels: dict[KernelName, Kernel] = {}
    seconds: Seconds | None = None
    peak_memory_mib: Number | None = None
    notes: list[str] = []
    finished_at: str
    prompt: Annotated[dict[str, Any], holds(PromptFacts, or_nothing=True)] = {}
    """The template and its version, and the first prompts as the model sees them; empty in older records."""
