"""What the paper's text leaves open, or says in a way that cannot be meant, and what it is taken to mean here.

"Published code" is the authors' repository, https://github.com/Kowsher/RoCoFT.
"""

from collections.abc import Iterator
from typing import NamedTuple

from rocoft_bench import methods, models, paper
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.audit.parameters import TASK_KINDS, parameter_audit

_COLUMNS = [Column("printed", "printed or published"), Column("meaning", "what it should be, or means here")]


class Note(NamedTuple):
    where: str
    printed: str
    meaning: str


def protocol_notes() -> Table:
    table = Table("audit-protocol", "the protocol: what the text leaves open or cannot mean", _COLUMNS)
    notes = [*_algorithm(), *_hyperparameters(), *_counting(), *_training(), *_evaluation()]
    table.rows = [Row("", n.where, {"printed": Cell(text=n.printed), "meaning": Cell(text=n.meaning)}) for n in notes]
    return table


def _algorithm() -> Iterator[Note]:
    yield Note(
        "Algorithm 1",
        "torch.cat([self.trainable_W, self.non_trainable_W], dim=1)",
        "dim=0: the parts are W[:r, :] and W[r:, :], which share their columns (the published code has dim=0).",
    )
    yield Note(
        "Section 6",
        "row scores in R^{d_in}, column scores in R^{d_out}, for W in R^{d_out × d_in}",
        "Swapped: the sum of S over its columns gives d_out row scores, over its rows d_in column scores.",
    )
    rows = _sum_of_inputs(None)
    without = _sum_of_inputs(["query", "key", "value", "ffn_in", "ffn_out"])
    yield Note(
        "Section 3",
        "a few rows or columns of W_q, W_k, W_v and W_ff",
        f"The attention's output layer is among them: RoBERTa-base's 0.083M is {rows:,} with it, {without:,} without.",
    )
    yield Note(
        "Sections 4, 6 and 8, Table 10",
        'Section 4: "from the beginning of the order"; Section 8: "selects random rows and columns statically"; '
        f"Table 10: {_counted('pruning_strategy')}",
        "They contradict each other. The first r are the default here; min, max, mixed and random can be chosen.",
    )
    yield Note(
        "published code: layers",
        "every nn.Linear is replaced, the task head and lm_head included; biases are trained unless told otherwise",
        "Of a new head only r rows or columns would be trained. Here the blocks' linear layers are replaced, the head "
        "is trained in full, and biases are not trained unless a config says so.",
    )


def _hyperparameters() -> Iterator[Note]:
    none = [task for task, row in paper.hyperparameters().items() if row["gradient_accumulation"] == "0"]
    yield Note(
        "Table 10: accumulation",
        f"Gradient Accumul. 0 ({len(none)} tasks)",
        "None: each batch is a step, an accumulation of 1.",
    )
    yield Note(
        "Table 10: columns", 'columns "Pruning Layer" and "Norm"', "How rows are selected; epsilon of the layer norms."
    )
    biased = [task for task, row in paper.hyperparameters().items() if row["train_bias"] == "True"]
    plain, with_biases = (_trained(train_bias) for train_bias in (False, True))
    yield Note(
        "Table 10: biases",
        f"Bias True ({', '.join(biased)})",
        f"#TTPs do not count biases: 3 rows of RoBERTa-base are {plain:,} (printed 0.249M), with all biases "
        f"{with_biases:,}. Whether biases were trained remains open.",
    )
    yield Note(
        "Tables 7 and 10, Appendix A: rank",
        "Rank 3 (Table 10), RoCoFT 3-Row (Appendix A); 0.161M and 0.597M (Table 7)",
        f"Three rows would be {_rows_of('deberta-v3-base', 3):,} on DeBERTaV3-base, {_rows_of('bart-large', 3):,} on "
        "BART-large; no whole number of rows of all layers gives the printed figures.",
    )
    yield Note("optimiser", "no optimiser, no maximum length of inputs", "See the configs here.")


