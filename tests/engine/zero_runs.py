"""A program of two processes (or one) that trains a small model; `test_zero.py` compares what it finds.

python zero_runs.py FOLDER, by torch's launcher with the environment that accelerate's makes for DeepSpeed. Leaves
FOLDER/found.json.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from shared_runs import rocoft_model, trained
from torch import nn

from rocoft_bench.engine.accelerator import make_accelerator
from rocoft_bench.engine.processes import Processes


def model() -> Any:
    """With a trained vector of odd length, of which two processes cannot hold equal parts."""
    model = rocoft_model("row")
    head = model.get_output_embeddings()
    head.bias = nn.Parameter(torch.zeros(head.out_features))
    return model


def main() -> None:
    folder = Path(sys.argv[1])
    if "RANK" in os.environ:
        PartialState(backend="gloo")  # accelerate itself expects GPUs
    processes = Processes.joined()
    settings: dict[str, Any] = {"gradient_accumulation": 3, "keep": "best", "max_grad_norm": 0.05}
    settings |= {"checkpoint_seconds": 1e-6, "weight_decay": 0.1}
    with suppress(RuntimeError):
        trained(folder, processes, make_accelerator("fp32"), model(), False, crash=3, **settings)
    assert (folder / "checkpoint.safetensors").exists()
    found = trained(folder, processes, make_accelerator("fp32"), model(), False, **settings)
    if processes.is_main:
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
