"""Kernel analyses with wrong settings and damaged files; reports and rows that are not what they seem."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.fuzzing.damages import (
    BAD_JSON,
    ESCAPES,
    cut,
    special,
    tensors,
    write,
    wrong_tensors,
)
from tests.fuzzing.running import FEW_SHOT_RUN, Case, Damage
from tests.fuzzing.settings_cases import (
    RUN,
    SHORT_TRAINING,
    TRAIN,
    WRONG_FOR_ALL,
    WRONG_INTEGERS,
)


def occupied_report_case(rng: random.Random) -> Case:
    """Something else stands where a report has its files."""
    name = rng.choice(["index.html", "tables.md", "cells.csv", "figures"])

    def damage(folder: Path) -> None:
        (folder / "page").mkdir()
        if name == "figures":
            rng.choice([write("page/figures", "x"), lambda f: (f / "page/figures").symlink_to("../data")])(folder)
        else:
            (folder / "page" / name).mkdir()

    return Case(f"{name} is taken", ["report", "results", "--output", "page"], damage=damage)


def bomb_case(rng: random.Random) -> Case:
    """Rows in a small file that would fill the memory."""
    import gzip

    def columns(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 1_000_000]))
        table = pa.table({"sentence1": text, "sentence2": ["b"] * 4000, "label": [0] * 4000})
        (folder / "data/glue/rte/train.jsonl").unlink()
        pq.write_table(table, folder / "data/glue/rte/train.parquet", compression="zstd")

    packed = gzip.compress(bytes(300 * 2**20), 1)
    damage = rng.choice(
        [columns, write("data/glue/rte/train.jsonl", packed), write("data/glue/rte/train.jsonl", gzip.compress(packed))]
    )
    return Case("rows that become huge", [*TRAIN, *SHORT_TRAINING], damage=damage)


KERNELS = [
    "ntk",
    "--model",
    "masked-lm",
    "--task",
    "mr",
    "--shots",
    "4",
    "--seeds",
    "13",
    "--data-dir",
    "data",
    "--output",
    "kernels",
]
FEW_SHOT = "data/fewshot/mr/train.jsonl"
KERNEL_SETTINGS = ["shots", "rank", "lora_rank", "max_length", "first_limit", "batch_size", "max_test_rows"]
KERNEL_CHOICES = ["solver", "logits", "preset", "kernel", "selection", "precision", "tied", "kernels", "method"]

OF_RUN = ["ntk", "--output", "kernels", "--run"]
NO_RUNS = [RUN, "nosuch", "", "data", "model", "run.yaml", "/proc/self", "x" * 5_000]
WRONG_METHODS = ["nosuch", "rocoft,nosuch", "sft,nosuch", "x" * 5_000, ESCAPES, "rocoft;lora", "[lora]", "{name: lora}"]
BESIDE_A_RUN = [
    ["--methods", "nosuch"],
    ["--method", "lora"],
    ["--model", "model"],
    ["--task", "sst-2"],
    ["--rank", "0"],
]


def _damaged_run(rng: random.Random) -> Damage:
    name = rng.choice(
        ["record.json", "config.yaml", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    )
    file = f"{FEW_SHOT_RUN}/{name}"
    if name.endswith(".safetensors"):
        return rng.choice([tensors(file, wrong_tensors(rng)), cut(file, rng.random() * 0.95), special(file, rng)])
    return rng.choice([write(file, rng.choice(BAD_JSON)), cut(file, rng.random() * 0.9), special(file, rng)])


def kernels_case(rng: random.Random) -> Case:
    """Kernel analyses with settings that they cannot have, and of rows and models that are damaged."""
    wrong = [
        f"{rng.choice(KERNEL_SETTINGS)}={rng.choice([*WRONG_INTEGERS, '0'])}",
        f"{rng.choice(KERNEL_CHOICES)}={rng.choice([*WRONG_FOR_ALL, 'nosuch', ESCAPES])}",
        f"{rng.choice(['ridge', 'fraction', 'lora_alpha', 'memory_gib'])}={rng.choice(['-1', '.nan', 'x', '[]'])}",
        rng.choice(
            [
                "lora_rank=99999999999",
                "solver=published",
                "kernels=[]",
                "kernels=[trained]",
                "nosuch=1",
                "lora_targets=[nosuch]",
            ]
        ),
    ]
    row = '{"text": "A film", "label": 0}\n'
    contents = [
        "",
        row * 20,
        '{"text": null, "label": 0}\n',
        '{"text": "A film", "label": 9}\n',
        '{"label": 0}\n',
        "[" * 10_000,
    ]
    damages = [
        write(FEW_SHOT, rng.choice(contents)),
        special(FEW_SHOT, rng),
        cut("masked-lm/model.safetensors", rng.random()),
        special("masked-lm/config.json", rng),
        tensors("masked-lm/model.safetensors", wrong_tensors(rng)),
    ]
    compared = rng.choice(["run.yaml", "data", "model", "nosuch", "model/model.safetensors"])
    return rng.choice(
        [
            Case("ntk with a wrong setting", [*KERNELS, "--set", rng.choice(wrong)]),
            Case("ntk with a wrong setting", [*KERNELS, "--set", rng.choice(wrong)]),
            Case("ntk on damaged files", KERNELS, damage=rng.choice(damages)),
            Case(
                "ntk on another file",
                ["ntk", "--config", rng.choice(["run.yaml", "sweep.yaml", "model"]), "--output", "kernels"],
            ),
            Case("ntk compare", ["ntk", "compare", compared, compared]),
            Case("ntk of wrong methods", [*KERNELS, "--methods", rng.choice(WRONG_METHODS)]),
            Case("ntk of no few-shot run", [*OF_RUN, rng.choice([*NO_RUNS, ESCAPES])]),
            Case("ntk of a run and something else", [*OF_RUN, FEW_SHOT_RUN, *rng.choice(BESIDE_A_RUN)]),
            Case("ntk of a damaged run", [*OF_RUN, FEW_SHOT_RUN], damage=_damaged_run(rng)),
            Case("ntk beside a pipe", KERNELS, refused=False, damage=_pipe_beside_kernels),
        ]
    )


def _pipe_beside_kernels(folder: Path) -> None:
    (folder / "kernels/ntk-mr/other").mkdir(parents=True)
    os.mkfifo(folder / "kernels/ntk-mr/other/kernels.safetensors")
