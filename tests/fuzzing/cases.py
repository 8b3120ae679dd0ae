"""Commands, settings and files that are wrong in ways that people and disks make them; each made of a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzzing.running import Case, Damage

ESCAPES = "\x1b[31mred\x07"
NAMES = ["m[/b]", "[bold]x", ESCAPES, "x" * 300, "~nosuchuser/x", "caf\udce9", "a\nb", "../" * 50 + "x", " ", "\u202ex"]
BROKEN_YAML = [
    "[" * 100_000,
    "{" * 1_000,
    "!!int x",
    "!!python/object:os.system x",
    "*nobody",
    "&a [*a]",
    "]",
    "'open",
    "a: b: c",
    "9" * 5_000,
    "0x_",
    "010",
    "1:30",
    "!!timestamp 2020-13-45",
    "\x07",
]
BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MANY_KEYS = "".join(f"k{i}: 1\n" for i in range(100_000))
WRONG_FOR_ALL = [*BROKEN_YAML, "{a: 1}", "[[1]]"]
WRONG_NUMBERS = [*WRONG_FOR_ALL, "true", "no", "x", ".nan", ".inf", "2020-13-45", "-1", "1e30x", ESCAPES, "'1,5'"]
INTEGERS = [
    "training.epochs",
    "training.batch_size",
    "training.eval_batch_size",
    "training.gradient_accumulation",
    "seed",
    "training.warmup_steps",
    "task.max_length",
    "task.max_train_rows",
    "task.max_eval_rows",
    "method.rank",
]
WRONG_INTEGERS = [*WRONG_NUMBERS, "1.5", "9223372036854775808", "1" + "0" * 30, "1e30"]
FLOATS = ["training.learning_rate", "training.weight_decay", "training.checkpoint_seconds", "method.probability"]
CHOICES = ["training.lr_scheduler", "training.precision", "training.keep", "model.dtype", "method.mode"]
UNKNOWN_KEYS = [
    "training.epoch",
    "nosuch",
    "task.name.x",
    "a." * 200 + "b",
    ESCAPES,
    "method",
    "training",
    "task",
    "model",
]
TARGETS = ["'('", "'*'", "'[a'", "'(([a-z._0-9]+)+)+!'", "[query, nosuch]", "[]", "''", "'x{9999999999}'", "5", "[1]"]


WRONG_FOR_A_MODEL = [f"method.target_modules={text}" for text in ("'(([a-z._0-9]+)+)+!'", "[query, nosuch]")]
"""Refused once there is a model."""


def wrong_assignment(rng: random.Random) -> str:
    """`key=value` that no run can have."""
    kind = rng.randrange(6)
    if kind == 0:
        return f"{rng.choice(INTEGERS)}={rng.choice(WRONG_INTEGERS)}"
    if kind == 1:
        return f"{rng.choice(FLOATS)}={rng.choice(WRONG_NUMBERS)}"
    if kind == 2:
        return f"{rng.choice(CHOICES)}={rng.choice([*WRONG_FOR_ALL, 'nosuch', '1', 'null', ESCAPES])}"
    if kind == 3:
        return f"{rng.choice(UNKNOWN_KEYS)}={rng.choice(['1', 'x', 'true', *BROKEN_YAML])}"
    if kind == 4:
        return f"method.target_modules={rng.choice(TARGETS)}"
    return rng.choice(["", "=", "x", "=1", "training.epochs", ESCAPES])


def special_file(path: Path, rng: random.Random) -> None:
    """Put something that is no file in a file's place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    kind = rng.choice(["pipe", "folder", "device", "missing", "circle"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path.name)


def write(name: str, content: bytes | str) -> Damage:
    return lambda folder: _write(folder / name, content)


def _write(path: Path, content: bytes | str) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors="surrogateescape"))


def special(name: str, rng: random.Random) -> Damage:
    return lambda folder: special_file(folder / name, rng)


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return damage


