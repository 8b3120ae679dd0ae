"""Tables to write."""

from __future__ import annotations

from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, with_highlights

ADAPTER = Column("adapter", "adapter", ("",), decimals=0)
RTE = Column("rte", "RTE", ("acc",), task="rte", unit="%", better="higher")
MRPC = Column("mrpc", "MRPC", ("acc", "F1"), task="mrpc", unit="%", better="higher")
WHY = Column("why", "why")

HARD = (
    r"\input{x} a_b _c_ & 50% #1 $x$ {y} ~ ^ ` \" ' -- --- ?` <b> [bold] [l](u) [x]: u *s* | / &amp; [/] "
    "é ñ ç ř ß ø Ł İ α θ Σ ± − × … “q” ‘s’ ² µ 中文 עברית 😀 ﬁ \x1b[31m \x00 \r\n new \ud800"
)
"""What users can put into a name."""


def glue_table(models: tuple[str, ...] = ("roberta-base",)) -> Table:
    """Two methods beside the paper's: one on three seeds, one that failed on RTE."""
    columns = [ADAPTER, RTE, MRPC]
    rows = []
    for model in models:
        ours = {
            "adapter": Cell((Stat(248_832, n=3),), reference_text="0.249M"),
            "rte": Cell((Stat(78.731, 0.3149, 3, 78.31, difference=0.421),), runs=("rte/0", "rte/1", "rte/2")),
            "mrpc": Cell((Stat(88.609, 0.31, 3, 89.71, 0.3, -1.101), Stat(90.74, 0.28, 3, 90.74, 0.2, 0.0))),
        }
        lora = {
            "adapter": Cell((Stat(294_912, n=1),)),
            "rte": Cell((Stat(reference=74.92),), runs=("rte/3", "rte/4"), failures=("oom", "oom")),
            "mrpc": Cell((Stat(86.5, n=1), Stat(n=0))),
        }
        both = [Row(model, "RoCoFT-3-Row", ours, reference_title="paper"), Row(model, "LoRA", lora, variant="r=8")]
        rows += with_highlights(both, columns)
    conditions = {"Model": "some/model", "Data": "the hub, validation"}
    return Table("table1", "GLUE", columns, rows, "1", conditions, ["a note", "another"])


def hard_table() -> Table:
    """Every text of it is hard."""
    columns = [Column("n", HARD, (HARD,), unit=HARD), Column("why", HARD)]
    cells = {
        "n": Cell((Stat(1.0, reference=2.0, difference=-1.0),), failures=(HARD,)),
        "why": Cell(text=HARD, reference_text=HARD),
    }
    rows = [Row(HARD, HARD, cells, HARD, HARD), Row("*", "[x]", cells), Row("*", "\\\\", cells, reference_title="*")]
    return Table("a_b-é", HARD, columns, rows, HARD, {HARD: HARD}, [HARD, "[x]: u", "1. one", "# two"])
