"""What one training step costs: RoCoFT against a frozen model, LoRA and full fine-tuning, on RoBERTa-base's sizes.

    python scripts/bench_step.py --repeats 10

`rocoft bench` with a few methods and no file; that command explains what is timed and what is counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from rocoft_bench.cli.bench import measured_and_shown
from rocoft_bench.config import Settings
from rocoft_bench.efficiency.bench_settings import SECTION, benches_of
from rocoft_bench.engine.warning_filters import silence_library_warnings

ALL_LINEAR = ["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=10, help="timed steps of each method")
    parser.add_argument("--output", type=Path, help="keep the records below this folder")
    args = parser.parse_args()
    silence_library_warnings()
    settings = {
        "models": [{"name": "roberta-base", "num_hidden_layers": args.layers}],
        "methods": [
            {"name": "rocoft", "mode": "row", "rank": args.rank},
            {"name": "rocoft", "mode": "column", "rank": args.rank},
            {"name": "lora", "target_modules": ALL_LINEAR},
            "full",
        ],
        "shapes": [[args.batch_size, args.length]],
        "turns": args.repeats,
    }
    with TemporaryDirectory() as folder:
        for group in benches_of(Settings({SECTION: settings})):
            measured_and_shown(group, args.output or Path(folder), force=True)


if __name__ == "__main__":
    main()