def edited(name: str, change: Callable[[Any], Any]) -> Damage:
    """A JSON file with its value changed."""

    def damage(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        path.write_text(json.dumps(change(value)))

    return damage


def with_keys(**changes: Any) -> Callable[[Any], Any]:
    return lambda value: {**value, **changes}


BAD_JSON = [
    "",
    "null",
    "[]",
    "5",
    '"x"',
    "{",
    '{"a": 1',
    "[" * 100_000,
    "\x00\x01",
    '{"a": NaN}',
    '{"a": ' + "9" * 5_000 + "}",
]
BAD_BYTES = [b"\xff\xfe" + "seed: 1".encode("utf-16-le"), b"seed: \xe9", b"\x00" * 100, b"\x89PNG\r\n\x1a\n"]


TRAIN = ["train", "glue", "--config", "run.yaml", "--output", "out/run"]
RUN = "results/run"
COMMANDS_ON_SETTINGS = [
    TRAIN,
    ["validate", "run.yaml"],
    ["validate", "sweep.yaml"],
    ["sweep", "sweep.yaml", "--dry-run"],
]
COMMANDS_ON_RUNS = [
    ["predict", RUN, "--text", "the cat", "--text-pair", "a dog"],
    ["evaluate", RUN, "--set", "task.max_eval_rows=5"],
    ["export", RUN, "--output", "out"],
]
SHORT_TRAINING = ["--set", "task.max_train_rows=32", "--set", "task.max_eval_rows=4"]


def settings_case(rng: random.Random) -> Case:
    text = wrong_assignment(rng)
    arguments = rng.choice(COMMANDS_ON_SETTINGS)
    refused = arguments is TRAIN or text not in WRONG_FOR_A_MODEL
    return Case(f"--set {text[:60]}", [*arguments, "--set", text], refused)


def filter_case(rng: random.Random) -> Case:
    text = rng.choice(
        ["", "=", "method", "method=", "nosuch=1", f"method={rng.choice(BROKEN_YAML)}", f"seed={ESCAPES}"]
    )
    return Case(f"--filter {text[:60]}", ["sweep", "sweep.yaml", "--dry-run", "--filter", text])


def yaml_case(rng: random.Random) -> Case:
    """A settings file that cannot be used, for each command that reads one."""
    name, arguments = rng.choice(
        [
            ("run.yaml", TRAIN),
            ("run.yaml", ["validate", "run.yaml"]),
            ("run.yaml", ["sweep", "sweep.yaml", "--dry-run"]),
            ("run.yaml", ["prefetch", "run.yaml"]),
            ("sweep.yaml", ["validate", "sweep.yaml"]),
            ("sweep.yaml", ["sweep", "sweep.yaml", "--dry-run"]),
        ]
    )
    return Case(f"{name} of {arguments[0]}", arguments, damage=broken_yaml(name, rng))


def broken_yaml(name: str, rng: random.Random) -> Damage:
    broken = rng.choice(BROKEN_YAML)
    contents = [
        *BAD_BYTES,
        broken,
        f"training: {broken}",
        f"task: {{family: glue, name: rte}}\nseed: {broken}",
        "",
        "- 1",
        "5",
        "seed: 1\nseed: 2",
        "include: [run.yaml, sweep.yaml]",
        "include: 5",
        "include: absent.yaml",
        BOMB,
        MANY_KEYS,
        "task: {family: glue, name: nosuch}",
        "task: {family: glue}",
        f"{ESCAPES}: 1",
        "axes: {}",
        "axes: {seed: 1}",
    ]
    return rng.choice([write(name, rng.choice(contents)), special(name, rng), doubling_includes(name)])


def doubling_includes(name: str) -> Damage:
    """Each of 60 files includes the next one twice; the last is missing."""

    def damage(folder: Path) -> None:
        for number in range(60):
            _write(folder / f"i{number}.yaml", f"include: [i{number + 1}.yaml, i{number + 1}.yaml]")
        _write(folder / name, "include: i0.yaml")

    return damage


def mutated_yaml_case(rng: random.Random) -> Case:
    """Some characters of a settings file changed: it may still be right."""

    def damage(folder: Path) -> None:
        text = list((folder / "run.yaml").read_text())
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text))
            text[place] = rng.choice(
                ["", "\t", "\n", ":", "[", "]", "{", "&", "*", "!", "0", "-", "\x07", "é", "'", " "]
            )
        _write(folder / "run.yaml", "".join(text))

    return Case("mutated run.yaml", ["validate", "run.yaml"], refused=False, damage=damage)


