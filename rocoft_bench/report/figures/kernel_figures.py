"""The kernels of Section 5: heat maps (the paper's Figures 3 and 6), spectra (Figure 5), and what a kernel foretells of
training.
"""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.stats import kendalltau

from rocoft_bench.analysis.conditions import seeds
from rocoft_bench.analysis.groups import group_compatible
from rocoft_bench.analysis.naming import model_key, model_name
from rocoft_bench.analysis.records import Stored
from rocoft_bench.analysis.table import Table
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, key_of, number_in
from rocoft_bench.report.tables.kernels_against_training import ACCURACY, DISTANCE, FINE_TUNED, KEY
from rocoft_bench.runs import KernelName, KernelRecord

TITLES = {"K_full": "all parameters", "K_row": "one row", "K_column": "one column", "K_lora": "LoRA"}
SPECTRA: tuple[KernelName, ...] = ("K_full", "K_row", "K_column")
COLUMNS = 3
"""Spectra beside each other."""
ZERO = 1e-12
"""Of the largest eigenvalue: one below it is zero but for rounding, and a log axis has no place for it."""
PAPER_SHOTS = 16


PANELS = {
    DISTANCE: "distance of the kernel from K_θ (p = 2)",
    ACCURACY: "accuracy of kernel regression (%)",
}
VALUES = (*PANELS, FINE_TUNED)

Points = dict[str, dict[str, float]]
"""By method the mean of each value over the tasks."""


