"""Settings that are wrong, in arguments and in files, and the commands that read them."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzzing.damages import (
    ESCAPES,
    special,
    write,
    write_to,
)
from tests.fuzzing.running import Case, Damage

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
            write_to(folder / f"i{number}.yaml", f"include: [i{number + 1}.yaml, i{number + 1}.yaml]")
        write_to(folder / name, "include: i0.yaml")

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
        write_to(folder / "run.yaml", "".join(text))

    return Case("mutated run.yaml", ["validate", "run.yaml"], refused=False, damage=damage)


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