def rows_case(rng: random.Random) -> Case:
    name = f"data/glue/rte/{rng.choice(['train', 'validation'])}.jsonl"
    good = '{"sentence1": "a", "sentence2": "b", "label": 1}\n'
    lines = [
        '{"sentence1": "a", "sentence2": "b"}',
        '{"sentence1": 5, "sentence2": "b", "label": 1}',
        '{"sentence1": "a"',
        '{"sentence1": "a", "sentence2": "b", "label": 7}',
        '{"sentence1": "a", "sentence2": "b", "label": "x"}',
        "[1]",
        '{"sentence1": "a", "sentence2": "b", "label": null}',
        "[" * 100_000,
        '{"a\\u001b[31m": 1}',
        "5",
        "null",
        '{"sentence1": "a", "sentence2": null, "label": 1}',
        '{"sentence1": "a", "sentence2": "b", "label": NaN}',
        '{"sentence1": "a", "sentence2": "b", "label": ' + "9" * 5_000 + "}",
    ]
    damages = [
        write(name, good * rng.randint(1, 5) + rng.choice(lines)),
        write(name, ""),
        special(name, rng),
        write(name, good.encode() + rng.choice([b'{"sentence1": "\xe9"}', b"\x00\x00", b"\xff\xfe{"])),
    ]
    return Case(f"rows {name}", [*TRAIN, *SHORT_TRAINING], damage=rng.choice(damages))


def model_case(rng: random.Random) -> Case:
    weights, config = "model/model.safetensors", "model/config.json"
    damages = [
        write(config, rng.choice(BAD_JSON)),
        special(config, rng),
        special(weights, rng),
        cut(weights, rng.random()),
        write(weights, rng.choice([b"", b"\x00" * 50, rng.randbytes(64)])),
        cut("model/tokenizer.json", rng.random() * 0.9),
        write("model/tokenizer.json", rng.choice(BAD_JSON)),
        edited(config, with_keys(hidden_size=rng.choice([0, -1, 17, "x", None, 10**12, [1]]))),
        edited(config, with_keys(num_attention_heads=rng.choice([0, -1, 3, "x", None]))),
        edited(config, with_keys(vocab_size=rng.choice([0, -1, 5, "x", None]))),
        edited(config, with_keys(model_type=rng.choice(["nosuch", "", None, 5, ESCAPES, [1]]))),
        edited(config, lambda value: {key: value[key] for key in value if key != "model_type"}),
    ]
    return Case("damaged model", [*TRAIN, *SHORT_TRAINING], damage=rng.choice(damages))


def run_case(rng: random.Random) -> Case:
    """A finished run with a damaged adapter, config or record."""
    arguments = rng.choice(COMMANDS_ON_RUNS)
    weights, config = f"{RUN}/adapter/adapter_model.safetensors", f"{RUN}/adapter/adapter_config.json"
    record, settings = f"{RUN}/record.json", f"{RUN}/config.yaml"
    damages = [
        cut(weights, rng.random()),
        write(weights, rng.choice([b"", b"\x00" * 50])),
        special(weights, rng),
        write(config, rng.choice(BAD_JSON)),
        special(config, rng),
        special(f"{RUN}/adapter", rng),
        edited(config, with_keys(peft_type=rng.choice(["LORA", "NOSUCH", None, 5, ESCAPES]))),
        edited(config, with_keys(target_modules=rng.choice(["(", "(([a-z._0-9]+)+)+!", [], ["nosuch"], 5]))),
        edited(config, with_keys(r=rng.choice([0, -1, "x", 10**12]), rank=rng.choice([0, -1, "x", 10**12]))),
        write(record, rng.choice(BAD_JSON)),
        special(record, rng),
        cut(record, rng.random()),
        write(settings, rng.choice(BROKEN_YAML)),
        special(settings, rng),
        write(settings, rng.choice(BAD_BYTES)),
        edited(record, with_keys(status=rng.choice(["failed", "nosuch", None, ESCAPES]))),
    ]
    return Case(f"damaged run for {arguments[0]}", arguments, damage=rng.choice(damages))


