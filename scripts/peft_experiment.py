"""Writes an experiment for PEFT's `method_comparison/MetaMathQA` suite from a config of RoCoFT.

    python scripts/peft_experiment.py CONFIG --suite peft/method_comparison/MetaMathQA [--set KEY=VALUE …]

The folder `experiments/rocoft/NAME` gets `adapter_config.json`, and `training_params.json` with the method's learning
rate and weight decay and what else the config states (`FIELDS`). What it leaves open stays as the suite's
`default_training_params.json` has it: a config of a method alone is the one whose result stands beside the suite's own.
The suite trains on MetaMathQA and tests on GSM8K in its own template, for its own number of steps, a tenth of them
warm-up: settings that say otherwise are named and not taken. Field names are those of PEFT at 5d602fdb.

What the suite needs of a method that is not part of PEFT:
  - PEFT has to know it before the experiment is read, so that this package is imported first, in the suite's folder:
        python -c "import rocoft_bench, runpy, sys; sys.argv.pop(0); runpy.run_path('run.py', run_name='__main__')" \\
            run.py -v experiments/rocoft/NAME
  - It calls nothing but `get_peft_model`, so rows and columns cannot be chosen by score, which takes `calibrate`.
  - A CUDA or XPU device and bitsandbytes, whatever the method; on another branch of PEFT's checkout than main its
    results go to `temporary_results`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rocoft_bench.config import Settings, find_config, read_settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.methods.rocoft import RESELECTION
from rocoft_bench.models import known_model
from rocoft_bench.models.linear_roles import ROLES
from rocoft_bench.runs import write_json
from rocoft_bench.tuner import RoCoFTConfig
from rocoft_bench.tuner.config import SCORED_SELECTIONS
from rocoft_bench.untrusted import read_json

DEFAULTS = "default_training_params.json"
OF_THE_SUITE = {"task": {"family": "math", "name": "gsm8k"}, "model": {"name": "meta-llama/Llama-3.2-3B"}}

FIELDS = {
    "model.name": "model_id",
    "model.dtype": "dtype",
    "task.max_length": "max_seq_length",
    "training.batch_size": "batch_size",
    "training.gradient_accumulation": "batch_size",
    "training.eval_batch_size": "batch_size_eval",
    "training.gradient_checkpointing": "use_gc",
    "training.max_grad_norm": "grad_norm_clip",
    "training.lr_scheduler": "lr_scheduler",
    "training.precision": "use_amp",
    "seed": "seed",
}
"""Settings that the suite has too, and its names for them."""

TAKEN = {*FIELDS, "training.learning_rate", "training.weight_decay", "task.family", "task.name"}


def training_params(experiment: Experiment, stated: set[str]) -> dict[str, Any]:
    """The suite's fields. stated: dotted keys of the settings that the config states.

    Raises: UserError for a schedule that the suite has not.
    """
    config, training = experiment.config, experiment.config.training
    if training.lr_scheduler == "linear":
        raise UserError("training.lr_scheduler = linear: the suite has cosine and constant")
    known = known_model(config.model.name)
    values = {
        "model_id": known.hub_id if known else config.model.name,
        "dtype": config.model.dtype,
        "max_seq_length": config.task.max_length,
        "batch_size": training.batch_size * training.gradient_accumulation,
        "batch_size_eval": training.eval_batch_size,
        "use_gc": training.gradient_checkpointing,
        "grad_norm_clip": training.max_grad_norm or 0.0,
        "lr_scheduler": "cosine" if training.lr_scheduler == "cosine" else None,
        "use_amp": training.precision != "fp32",
        "seed": config.seed,
    }
    optimizer = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    chosen = {field: values[field] for setting, field in FIELDS.items() if setting in stated}
    return {**chosen, "optimizer_type": "AdamW", "optimizer_kwargs": optimizer}


def adapter_config(experiment: Experiment) -> RoCoFTConfig:
    """Raises: UserError if it is of another method, or the suite has no way to prepare it."""
    method = experiment.method
    if method.name != "rocoft":
        raise UserError(
            f"method {method.name}: only rocoft is written here; the suite has experiments of PEFT's methods"
        )
    values = method.settings.model_dump(exclude=set(method.ignored_settings))
    if values.get("selection") in SCORED_SELECTIONS:
        raise UserError(
            f"method.selection = {values['selection']}: the suite never calls `calibrate`; use first or random"
        )
    if values.pop("reselect_every", None) is not None:
        raise UserError("method.reselect_every: the suite's loop chooses nothing anew; leave it out")
    values = {key: value for key, value in values.items() if key not in RESELECTION}
    targets = values["target_modules"]
    if isinstance(targets, list) and (roles := sorted(set(targets).intersection(ROLES))):
        raise UserError(f"method.target_modules: {', '.join(roles)}: name the model's modules, e.g. q_proj")
    return RoCoFTConfig(seed=experiment.config.seed, **values)


def read(config: str, assignments: list[str]) -> tuple[Settings, set[str]]:
    """The settings of a config, and which of them it states; what else has to be there is as in the suite."""
    settings = read_settings(find_config(config))
    settings.assign(assignments)
    stated = set(settings.sources)
    for group, values in OF_THE_SUITE.items():
        if group not in settings.values:
            settings.update({group: values}, "the suite")
    return settings, stated


def write_experiment(config: str, suite: Path, assignments: list[str]) -> Path:
    """Raises: UserError if the config or the suite cannot be used."""
    settings, stated = read(config, assignments)
    experiment = resolve(settings)
    if experiment.task.kind != "causal_lm":
        raise UserError(f"{config}: a {experiment.task.kind} task; the suite's models are causal language models")
    adapter, params = adapter_config(experiment), training_params(experiment, stated)
    if unknown := sorted(params.keys() - read_json(suite / DEFAULTS).keys()):
        raise UserError(f"{suite / DEFAULTS}: of another version of the suite, without {', '.join(unknown)}")
    model = Path(params.get("model_id", OF_THE_SUITE["model"]["name"])).name
    folder = suite / "experiments" / "rocoft" / f"{model}-{experiment.method.label}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    adapter.save_pretrained(str(folder))
    write_json(folder / "training_params.json", params)
    if left := sorted(key for key in stated - TAKEN if not key.startswith("method.")):
        print(f"not taken, the suite has its own: {', '.join(left)}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a YAML file of a run, or the name of one that ships")
    parser.add_argument("--suite", type=Path, required=True, help="PEFT's method_comparison/MetaMathQA")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        folder = write_experiment(args.config, args.suite, args.assignments)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"written: {folder}\n{json.dumps(read_json(folder / 'training_params.json'))}")


if __name__ == "__main__":
    main()
