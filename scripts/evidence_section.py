"""The numbers of a section on tuned comparisons in results/README.md, from its records.

python scripts/evidence_section.py evidence            # print them, of results/evidence
python scripts/evidence_section.py evidence --write    # put them between the marks in results/README.md
python scripts/evidence_section.py published evidence  # of results/published, beside RoCoFT in results/evidence
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from readme_section import main, markdown

from rocoft_bench.analysis.method_comparison import compare_methods, main_metric
from rocoft_bench.analysis.records import Results, Run, read_results
from rocoft_bench.analysis.verdicts import claims_table, rank_tables_over_seeds
from rocoft_bench.report import all_tables
from rocoft_bench.runs import TuningRecord

OURS = ("RoCoFT-3-Row", "RoCoFT-3-Column")
CLAIM_COLUMNS = (
    *("claim", "n", "difference, over seeds", "over examples", "Hedges' g"),
    *("p, difference", "p, equivalence", "verdict", "seeds needed"),
)
FLOOR = "Head only"
"""What RoCoFT has to be better than."""
MARGIN = 1.0
"""Percentage points, chosen before the runs."""


def section(folder: Path, *beside: Path) -> str:
    """In Markdown: for each task the search and the results of each method, and what the seeds say of RoCoFT.

    beside: folders from which RoCoFT is taken, on the same tasks.
    """
    results = read_results(folder)
    tasks = list(dict.fromkeys(stored.record.task for stored in results.tuning))
    for other in map(read_results, beside):
        results.tuning += [one for one in other.tuning if one.record.label in OURS and one.record.task in tasks]
        results.trials += _of_ours(other.trials, tasks)
        results.runs += _of_ours(other.runs, tasks)
    parts = [line for task in tasks for line in _of_task(results, task)]
    ranks = [table for table in rank_tables_over_seeds(results, all_tables(results)) if table.rows]
    for table in ranks:
        parts += markdown(
            ["method", "mean rank", "best, %"],
            [[r.title, r.cells["mean_rank"].text, f"{r.cells['best'].parts[0].value:.0f}"] for r in table.rows],
        )
        parts += ["", *table.notes, ""]
    return "\n".join(parts).strip()


def _of_ours(runs: Sequence[Run], tasks: Sequence[str]) -> list[Run]:
    return [run for run in runs if run.record.label in OURS and run.record.task["name"] in tasks]


def _of_task(results: Results, task: str) -> Iterator[str]:
    searches = [stored.record for stored in results.tuning if stored.record.task == task]
    runs = [run for run in results.runs if run.record.task["name"] == task and run.record.status == "ok"]
    trials = [run for run in results.trials if run.record.task["name"] == task]
    first = searches[0]
    minutes = [sum(_seconds(run) for run in some) / 60 for some in (trials, runs)]
    yield f"### {task}, {first.metric.replace('_', ' ')}"
    yield ""
    yield (
        f"{len(trials)} trials ({first.budget} for each method, {sum(one.failed for one in searches)} failed) took "
        f"{minutes[0]:.0f} minutes of training and evaluation, {len(runs)} runs {minutes[1]:.0f}."
    )
    yield ""
    yield from markdown(
        ["method", "trained, head apart", "chosen rate", "trials by rate", "n", "mean ± sd", "train s", "MiB"],
        [_method(one, [run for run in runs if run.record.label == one.label]) for one in searches],
    )
    yield ""
    yield from markdown(CLAIM_COLUMNS, _claims(results, task))
    yield ""


def _seconds(run: Run) -> float:
    return (run.record.train_seconds or 0) + (run.record.eval_seconds or 0)


def _method(one: TuningRecord, runs: Sequence[Run]) -> list[str]:
    scores = [100 * (main_metric(run) or 0) for run in runs]
    tried = " ".join("failed" if trial.score is None else f"{100 * trial.score:.1f}" for trial in one.trials)
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    edge = " (edge)" if one.on_edge else ""
    chosen = next(iter((one.chosen or {"": "none"}).values()))
    return [
        one.label,
        f"{runs[0].record.parameters['adapter']:,}" if runs else "",
        f"{chosen:g}{edge}",
        tried,
        str(len(runs)),
        f"{statistics.mean(scores):.2f}{spread}" if scores else "",
        f"{statistics.mean(run.record.train_seconds or 0 for run in runs):.0f}" if runs else "",
        f"{max(run.record.peak_memory_mib or 0 for run in runs):,.0f}" if runs else "",
    ]


def _claims(results: Results, task: str) -> Iterator[list[str]]:
    """What is claimed of each of our methods beside each other one, and what the seeds say; a pair of ours once."""
    labels = {stored.record.label for stored in results.tuning}
    for place, ours in enumerate(label for label in OURS if label in labels):
        for comparison in compare_methods(results, all_tables(results), ours, margin=MARGIN):
            table = claims_table(comparison)
            told = [one for one in comparison.comparisons.values() if one.over_seeds is not None]
            for one, row in zip(told, table.rows if table else [], strict=True):
                if one.task == task and one.baseline not in OURS[:place]:
                    texts = {key: cell.text for key, cell in row.cells.items()}
                    examples = "" if one.low is None else f"[{one.low:+.2f}, {one.high:+.2f}]".replace("-", "−")
                    seeds = [texts[key] for key in ("seeds", "difference_seeds")]
                    after = [texts[key] for key in ("effect", "p_seeds", "p_equivalent")]
                    wanted = "better than" if one.baseline == FLOOR else "equivalent to"
                    said = _said(wanted, texts["verdict"])
                    yield [f"{ours} is {wanted} {one.baseline}", *seeds, examples, *after, said, texts["needed"]]


def _said(wanted: str, found: str) -> str:
    """Of a claim, by the verdict on the seeds."""
    if found == "undecided":
        return found
    return "supported" if found.split()[0] == wanted.split()[0] else f"not supported: {found}"


if __name__ == "__main__":
    main(__file__, __doc__, section, several=True)
