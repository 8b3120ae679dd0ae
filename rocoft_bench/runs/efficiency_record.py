"""The record of one efficiency bench: training steps of one method on one model, at one shape of batch.

It lies in a folder of its own: `efficiency.json`, this record, and `provenance.json`, as of a run.
"""

from typing import Annotated, Any

from rocoft_bench.runs.record_schema import Count, LayerFacts, MethodFacts, Number, Seconds, StatusRecord, holds


class EfficiencyRecord(StatusRecord):
    """`efficiency.json`. Fields that a bench did not reach are None or empty."""

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
    def seconds_per_epoch(self) -> float | None:
        if self.seconds_per_step is None or self.steps_per_epoch is None:
            return None
        return self.seconds_per_step * self.steps_per_epoch