def tensors(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    """A file of tensors with others in their place."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / name
        path.write_bytes(path.read_bytes())  # the copy shares no mapping with what is replaced
        changed = change({key: value.clone() for key, value in load_file(path).items()})
        save_file(changed, path, metadata={"format": "pt"})

    return damage


def wrong_tensors(rng: random.Random) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """One tensor left out, renamed, of another shape, or not finite."""
    kind = rng.randrange(4)

    def change(values: dict[str, Any]) -> dict[str, Any]:
        key = rng.choice(sorted(key for key in values if "pooler" not in key))
        if kind == 0:
            del values[key]
        elif kind == 1:
            values[f"{key}.{ESCAPES}"] = values.pop(key)
        elif kind == 2:
            values[key] = values[key].repeat(*([2] * values[key].dim()))
        else:
            values[key] = values[key].float() * float("nan")
        return values

    return change


def tensors_case(rng: random.Random) -> Case:
    """Trained values or a model that are not whole."""
    if rng.random() < 0.6:
        arguments = rng.choice(COMMANDS_ON_RUNS)
        damage = tensors(f"{RUN}/adapter/adapter_model.safetensors", wrong_tensors(rng))
        return Case(f"wrong tensors for {arguments[0]}", arguments, damage=damage)
    damage = tensors("model/model.safetensors", wrong_tensors(rng))
    return Case("wrong tensors of a model", [*TRAIN, *SHORT_TRAINING], damage=damage)


def shipped_case(rng: random.Random) -> Case:
    """A shipped file of each family with a setting that it cannot have."""
    files = [
        "squad/v1.1.yaml",
        "summarization/xsum.yaml",
        "commonsense/boolq.yaml",
        "math/gsm8k.yaml",
    ]
    key = rng.choice([*INTEGERS[:5], "task.max_length", "task.max_new_tokens", "task.num_beams", "task.n_best"])
    text = f"{key}={rng.choice(WRONG_INTEGERS)}" if rng.random() < 0.7 else wrong_assignment(rng)
    refused = text not in WRONG_FOR_A_MODEL
    return Case(f"shipped --set {text[:60]}", ["validate", rng.choice(files), "--set", text], refused)


def other_forms_of_rows_case(rng: random.Random) -> Case:
    """CSV, tab-separated, JSON and Parquet in place of JSON Lines, each damaged."""
    ending, content = rng.choice(
        [
            ("csv", "sentence1,sentence2,label\na,b\n"),
            ("csv", "sentence1,sentence2\na,b\n"),
            ("csv", "sentence1,sentence1,sentence2,label\na,a,b,1\n"),
            ("csv", 'sentence1,sentence2,label\n"a,b,1\n'),
            ("csv", f"sentence1,{ESCAPES},label\na,b,1\n"),
            ("csv", "sentence1,sentence2,label\na,b,7\n"),
            ("tsv", "sentence1\tsentence2\tlabel\na\tb\n"),
            ("json", "{}"),
            ("json", "[1, 2]"),
            ("json", "[" * 100_000),
            ("parquet", "PAR1 no parquet PAR1"),
            ("parquet", ""),
        ]
    )

    def damage(folder: Path) -> None:
        split = folder / "data/glue/rte" / rng.choice(["train", "validation"])
        split.with_suffix(".jsonl").unlink()
        _write(split.with_suffix(f".{ending}"), content)

    return Case(f"rows in .{ending}", [*TRAIN, *SHORT_TRAINING], damage=damage)


def hostile_record_case(rng: random.Random) -> Case:
    """A record that can be read, with texts that a terminal would obey."""
    text = rng.choice([ESCAPES, "[bold]x[/b]", "=cmd()", "\u202ex", "<script>"])
    changes = rng.choice(
        [{"notes": [text]}, {"label": text}, {"error": text, "status": "failed"}, {"protocol": text}, {"hint": text}]
    )
    damage = edited(f"{RUN}/record.json", with_keys(**changes))
    return Case("hostile record for report", ["report", "results"], refused=False, damage=damage)


def report_case(rng: random.Random) -> Case:
    record = f"{RUN}/record.json"
    damages = [
        write(record, rng.choice(BAD_JSON)),
        special(record, rng),
        cut(record, rng.random() * 0.95),
        edited(record, with_keys(status=ESCAPES)),
        edited(record, with_keys(metrics={"accuracy": 1e30})),
        edited(record, with_keys(train_seconds=rng.choice([1e24, -1, "x"]))),
        edited(record, with_keys(nosuch=1)),
    ]
    return Case("damaged record for report", ["report", "results"], damage=rng.choice(damages))


def other_files_of_a_run_case(rng: random.Random) -> Case:
    """What a report can do without."""
    name = rng.choice(["config.yaml", "history.jsonl", "predictions.jsonl", "provenance.json"])
    bad = rng.choice([*BAD_JSON, *BROKEN_YAML])
    damage = rng.choice([write(f"{RUN}/{name}", bad), special(f"{RUN}/{name}", rng)])
    return Case(f"damaged {name} for report", ["report", "results"], refused=False, damage=damage)


def hostile_names_case(rng: random.Random) -> Case:
    """Names that a terminal, a file system or markup would take for something else."""
    name = rng.choice([*NAMES, ""])
    arguments = rng.choice(
        [
            [*TRAIN, "--model", name],
            [*TRAIN, "--method", name],
            [*TRAIN, "--task", name],
            [*TRAIN, "--mode", name],
            ["train", name],
            ["train", "glue", "--task", "rte", "--config", name],
            ["validate", name],
            ["sweep", name],
            ["report", name],
            ["predict", name, "--text", "x"],
            ["evaluate", name],
            ["export", name],
            ["ls", name],
            ["params", "--model", name],
            ["params", "--method", name],
            ["prefetch", name],
            [name],
            ["evaluate", RUN, "--task", name],
            [*TRAIN, "--data-dir", name],
            ["predict", RUN, "--text", "x", f"--{name}"],
            [*TRAIN, "--config-file", name],
            ["sweep", "sweep.yaml", "--dry-run", "--config-file", name],
        ]
    )
    return Case(f"{arguments[0][:20]} {name[:20]}", arguments)


def options_case(rng: random.Random) -> Case:
    number = rng.choice(
        ["-1", "0", "1e3", "x", "9" * 5_000, "1" + "0" * 30, "nan", ESCAPES, "99999999", "9223372036854775808"]
    )
    arguments = rng.choice(
        [
            [*TRAIN, "--rank", number],
            [*TRAIN, "--epochs", number],
            [*TRAIN, "--batch-size", number],
            [*TRAIN, "--num-processes", rng.choice(["-1", "0", "x", "99999999", "1" + "0" * 30])],
            [*TRAIN, "--num-machines", rng.choice(["-1", "0", "x"])],
            [*TRAIN, "--main-process-port", number],
            [*TRAIN, "--machine-rank", rng.choice(["-1", "1", "x"])],
            [*TRAIN, "--main-process-ip", "10.0.0.1"],
            [*TRAIN, "--learning-rate", rng.choice(["-1", "0", "x", "nan", "inf"])],
            [*TRAIN, "--seed", rng.choice(["-1", "4294967296"])],
            [*TRAIN, "--mode", "random", "--rank", "2"],
            [*TRAIN, "--mode", "random", "--selection", "max"],
            [*TRAIN, "--set", "method.probability=0.5"],
            [*TRAIN[:-2], "--output", ""],
            [*TRAIN[:-2], "--output", "/proc/x"],
            ["sweep", "sweep.yaml", "--dry-run", "--jobs", rng.choice(["-1", "0", "x"])],
            ["sweep", "sweep.yaml", "--dry-run", "--timeout-minutes", rng.choice(["-1", "0", "nan", "inf", "x"])],
            ["demo", "--family", "nosuch"],
            ["demo", "--seed", "x"],
            ["export", RUN, "--merged"],
            ["evaluate", RUN, "--task", "cola"],
            ["predict", RUN, "--text", "x"],
            ["report", "results", "--output", ""],
            ["ls"],
            ["params", "extra"],
        ]
    )
    return Case(f"{' '.join(arguments)[:60]}", arguments)


def right_case(rng: random.Random) -> Case:
    """What is right must not be refused, and what it prints be clean."""
    arguments = rng.choice(
        [
            ["ls", "tasks"],
            ["ls", "methods"],
            ["validate", "run.yaml"],
            ["params", "--method", "lora"],
            ["report", "results"],
            COMMANDS_ON_RUNS[0],
        ]
    )
    return Case(f"right: {arguments[0]}", arguments, refused=False)


MAKERS = (
    *(settings_case,) * 4,
    *(yaml_case,) * 3,
    *(hostile_names_case,) * 3,
    *(options_case,) * 2,
    *(rows_case,) * 2,
    *(model_case,) * 2,
    *(run_case,) * 4,
    *(tensors_case,) * 2,
    *(other_forms_of_rows_case,) * 2,
    shipped_case,
    hostile_record_case,
    report_case,
    other_files_of_a_run_case,
    mutated_yaml_case,
    filter_case,
    right_case,
)


def make_case(seed: int) -> Case:
    """The case of a seed."""
    rng = random.Random(seed)
    return rng.choice(MAKERS)(rng)
