"""Commands, settings and files that are wrong in ways that people and disks make them; each made of a seed."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzzing.damages import (
    BAD_JSON,
    ESCAPES,
    cut,
    edited,
    special,
    swapped,
    tensors,
    with_keys,
    without_vocabulary,
    write,
    write_to,
    wrong_tensors,
)
from tests.fuzzing.kernel_cases import bomb_case, kernels_case, occupied_report_case
from tests.fuzzing.running import Case
from tests.fuzzing.settings_cases import (
    BAD_BYTES,
    BROKEN_YAML,
    COMMANDS_ON_RUNS,
    RUN,
    SHORT_TRAINING,
    TRAIN,
    filter_case,
    mutated_yaml_case,
    settings_case,
    shipped_case,
    yaml_case,
)

NAMES = ["m[/b]", "[bold]x", ESCAPES, "x" * 300, "~nosuchuser/x", "caf\udce9", "a\nb", "../" * 50 + "x", " ", "\u202ex"]


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


def tensors_case(rng: random.Random) -> Case:
    """Trained values or a model that are not whole."""
    if rng.random() < 0.6:
        arguments = rng.choice(COMMANDS_ON_RUNS)
        damage = tensors(f"{RUN}/adapter/adapter_model.safetensors", wrong_tensors(rng))
        return Case(f"wrong tensors for {arguments[0]}", arguments, damage=damage)
    damage = tensors("model/model.safetensors", wrong_tensors(rng))
    return Case("wrong tensors of a model", [*TRAIN, *SHORT_TRAINING], damage=damage)


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
        write_to(split.with_suffix(f".{ending}"), content)

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


def swapped_case(rng: random.Random) -> Case:
    """A file, or a folder, where another one belongs."""
    names = ("record.json", "config.yaml", "history.jsonl", "adapter/adapter_config.json")
    files = [*(f"{RUN}/{name}" for name in names), "model/config.json", "sweep.yaml", "data/glue/rte/train.jsonl"]
    swap = swapped(*rng.sample(files, 2))
    wrong = rng.choice(["model", "data", "run.yaml", "sweep.yaml", RUN, f"{RUN}/adapter", f"{RUN}/record.json"])
    training = [*TRAIN, *SHORT_TRAINING]
    commands = [
        *(Case(f"swapped for {command[0]}", command, False, swap) for command in (*COMMANDS_ON_RUNS, training)),
        Case("swapped for report", ["report", "results"], False, swap),
        Case(f"train with {wrong} as a model", [*training, "--model", wrong], wrong != "model"),
        Case(f"train with {wrong} as rows", [*training, "--data-dir", wrong], wrong != "data"),
        Case(f"train with {wrong} as config", [*training, "--config", wrong], wrong != "run.yaml"),
        Case(f"train into {wrong}", [*TRAIN, "--output", wrong, "--seed", "7"]),
        Case(f"export into {wrong}", ["export", RUN, "--output", wrong]),
        Case("no vocabulary", training, damage=without_vocabulary),
    ]
    return rng.choice(commands)


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
    *(swapped_case,) * 3,
    *(kernels_case,) * 3,
    occupied_report_case,
    bomb_case,
    right_case,
)


def make_case(seed: int) -> Case:
    """The case of a seed."""
    rng = random.Random(seed)
    return rng.choice(MAKERS)(rng)