def _counting() -> Iterator[Note]:
    agreeing = [row for row in parameter_audit("roberta-base") if row.agrees and row.figure and row.figure.table == 1]
    counted = [row for row in agreeing if row.counted > row.adapter]
    lora = next(row for row in counted if row.method.name == "lora")
    yield Note(
        "Tables 1 and 6: #TTPs",
        '#TTPs "denotes Total Trainable Parameters"',
        f"The head is counted for some methods only. LoRA's 0.89M is {lora.adapter:,} + {lora.head:,} of the head = "
        f"{lora.counted:,}; RoCoFT's 0.249M is without it. In Table 1 counted for: "
        + ", ".join(row.figure.method for row in counted if row.figure)
        + ". Here adapter and head always stand apart.",
    )


def _training() -> Iterator[Note]:
    yield Note(
        "seeds",
        "Tables 1, 2, 6, 7, 11 and 12: no seeds, no number of runs, no deviations (kernel results alone: 5 seeds)",
        "A difference in these tables cannot be told from chance. Here every cell says how many seeds it has.",
    )
    yield Note(
        "checkpoint",
        "it is not said which one is evaluated; the GLUE notebooks set load_best_model_at_end, by the validation set",
        "The best checkpoint would be chosen on the rows that are reported. Here the last epoch is the default, and "
        "every table says which rule it is of.",
    )
    boolq = {r.method: r.value for r in paper.results() if (r.table, r.model, r.task) == (2, "llama-2-7b", "boolq")}
    yield Note(
        "Table 2: LLaMA",
        "LLaMA-2-7B; the notebooks load yahma/llama-7b-hf, which is LLaMA 1. On BoolQ (RoCoFT, 3 columns) the notebook "
        f"prints 0.69327 after 1 epoch; Table 2 has {boolq['RoCoFT-3-Column']:.2f}, Table 10 "
        f"{paper.hyperparameters()['boolq']['epochs']} epochs",
        "Table 2's LLaMA-2-7B rows may be LLaMA 1's.",
    )


def _evaluation() -> Iterator[Note]:
    yield Note(
        "Table 2: prompts",
        "the math notebooks give the model the whole test text, gold solution included, less its last 3 or 5 tokens; "
        "the commonsense notebooks do the same, which leaves the choice to be said",
        'The right solution is in the prompt of a math question. Here that is the protocol "published", for comparison '
        'alone; the default is "strict": the prompt ends where the answer begins.',
    )
    yield Note(
        "Tables 1, 6 and 7: split",
        'the evaluated split is not said, but for MNLI (Appendix I: "matched validation set")',
        "The validation sets: the labels of the test sets of GLUE and SQuAD are not public.",
    )
    yield Note(
        "Appendix I, Eq. 10",
        "rho = 1 - 6 × sum of d² / (n (n² - 1))",
        "Exact without ties only, and STS-B's scores have many. Here: Pearson's correlation of ranks, ties averaged.",
    )


def _counted(column: str) -> str:
    """The values of a column of Table 10, and for how many tasks each is given."""
    values = [row[column] for row in paper.hyperparameters().values()]
    return ", ".join(f"{value} ({values.count(value)}×)" for value in dict.fromkeys(values))


def _sum_of_inputs(targets: list[str] | None) -> int:
    """Parameters of one row of each of RoBERTa-base's layers."""
    shapes = models.shipped_shapes("roberta-base", TASK_KINDS["roberta-base"])
    assert shapes is not None
    return sum(linear.d_in for linear in shapes.targeted(targets))


def _trained(train_bias: bool) -> int:
    return _rows_of("roberta-base", 3, train_bias)


def _rows_of(model: str, rank: int, train_bias: bool = False) -> int:
    kind = TASK_KINDS[model]
    section = {"name": "rocoft", "mode": "row", "rank": rank, "train_bias": train_bias}
    shapes = models.shipped_shapes(model, kind)
    assert shapes is not None
    return methods.resolve(section, task_kind=kind, model=model).adapter_parameters(shapes)
