"""How the trained values of a card are loaded: code that a reader can paste."""

from __future__ import annotations

from rocoft_bench.experiment.card.facts import Facts
from rocoft_bench.experiment.card.markdown import block, code
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.models import AUTO_CLASSES
from rocoft_bench.models.pretrained import NORM_EPS_FIELDS

EMBEDDED_IMPORTS = ("from rocoft_bench.config import ModelConfig", "from rocoft_bench.models import locate")
"""For a base model that comes in a package."""


def how_to_use(facts: Facts) -> str:
    """The section's text, by the form and by what the method needs beside the saved values."""
    if facts.form == "merged":
        return block(_merged_code(facts), "python")
    if facts.form == "peft" and _peft_alone_loads(facts):
        lead = "With rocoft-bench, inputs are written and answers read as in the evaluation:"
        return "\n\n".join([block(_peft_code(facts), "python"), *_notes_on_base(facts), lead, _commands(facts)])
    return "\n\n".join([_why_not_alone(facts), _commands(facts), *_notes_on_base(facts)])


def _peft_alone_loads(facts: Facts) -> bool:
    """Whether the method needs nothing beside `PeftModel.from_pretrained`, on a base that is loaded as usual."""
    method = facts.experiment.method
    return type(method).load is AdapterMethod.load and not method.loading_options


def _peft_code(facts: Facts) -> str:
    auto_class = AUTO_CLASSES[facts.experiment.task.kind]
    base, config = facts.base, facts.experiment.config
    at = f", revision={base.revision!r}" if base.revision else ""
    registers = ["import rocoft_bench  # makes the method known to PEFT"]
    lines = [
        *(registers if facts.experiment.method.provider == "rocoft-bench" else []),
        "from peft import PeftModel",
        f"from transformers import AutoConfig, {auto_class}, AutoTokenizer",
        *(EMBEDDED_IMPORTS if base.kind == "embedded" else []),
        "",
        f"base = {base.expression}",
        f"config = AutoConfig.from_pretrained(base{at})",
        *(f"config.{key} = {value!r}" for key, value in facts.experiment.task.model_options.items()),
        *_norm_eps(config.model.norm_eps),
        f"model = {auto_class}.from_pretrained(base{at}, config=config, dtype={config.model.dtype!r})",
        f"model = PeftModel.from_pretrained(model, {_here(facts)!r}).eval()",
        f"tokenizer = AutoTokenizer.from_pretrained(base{at})",
    ]
    return "\n".join(lines)


def _norm_eps(value: float | None) -> list[str]:
    names = " = ".join(f"config.{name}" for name in NORM_EPS_FIELDS)
    return [] if value is None else [f"{names} = {value!r}  # a model reads one of them"]


def _merged_code(facts: Facts) -> str:
    auto_class = AUTO_CLASSES[facts.experiment.task.kind]
    return "\n".join(
        [
            f"from transformers import {auto_class}, AutoTokenizer",
            "",
            f"model = {auto_class}.from_pretrained({_here(facts)!r}).eval()",
            f"tokenizer = AutoTokenizer.from_pretrained({_here(facts)!r})",
        ]
    )


def _here(facts: Facts) -> str:
    return facts.repo_id or "path/to/this/folder"


def _why_not_alone(facts: Facts) -> str:
    if facts.form == "own":
        return "The values are saved in rocoft-bench's own format, which its command line loads:"
    return "PEFT alone does not set the model up as the method does; rocoft-bench's command line does:"


def _commands(facts: Facts) -> str:
    """The command line of this package."""
    task, method = facts.experiment.task, facts.experiment.method
    run = facts.repo_id.rpartition("/")[2] if facts.repo_id else "RUN"
    options = zip(("--text", "--text-pair"), task.text_columns, strict=False)
    texts = " ".join(f'{option} "{column.upper()}"' for option, column in options)
    lines = [f"hf download {facts.repo_id} --local-dir {run}"] if facts.repo_id else []
    lines += [f"rocoft predict {run} {texts}"]
    lines += [f"rocoft export {run} --output merged  # a plain model for transformers"] if method.mergeable else []
    about = "" if facts.repo_id else f"\n\n{code('RUN')} is the folder of the run, above this one."
    return block("\n".join(lines), "sh") + about


def _notes_on_base(facts: Facts) -> list[str]:
    """For a base model that only its owner has."""
    if facts.base.kind in ("hub", "embedded"):
        return []
    edit = f"; for the command line, set {code('model.name')} in {code('config.yaml')}" if facts.repo_id else ""
    return [f"The base model is a local folder, {code(facts.base.name)}; put the path to it in{edit}."]
