"""The records of what is no run: kernel analyses, efficiency benches and searches for settings.

Each lies in a folder of its own; those of analyses and benches with `provenance.json`, as of a run.
"""

from typing import Annotated, Any, Literal

from rocoft_bench.runs.record import (
    Count,
    Fraction,
    KernelDataFacts,
    LayerFacts,
    MethodFacts,
    ModelFacts,
    Number,
    PromptFacts,
    RecordPart,
    Seconds,
    Status,
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
    """`kernels.json`, of one kernel analysis (the paper's Section 5): one model, one task, one draw of k examples per
    class (Tables 4, 5 and 13, Fig. 5). Fields that it did not reach are None or empty.

    Beside it lies `kernels.safetensors`, the training kernels (Figs. 3 and 6): a float tensor (n * c, n * c) for each
    name in `kernels` that has one, for n training examples in order of their class and c logits, those of an example
    together.
    """

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


class EfficiencyRecord(StatusRecord):
    """`efficiency.json`, of one efficiency bench: training steps of one method on one model, at one shape of batch.
    Fields that it did not reach are None or empty.
    """

    config_hash: str
    settings_hash: str
    """Equal for benches that differ in their seed only; only those may share a cell of a table."""
    label: str
    """The method's row title, e.g. RoCoFT-3-Row."""
    method: Annotated[dict[str, Any], holds(MethodFacts)]
    """As in a run's record."""
    model: Annotated[dict[str, Any], holds(LayerFacts)]
    """As in a run's record; for Table 3 a single layer: kind "layer", and its d_in and d_out."""
    seed: int
    task: str | None = None
    """The task whose training is measured, e.g. sst2; None for made-up rows."""
    batch_size: Count
    sequence_length: Count
    """Tokens of each row."""
    precision: str
    measured_steps: Count
    """Steps that the medians below are of."""
    steps_per_epoch: Count | None = None
    """Of the task's training rows; None without a task."""
    settings: dict[str, Any] = {}
    """Whatever else was chosen, apart from the seed: optimizer, gradient checkpointing, threads."""
    parameters: dict[str, Count] = {}
    """adapter, head and total as in a run's record; additional: parameters that the plain model does not have."""
    seconds_per_step: Seconds | None = None
    """Median of forward, backward and update, without loading and evaluation."""
    seconds_per_step_99: Seconds | None = None
    """The 99th percentile of these steps."""
    flops_per_step: Number | None = None
    saved_bytes_per_step: Number | None = None
    """Of the tensors that the forward pass keeps for the backward one."""
    model_memory_mib: Number | None = None
    """Weights before training: the blue part of Fig. 2."""
    optimization_memory_mib: Number | None = None
    """What training adds at its peak: the green part of Fig. 2."""
    peak_memory_mib: Number | None = None
    peak_memory_kind: str | None = None
    mean_memory_mib: Number | None = None
    memory_mib_99: Number | None = None
    """On a GPU, of the peaks of all steps the mean and the 99th percentile."""
    reserved_memory_mib: Number | None = None
    """On a GPU, weights, optimizer state, and what a step makes the allocator reserve."""
    gradients_mib: Number | None = None
    optimizer_state_mib: Number | None = None
    """Parts of what training adds."""
    seconds_beside_frozen: Number | None = None
    """The median of ratios to the step that a frozen model, which trains nothing, took in the same turn."""
    operations_per_step: Count | None = None
    """Operations that compute or copy, launched by the passes of a step; views are none."""
    added_operations_per_layer: Number | None = None
    """Of them, for each layer that the method changes, those that a frozen model does not launch. Those that are paid
    once, such as the head's, are shared out among the layers too."""
    adapter_bytes: Count | None = None
    """Of the files that hold what was trained."""
    merge_seconds: Seconds | None = None
    decode_seconds: Seconds | None = None
    """To generate some tokens with the method's model, and below with the merged one."""
    merged_decode_seconds: Seconds | None = None
    notes: list[str] = []
    finished_at: str

    @property
    def tokens_per_second(self) -> float | None:
        if not self.seconds_per_step:
            return None
        accumulated = self.settings.get("gradient_accumulation")
        passes = accumulated if isinstance(accumulated, int) else 1
        return passes * self.batch_size * self.sequence_length / self.seconds_per_step

    @property
    def seconds_per_epoch(self) -> float | None:
        if self.seconds_per_step is None or self.steps_per_epoch is None:
            return None
        return self.seconds_per_step * self.steps_per_epoch


class Trial(RecordPart):
    """One run of a search. run: its folder below that of all runs. score: of the main metric, as a fraction."""

    values: dict[str, Any]
    seed: int
    run: str
    status: Status
    score: Fraction | None = None


class TuningRecord(RecordPart):
    """`tuning.json`, of a search for settings that has ended, in a folder beside those of its trials and of what it led
    to.
    """

    schema_version: Literal[1] = 1
    place: str
    """On the axes of the sweep."""
    label: str
    """The method's row title."""
    family: str
    task: str
    model: str
    metric: str
    hold_out: Count
    """Training rows that trials were scored on."""
    hold_out_seed: int
    budget: Count
    """Trials; equal for everything that the sweep compares. Those that failed count."""
    trials: list[Trial]
    chosen: dict[str, Any] | None = None
    """The values that were best on the mean over the trials' seeds; None where all have failed."""
    score: Fraction | None = None
    """That mean."""
    tied: int = 0
    """Later combinations with the same mean."""
    on_edge: list[str] = []
    """Settings of which the lowest or the highest value that was tried is chosen: a better one may lie beyond."""
    finished_at: str

    @property
    def failed(self) -> int:
        return sum(trial.score is None for trial in self.trials)

    @property
    def summary(self) -> str:
        """The choice, and what it was chosen from."""
        held = f"{self.budget} trials on {self.hold_out} held-out training rows"
        failed = f", {self.failed} of which failed" if self.failed else ""
        if self.chosen is None or self.score is None:
            return f"nothing chosen: {held}{failed}"
        values = ", ".join(f"{key} {value}" for key, value in self.chosen.items())
        edge = f"; on the edge of the grid: {', '.join(self.on_edge)}" if self.on_edge else ""
        tied = f"; {self.tied} more came out the same" if self.tied else ""
        return f"{values} chosen by {held}{failed} ({self.metric} {100 * self.score:.2f}{tied}){edge}"
