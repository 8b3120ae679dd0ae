"""What the paper's text leaves open, or says in a way that cannot be meant, and what it is taken to mean here."""

from importlib.resources import files
from string import Template

import yaml

from rocoft_bench import methods, paper
from rocoft_bench.analysis.table import Column, Row, Table, text_cells
from rocoft_bench.audit.parameters import TASK_KINDS, inputs_of_base, parameter_audit, shapes_of

_COLUMNS = [Column("printed", "printed or published"), Column("meaning", "what it should be, or means here")]


def protocol_notes() -> Table:
    """The notes in `protocol.yaml`, with what is counted for them."""
    text = files("rocoft_bench.audit").joinpath("protocol.yaml").read_text(encoding="utf-8")
    numbers = {name: f"{value:,}" if isinstance(value, int) else value for name, value in _facts().items()}
    notes = [{key: Template(said).substitute(numbers) for key, said in note.items()} for note in yaml.safe_load(text)]
    rows = [Row("", note.pop("where"), text_cells(**note)) for note in notes]
    return Table("audit-protocol", "the protocol: what the text leaves open or cannot mean", _COLUMNS, rows)


def _facts() -> dict[str, int | str]:
    table_10 = paper.hyperparameters()
    of_table_1 = [row for row in parameter_audit("roberta-base") if row.figure and row.figure.table == 1]
    with_head = {row.method.name: row for row in of_table_1 if row.agrees and row.counted > row.adapter}
    lora = with_head["lora"]
    boolq = {r.method: r.value for r in paper.results() if (r.table, r.model, r.task) == (2, "llama-2-7b", "boolq")}
    selections = [row["pruning_strategy"] for row in table_10.values()]
    return {
        "per_row": inputs_of_base(None),
        "per_row_without_output": inputs_of_base(["query", "key", "value", "ffn_in", "ffn_out"]),
        "selections": ", ".join(f"{value} ({selections.count(value)}×)" for value in dict.fromkeys(selections)),
        "tasks_without_accumulation": sum(row["gradient_accumulation"] == "0" for row in table_10.values()),
        "tasks_with_biases": ", ".join(task for task, row in table_10.items() if row["train_bias"] == "True"),
        "three_rows": _three_rows_of("roberta-base"),
        "three_rows_and_biases": _three_rows_of("roberta-base", train_bias=True),
        "three_rows_of_deberta": _three_rows_of("deberta-v3-base"),
        "three_rows_of_bart": _three_rows_of("bart-large"),
        "lora": lora.adapter,
        "head": lora.head,
        "lora_and_head": lora.counted,
        "with_head": ", ".join(row.figure.method for row in with_head.values() if row.figure),
        "boolq": f"{boolq['RoCoFT-3-Column']:.2f}",
        "boolq_epochs": table_10["boolq"]["epochs"],
    }


def _three_rows_of(model: str, train_bias: bool = False) -> int:
    section = {"name": "rocoft", "mode": "row", "rank": 3, "train_bias": train_bias}
    return methods.resolve(section, task_kind=TASK_KINDS[model], model=model).adapter_parameters(shapes_of(model))
