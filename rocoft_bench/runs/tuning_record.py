"""The record of one search for settings: `tuning.json` in a folder beside those of its trials and of what it led to."""

from typing import Any, Literal

from rocoft_bench.runs.record_schema import Count, Fraction, RecordPart, Status


class Trial(RecordPart):
    """One run of a search. run: its folder below that of all runs. score: of the main metric, as a fraction."""

    values: dict[str, Any]
    seed: int
    run: str
    status: Status
    score: Fraction | None = None


class TuningRecord(RecordPart):
    """A search that has ended."""

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
