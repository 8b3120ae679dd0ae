"""Make one of the small models that ship with the package, from nothing.

    python scripts/pretrain_demo_models.py llama --output rocoft_bench/demo/models/llama

The text to learn from is made by rules, from a seed. A model takes one core 15 to 45 minutes. The training log goes to
scripts/logs/pretrain_NAME.jsonl. Another machine gets other weights from the same seed, since its float sums differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

LOGS = Path(__file__).parent / "logs"

RECIPES = {"bart": "pretraining.bart", "llama": "pretraining.llama", "roberta": "pretraining.roberta"}
"""Name of a model to the module whose `make(output, log_path, steps)` trains and saves it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--output", type=Path, required=True, help="folder to write the model and its tokenizer to")
    parser.add_argument("--steps", type=int, help="fewer steps, to try a recipe; default: the recipe's own")
    parser.add_argument("--log", type=Path, help="default: scripts/logs/pretrain_NAME.jsonl")
    args = parser.parse_args()
    make: Callable[[Path, Path, int | None], None] = import_module(RECIPES[args.name]).make
    make(args.output, args.log or LOGS / f"pretrain_{args.name}.jsonl", args.steps)


if __name__ == "__main__":
    main()