def heatmaps(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each analysis, its lowest seed; a sentence where the kernels cannot be read."""
    for stored in _lowest_seeds(data.results.kernels):
        try:
            kernels = _read(stored.folder / "kernels.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            yield f"{stored.id}: no heat maps, kernels.safetensors cannot be read ({error})"
            continue
        nothing = f"{stored.id}: no heat maps, kernels.safetensors holds none of {', '.join(TITLES)}"
        yield _heatmap(stored.record, kernels) if kernels else nothing


def _lowest_seeds(kernels: Sequence[Stored[KernelRecord]]) -> list[Stored[KernelRecord]]:
    """One analysis for each setting, without the failed ones."""
    ordered = sorted((stored for stored in kernels if stored.record.status == "ok"), key=lambda s: -s.record.seed)
    return sorted({s.record.settings_hash: s for s in ordered}.values(), key=lambda s: (s.record.shots, s.record.task))


def _read(file: Path) -> dict[str, np.ndarray]:
    """The kernels in a file by name, in the order in which they are shown.

    Raises:
        OSError, ValueError, KeyError, SafetensorError: If there is no such file, or something else is in it.
    """
    try:
        tensors: dict[str, np.ndarray] = load_file(file)
    except FileNotFoundError:
        raise FileNotFoundError("there is none") from None
    kernels = {name: tensors[name] for name in TITLES if name in tensors}
    for name, kernel in kernels.items():
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.size or not np.isfinite(kernel).all():
            raise ValueError(f"{name} is not a square matrix of finite numbers")
    return kernels


def _heatmap(record: KernelRecord, kernels: dict[str, np.ndarray]) -> Drawing:
    figure, panels = style.panels(1, len(TITLES), 2.05, (0.1, 0.1, 0.3, 0.3), (0.12, 0))
    for axes in panels[len(kernels) :]:
        axes.remove()
    borders = class_borders(record, len(next(iter(kernels.values()))))
    for axes, (name, kernel) in zip(panels, kernels.items(), strict=False):
        _show(axes, kernel, borders)
        axes.set_title(_title(record, name), fontsize=9)
    model = model_name(record.model)
    caption = (
        f"Kernels of {model} on {record.task}, {record.shots} examples per class, seed {record.seed}: each between its "
        f"own smallest (dark) and largest entry (bright), which stand below it. Logits: {record.protocol}."
    )
    caption += " Lines part the classes." if borders else ""
    key = key_of("kernels", record.task, f"{record.shots}-shot", model)
    number = ("Figure 3" if record.task == "sst-2" else "Figure 6") if record.shots == PAPER_SHOTS else None
    return Drawing(key, f"Kernels: {record.task}, {record.shots}-shot", caption, figure, number)


def _title(record: KernelRecord, name: str) -> str:
    rank = record.settings.get("rank", 1)
    several = {"K_row": f"{rank} rows", "K_column": f"{rank} columns"} if rank > 1 else {}
    return several.get(name, TITLES[name])


def class_borders(record: KernelRecord, size: int) -> list[float]:
    """Where one class ends and the next begins, in a kernel of that size; none if the record does not say."""
    examples = record.data.get("train_rows")
    if not isinstance(examples, int) or min(examples, record.shots) < 1 or size % examples or examples % record.shots:
        return []
    step = record.shots * size // examples
    return [border - 0.5 for border in range(step, size, step)]


def _show(axes: Axes, kernel: np.ndarray, borders: Sequence[float]) -> None:
    axes.imshow(kernel, cmap="viridis", aspect="equal")
    for border in borders:
        axes.axhline(border, color="white", linewidth=0.6, alpha=0.8)
        axes.axvline(border, color="white", linewidth=0.6, alpha=0.8)
    axes.set(xticks=[], yticks=[], xlabel=f"{kernel.min():.4g} … {kernel.max():.4g}")
    axes.spines[:].set_visible(False)


def spectra(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each model and number of shots, with a small one for each task."""
    known = [stored.record for stored in _lowest_seeds(data.results.kernels)]
    known = [record for record in known if any(_eigenvalues(record, name) for name in SPECTRA)]
    for records in group_compatible(known, lambda record: (*model_key(record.model), record.shots)):
        model, shots = model_name(records[0].model), records[0].shots
        names = [_title(records[0], name) for name in SPECTRA]
        tasks = [record.task for record in records]
        figure, panels = style.small_multiples(tasks, COLUMNS, names, "index", "eigenvalue / largest", share_y=True)
        for axes, record in zip(panels, records, strict=True):
            _lines(axes, record)
        style.legend(figure, panels[0].get_lines(), names)
        caption = (
            f"Eigenvalues of the kernels of {model}, {shots} examples per class, seed {seeds(records)}, the largest "
            "first; each kernel's are divided by its largest (the paper scales each task by a factor that it does not "
            "state). Eigenvalues that are zero but for rounding are not shown."
        )
        key, title = key_of("spectra", f"{shots}-shot", model), f"Spectra, {shots}-shot, {model}"
        yield Drawing(key, title, caption, figure, "Figure 5")


def _eigenvalues(record: KernelRecord, name: KernelName) -> list[float]:
    return record.kernels[name].eigenvalues if name in record.kernels else []


def _lines(axes: Axes, record: KernelRecord) -> None:
    for look, name in zip(style.SERIES, SPECTRA, strict=False):
        values = np.array(_eigenvalues(record, name), dtype=float)
        relative = values / values[0] if values.size and values[0] > 0 else np.array([])
        shown = relative > ZERO
        places = np.arange(1, len(relative) + 1)[shown]
        axes.plot(places, relative[shown], label=_title(record, name), **look.line_settings(len(places)))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def kernels_against_training(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each table of kernels against training in which several methods were fine-tuned too: over methods,
    the distance of the kernel from that of all parameters, and the accuracy of regression with it, against the accuracy
    of fine-tuning.
    """
    for table in data.tables:
        if table.key.startswith(KEY):
            tasks, points = _points(table)
            if len(points) > 1:
                yield _of_methods(table, tasks, points)


def _points(table: Table) -> tuple[list[str], Points]:
    """Of the methods that have everything, over the tasks that all of them have."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in table.rows:
        values = {key: value for key in VALUES if (value := number_in(row, key)) is not None}
        if len(values) == len(VALUES):
            found.setdefault(row.method, {})[row.variant] = values
    tasks = sorted(set.intersection(*(set(own) for own in found.values()))) if found else []
    if not tasks:
        return [], {}
    return tasks, {
        method: {key: statistics.mean(own[task][key] for task in tasks) for key in VALUES}
        for method, own in found.items()
    }


def _of_methods(table: Table, tasks: list[str], points: Points) -> Drawing:
    figure, panels = style.panels(1, len(PANELS), 3.6, (0.6, 0.25, 0.55, 0.15), (0.08, 0), sharey=True)
    for axes, (key, title) in zip(panels, PANELS.items(), strict=True):
        _points_of(axes, key, points)
        axes.set_xlabel(title)
    panels[0].set_ylabel("accuracy of fine-tuning (%)")
    caption = (
        f"Each point is a method; means over {', '.join(tasks)}, and over the draws. {_agreement(points)} The dotted "
        "line is where both accuracies are equal."
    )
    return Drawing(key_of(table.key), table.title, caption, figure, table=table.key)


def _points_of(axes: Axes, key: str, points: Points) -> None:
    axes.grid()
    xs, ys = ([own[name] for own in points.values()] for name in (key, FINE_TUNED))
    axes.scatter(xs, ys, s=26, color=style.INK, zorder=3)
    for limits, values in ((axes.set_xlim, xs), (axes.set_ylim, ys)):
        margin = max(0.25 * (max(values) - min(values)), 0.01 * max(map(abs, values)), 0.01)
        limits(min(values) - margin, max(values) + margin)
    if key == ACCURACY:
        axes.axline((0, 0), slope=1, linestyle=":", linewidth=1, color=style.INK, alpha=0.6)
    style.place_labels(
        axes, [style.Label(style.short(name), own[key], own[FINE_TUNED]) for name, own in points.items()]
    )


def _agreement(points: Points) -> str:
    """Whether the orders of the methods agree."""
    tuned = [own[FINE_TUNED] for own in points.values()]
    said = []
    for key, name in ((DISTANCE, "nearness of the kernel"), (ACCURACY, "kernel accuracy")):
        sign = -1 if key == DISTANCE else 1
        found = kendalltau([sign * own[key] for own in points.values()], tuned)
        said.append(f"{name} {found.statistic:.2f} (p = {found.pvalue:.2f})")
    return f"Kendall's τ with fine-tuned accuracy over {len(points)} methods: {', '.join(said)}."
