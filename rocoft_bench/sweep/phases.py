"""A sweep with a search before it: the trials are one plan, and what is planned with their choices is the next."""

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocoft_bench.config import SEED, Condition, Sweep, Tuning, flatten, group_of
from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import Trial, TuningRecord, config_values, digest, write_json
from rocoft_bench.sweep.plan import EVERY_RUN, Plan, PlannedRun, State, make_plan, place_of


@dataclass
class Phase:
    """A plan that is to be carried out before the next one is made.

    lines: what is to be said before. without_choice: how many searches have ended, and all of their trials failed.
    """

    plan: Plan
    lines: list[str] = field(default_factory=list)
    without_choice: int = 0


def phases(
    sweep: Sweep, output: Path, condition: Condition = EVERY_RUN, assignments: Sequence[str] = (), write: bool = True
) -> Iterator[Phase]:
    """The plan of a sweep; of one with a search first that of its trials, then that of the runs with what these chose.

    condition: `seed` in it is of the runs, not of the trials. write: put the choices on record.

    Raises: UserError as `make_plan`, before the first plan, or if the search is not the same for all that is compared.
    """
    tuning = sweep.tuning
    if tuning is None:
        yield Phase(make_plan(sweep, output, condition, assignments))
        return
    of_trials = Condition({key: values for key, values in condition.wanted.items() if key != SEED})
    trials = sweep.trials(assignments)
    some = {group_of(point, tuning.grid): tuning.combinations[0] for point, _ in trials}
    # what is wrong with the runs, or met by none of them, is said before time goes into trials
    make_plan(sweep, output, condition, assignments, sweep.tuned_runs(some, assignments))
    plan = make_plan(sweep, output, of_trials, assignments, trials)
    searches = _searches(plan, tuning)
    budget = len(tuning.combinations) * len(tuning.seeds)
    _check_budgets(plan, searches, tuning)
    each = f"{len(tuning.combinations)} combinations x {len(tuning.seeds)} seeds"
    yield Phase(plan, [f"tuning: {len(searches)} searches of {each}, on {tuning.hold_out} held-out training rows"])
    plan = make_plan(sweep, output, of_trials, assignments, trials)  # with what they have left
    choices, lines = {}, []
    for key, runs in _searches(plan, tuning).items():
        found = _choice(runs, tuning)
        lines.append(f"{_place(runs[0], tuning)}: {found.summary if found else _still_open(runs, budget)}")
        if found:
            choices[key] = found
            if write:
                _put_on_record(found, runs, output)
    chosen = {key: choice.chosen for key, choice in choices.items() if choice.chosen is not None}
    finals = sweep.tuned_runs(chosen, assignments)
    plan = make_plan(sweep, output, condition, assignments, finals) if finals else Plan()
    for run in plan.runs:
        run.experiment = replace(run.experiment, notes=(*run.experiment.notes, choices[group_of(run.point)].summary))
    yield Phase(plan, lines, len(choices) - len(chosen))


def _searches(plan: Plan, tuning: Tuning) -> dict[str, list[PlannedRun]]:
    """The trials by what they are compared in."""
    found: dict[str, list[PlannedRun]] = {}
    for run in plan.runs:
        found.setdefault(group_of(run.point, tuning.grid), []).append(run)
    return found


def _place(run: PlannedRun, tuning: Tuning) -> str:
    """What a search is for: its values on the axes, or its method where there is one search alone."""
    axes = {key: value for key, value in run.point.items() if key not in (SEED, *tuning.grid)}
    return place_of(axes) or run.experiment.method.label


def _check_budgets(plan: Plan, searches: Mapping[str, Sequence[PlannedRun]], tuning: Tuning) -> None:
    """Every search has the same number of different trials, or nothing is compared."""
    if plan.invalid:
        first = plan.invalid[0]
        raise UserError(f"tune: {first.place}: {first.error}; every method must get the same trials")
    sizes = Counter(map(len, searches.values()))
    if len(sizes) > 1 or plan.repeated:
        named = "; ".join(f"{len(runs)} for {_place(runs[0], tuning)}" for runs in searches.values())
        raise UserError(f"tune: not all trials differ, so that budgets are not equal: {named} trials")


def _still_open(runs: Sequence[PlannedRun], budget: int) -> str:
    ended = sum(run.state in (State.DONE, State.FAILED) for run in runs)
    return f"{budget - ended} of {budget} trials are still to do"


def _choice(runs: Sequence[PlannedRun], tuning: Tuning) -> TuningRecord | None:
    """What a search has found; None before it has ended. A combination of which a trial failed is not chosen."""
    if any(run.state not in (State.DONE, State.FAILED) for run in runs):
        return None
    if len(runs) < len(tuning.combinations) * len(tuning.seeds):  # of a filter
        return None
    first, trials = runs[0], [_trial(run, tuning) for run in runs]
    failed = {json.dumps(trial.values) for trial in trials if trial.score is None}
    scores: dict[str, list[float]] = {}
    for trial in trials:
        if (values := json.dumps(trial.values)) not in failed and trial.score is not None:
            scores.setdefault(values, []).append(trial.score)
    means = {values: statistics.mean(of) for values, of in scores.items()}
    best = max(means, key=lambda values: means[values], default=None)
    chosen = None if best is None else json.loads(best)
    return TuningRecord(
        place=_place(first, tuning),
        label=first.experiment.method.label,
        family=first.experiment.task.family,
        task=first.experiment.task.name,
        model=first.experiment.config.model.name,
        metric=first.experiment.task.metric_names[0],
        hold_out=tuning.hold_out,
        hold_out_seed=tuning.seed,
        budget=len(trials),
        trials=trials,
        chosen=chosen,
        score=None if best is None else means[best],
        tied=0 if best is None else sum(mean == means[best] for mean in means.values()) - 1,
        on_edge=[] if chosen is None else _on_edge(chosen, trials),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _trial(run: PlannedRun, tuning: Tuning) -> Trial:
    record, done = run.record, run.state is State.DONE
    score = (record.metrics or {}).get(run.experiment.task.metric_names[0]) if record and done else None
    settings = dict(flatten(config_values(run.experiment.config)))
    return Trial(
        values={key: settings.get(key, run.point[key]) for key in tuning.grid},
        seed=run.experiment.config.seed,
        run=run.name,
        status=record.status if record else "failed",
        score=score,
    )


def _on_edge(chosen: Mapping[str, Any], trials: Sequence[Trial]) -> list[str]:
    """Settings of which the lowest or the highest number that was tried is chosen."""
    found = []
    for key, value in chosen.items():
        tried = {trial.values[key] for trial in trials if isinstance(trial.values[key], (int, float))}
        if isinstance(value, (int, float)) and len(tried) > 1 and value in (min(tried), max(tried)):
            found.append(key)
    return found


def _put_on_record(found: TuningRecord, runs: Sequence[PlannedRun], output: Path) -> None:
    """Raises: UserError if it cannot be written."""
    hashes = sorted(run.experiment.identity.config_hash for run in runs)
    model = Path(found.model).name
    name = f"{model}_{found.label}_tuning_{digest({'trials': hashes})}".replace(" ", "-")
    folder = output / f"{found.family}-{found.task}" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "tuning.json", found.model_dump())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({reason(error)})") from None
