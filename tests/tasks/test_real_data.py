"""The real GLUE rows, where they are at hand: all of them load."""

import os
from pathlib import Path

import pytest

from rocoft_bench.tasks import get

DATA_DIR = Path(os.environ.get("ROCOFT_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not (DATA_DIR / "glue").is_dir(),
    reason=f"no GLUE rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above glue/",
)

ROWS = {
    "rte": (2490, 277),
    "cola": (8551, 1043),
    "mrpc": (3668, 408),
    "stsb": (5749, 1500),
    "sst2": (67349, 872),
    "qnli": (4000, 5463),
    "mnli": (4000, 9815),
    "qqp": (4000, 1000),
}


@pytest.mark.parametrize("name", ROWS)
def test_real_rows_load(name: str) -> None:
    task = get("glue", name)
    train, evaluation = (task.load(split, DATA_DIR) for split in (task.train_split, task.eval_split))
    assert (len(train.examples), len(evaluation.examples)) == ROWS[name]
    assert train.examples.column_names == [*task.text_columns, "label"]
    assert train.origin["sha256"] != evaluation.origin["sha256"]


def test_a_constant_answer_scores_the_share_of_its_label() -> None:
    task = get("glue", "mrpc")
    labels = task.load("validation", DATA_DIR).examples["label"][:]
    assert task.score([1] * len(labels), labels)["accuracy"] == pytest.approx(279 / 408)
