"""`rocoft prefetch`: what it fetches is all that a run without internet loads; what cannot be had is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.tasks import instructions
from rocoft_bench.tasks.github import GitHubFiles
from tests.conftest import write_rows
from tests.fake_hub import Pull

MODEL = "FacebookAI/roberta-base"
CARD = """---
configs:
- config_name: rte
  data_files:
  - {split: train, path: rte/train-*}
  - {split: validation, path: rte/validation-*}
dataset_info:
- config_name: rte
  features:
  - {name: sentence1, dtype: string}
  - {name: sentence2, dtype: string}
  - {name: label, dtype: int64}
  - {name: idx, dtype: int64}
  splits:
  - {name: train, num_bytes: 1500, num_examples: 2}
  - {name: validation, num_bytes: 500, num_examples: 2}
---
"""
SETUP = """
import contextlib, dataclasses, io, sys
from rocoft_bench import tasks
def expect(rows):
    sizes = {"train": rows, "validation": rows}
    tasks.TASKS._items["glue rte"] = dataclasses.replace(get("glue", "rte"), split_sizes=sizes)
def rocoft(*arguments):
    from rocoft_bench.cli import main
    sys.argv = ["rocoft", "prefetch", "glue/rte.yaml", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code
    return code, out.getvalue().splitlines()
"""


@pytest.fixture
def files(hub: Any, tiny_of: Callable[[str], Path]) -> dict[str, bytes]:
    """A model on the hub, with files that no run loads; the card of the dataset tells its rows."""
    there = {file.name: file.read_bytes() for file in tiny_of(MODEL).iterdir()}
    hub.models[MODEL] = {**there, "pytorch_model.bin": b"-", "README.md": b"-", "onnx/model.onnx": b"-"}
    hub.repos["nyu-mll/glue"]["README.md"] = CARD.encode()
    return there


def test_a_run_without_internet_finds_what_was_fetched(hub: Any, python: Any, files: dict[str, bytes]) -> None:
    code = f"""
expect(2)
checked = rocoft("--check", "--set", "model.revision={hub.revision}")
fetched = rocoft("glue/rte.yaml", "--set", "model.revision={hub.revision}")
from rocoft_bench import models
from rocoft_bench.experiment import resolve as experiment
from rocoft_bench.config import ModelConfig
from rocoft_bench.models.hub import no_network
with no_network():
    again = rocoft("--set", "model.revision={hub.revision}")
    source = models.locate(ModelConfig(revision="{hub.revision}"))
    model, tokenizer, _ = models.load(source, ModelConfig(), "sequence_classification", {{}})
    rows = [len(get("glue", "rte").load(split).examples) for split in ("train", "validation")]
from huggingface_hub import constants
show([checked, fetched, again, rows, model.config.model_type, constants.HF_HOME])
"""
    checked, fetched, again, rows, kind, home = python(SETUP + code, hub.url)
    size = sum(map(len, files.values())) / 1000
    at = hub.revision[:10]
    assert checked == [
        0,
        [
            f"✓ model {MODEL} @ {at}: configuration, tokenizer and weights, {size:.1f} kB",
            f"✓ dataset nyu-mll/glue rte @ {at}, train: 2 rows, 1.5 kB",
            f"✓ dataset nyu-mll/glue rte @ {at}, validation: 2 rows, 500 bytes",
            f"3 of 3 can be had, in all {size + 2:.1f} kB",
        ],
    ]
    assert fetched == again
    assert fetched[0] == 0
    assert fetched[1][1:] == [
        f"✓ dataset nyu-mll/glue rte @ {at}, train: 2 rows",
        f"✓ dataset nyu-mll/glue rte @ {at}, validation: 2 rows",
        f"3 of 3 ready, in all {size:.1f} kB",
        f"for runs without internet: export HF_HOME={home} HF_HUB_OFFLINE=1",
    ]
    assert (rows, kind) == ([2, 2], "roberta")
    loaded = {line.rpartition("/")[2] for line in hub.log if line.startswith("GET") and f"/{MODEL}/resolve/" in line}
    assert loaded == set(files)


def test_what_cannot_be_had_is_named(hub: Any, python: Any, files: dict[str, bytes]) -> None:
    del hub.models[MODEL]["model.safetensors"]
    hub.models["meta-llama/Llama-2-7b-hf"] = files
    hub.gated.add("meta-llama/Llama-2-7b-hf")
    code = f"""
expect(2490)
here = ["--set", "model.revision={hub.revision}"]
llama = [*here, "--set", "model.name=llama-2-7b"]
show([rocoft("--check", *here), rocoft(*here), rocoft("--check", *llama), rocoft(*llama),
      rocoft("--check", "--set", "model.revision=" + "f" * 40)])
"""
    check, fetch, gated_check, gated, revision = python(SETUP + code, hub.url)
    at = hub.revision[:10]
    assert {result[0] for result in (check, fetch, gated_check, gated, revision)} == {1}
    assert check[1] == [
        fetch[1][0],
        f"✗ dataset nyu-mll/glue rte @ {at}, train: 2 rows instead of 2,490",
        f"✗ dataset nyu-mll/glue rte @ {at}, validation: 2 rows instead of 2,490",
        "0 of 3 can be had",
    ]
    assert f"✗ model {MODEL} @ {at}: its weights are not in safetensors" in fetch[1][0]
    assert fetch[1][1:3] == check[1][1:3]
    assert gated_check[1][0] == gated[1][0]
    for step in ("https://huggingface.co/meta-llama/Llama-2-7b-hf", "accept the licence", "hf auth login", "HF_TOKEN"):
        assert step in gated[1][0]
    assert f"cannot get model {MODEL} @ ffffffffff from the Hugging Face hub" in revision[1][0]


def test_weights_of_a_conversion_are_fetched(hub: Any, python: Any, files: dict[str, bytes]) -> None:
    converted = {**hub.models[MODEL]}
    size = sum(map(len, files.values())) / 1000
    del hub.models[MODEL]["model.safetensors"]
    hub.pulls[MODEL] = [Pull(3, converted, "3" * 40)]
    code = f"""
here = ["--set", "model.revision={hub.revision}"]
from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.models.hub import no_network
expect(2)
results = [rocoft("--check", *here), rocoft(*here)]
with no_network():
    results.append(rocoft(*here))
    source = models.locate(ModelConfig(revision="{hub.revision}"))
    model, _, _ = models.load(source, ModelConfig(), "sequence_classification", {{}})
show([results, source.origin(model.config)])
"""
    results, origin = python(SETUP + code, hub.url)
    found = "configuration, tokenizer, weights from the conversion refs/pr/3"
    assert [code for code, _ in results] == [0, 0, 0]
    assert {lines[0] for _, lines in results} == {f"✓ model {MODEL} @ {hub.revision[:10]}: {found}, {size:.1f} kB"}
    assert origin["weights_revision"] == "3" * 40
    assert not [line for line in hub.log if line.startswith("GET") and "pytorch_model" in line]


def test_local_models_and_rows_need_nothing(
    rocoft: Callable[..., Any], glue_dir: Path, tiny_model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    task = {"family": "glue", "name": "rte", "data_dir": str(glue_dir)}
    config.write_text(json.dumps({"task": task, "model": {"name": str(tiny_model)}}))
    for arguments in ((config,), (config, "--check")):
        result = rocoft("prefetch", *arguments)
        assert result.code == 0
        assert result.out.splitlines()[:4] == [
            f"✓ model {tiny_model}: nothing to fetch",
            f"✓ glue rte in {glue_dir}, train: nothing to fetch; 40 rows",
            f"✓ glue rte in {glue_dir}, validation: nothing to fetch; 13 rows",
            f"3 of 3 {'can be had' if '--check' in arguments else 'ready'}",
        ]


def test_a_sweep_needs_each_thing_once_evaluations_included(
    rocoft: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    row: dict[str, object] = {"instruction": "How many?", "input": "", "output": "It is 3.", "answer": "3.0"}
    for place in ("math_10k/train", "gsm8k/test", "AddSub/test"):
        write_rows(tmp_path / "math" / f"{place}.jsonl", [row] * 3)
    axes = {"config": ["math/gsm8k.yaml"], "method": ["lora", "rocoft"], "seed": [0, 1]}
    sweep = {"axes": axes, "model": {"name": str(tiny_model)}, "evaluate_also": {"math": ["addsub"]}}
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(sweep))
    data = ("--set", f"task.data_dir={tmp_path}")
    result = rocoft("prefetch", file, *data)
    assert result.code == 0
    whats = [line.partition(":")[0].replace(f" in {tmp_path}", "") for line in result.out.splitlines()[:-1]]
    assert whats[:-1] == [
        f"✓ model {tiny_model}",
        "✓ math math_10k, train",
        "✓ math gsm8k, test",
        "✓ math AddSub, test",
    ]
    file.write_text(json.dumps({**sweep, "evaluate_also": {"math": ["adsub"]}}))
    wrong = rocoft("prefetch", file, *data)
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert 'unknown math task "adsub": did you mean "addsub"?' in wrong.err


def test_files_of_github(
    rocoft: Callable[..., Any], hub: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(instructions, "LLM_ADAPTERS", GitHubFiles("owner/name", "a" * 40, hub.url))
    row = {"instruction": "How many?", "input": "", "output": "The answer is 3.", "answer": "3.0"}
    content, path = json.dumps([row] * 5).encode(), "ft-training_set/math_10k.json"
    served = {f"/owner/name/{'a' * 40}/{path}": content, "/": b""}
    monkeypatch.setattr(hub, "answer", lambda asked, _: (200, {}, served[asked]) if asked in served else (404, {}, b""))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    arguments = ("prefetch", "math/gsm8k.yaml", "--set", f"model.name={tiny_model}")
    checked, fetched = rocoft(*arguments, "--check"), rocoft(*arguments)
    assert (checked.code, fetched.code) == (1, 1)
    assert f"✓ {path} of owner/name @ aaaaaaaaaa: rows, {len(content)} bytes" in checked.out
    assert f"✗ {path} of owner/name @ aaaaaaaaaa: 5 rows instead of 9,919" in fetched.out
    for out in (checked.out, fetched.out):
        (line,) = (line for line in out.splitlines() if "dataset/gsm8k/test.json" in line)
        assert line.startswith("✗")
        assert "404" in line
    served[f"/owner/name/{'a' * 40}/dataset/gsm8k/test.json"] = json.dumps([row] * 1319).encode()
    assert "✓ dataset/gsm8k/test.json of owner/name @ aaaaaaaaaa: 1,319 rows" in rocoft(*arguments).out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("glue/rtx.yaml",), 'did you mean "glue/rte.yaml"?'),
        (("glue/rte.yaml", "--set", "model.name=robertabase"), "not a hub id (owner/name)"),
        (("glue/rte.yaml", "--check"), "offline mode is on (HF_HUB_OFFLINE)"),
    ],
)
def test_bad_input(
    rocoft: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = rocoft("prefetch", *arguments)
    assert result.code == 2
    assert problem in result.err
    assert len(result.err.splitlines()) == 1
