"""The real command line on a tiny model: results, resuming, and bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, matthews_corrcoef

from tests import preloaded

Cli = Callable[..., Any]


@pytest.fixture
def options(tiny_model: Path, glue_dir: Path) -> list[object]:
    return [
        "--model",
        tiny_model,
        "--data-dir",
        glue_dir,
        "--epochs",
        2,
        "--batch-size",
        8,
        "--set",
        "training.warmup_steps=2",
    ]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def predictions(folder: Path) -> tuple[list[Any], list[Any]]:
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return [row["prediction"] for row in rows], [row["reference"] for row in rows]


def test_a_run_leaves_a_complete_record(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    result = rocoft(
        "train", "glue", "--task", "rte", "--rank", 3, "--mode", "row", *options, "--output", tmp_path / "run"
    )
    assert result.code == 0
    assert "accuracy" in result.out
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        ".lock", "adapter", "config.yaml", "history.jsonl", "predictions.jsonl", "provenance.json", "record.json",
    }  # fmt: skip
    r = record(tmp_path / "run")
    assert (r["status"], r["label"], r["steps"], r["kept_epoch"]) == ("ok", "RoCoFT-3-Row", 10, 2)
    assert r["data"]["train_rows"], r["data"]["eval_rows"] == (40, 13)
    # 2 blocks of width 16: rows of 5 matrices with 16 inputs and one with 32, biases 5 * 16 + 32, head 16 * 2 + 2
    assert r["parameters"]["adapter_weights"] == 2 * 3 * (5 * 16 + 32)
    assert r["parameters"]["adapter_biases"] == 2 * (5 * 16 + 32)
    assert r["parameters"]["head"] == 34
    assert r["train_seconds"] > 0
    assert r["peak_memory_mib"] > 0
    assert len(r["epoch_metrics"]) == 2
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    indices = [value for name, value in adapter.items() if name.endswith("rocoft_adapter.row_indices")]
    assert [value.shape for value in indices] == [(3,)] * 12


def test_losses_are_exactly_repeatable(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert rocoft("train", "glue", "--task", "rte", *options, "--output", tmp_path / name).code == 0
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert (tmp_path / "a" / "predictions.jsonl").read_bytes() == (tmp_path / "b" / "predictions.jsonl").read_bytes()
    rocoft("train", "glue", "--task", "rte", *options, "--seed", 1, "--output", tmp_path / "c")
    assert history(tmp_path / "a") != history(tmp_path / "c")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("rte", lambda p, y: {"accuracy": accuracy_score(y, p)}),
        ("cola", lambda p, y: {"matthews_correlation": matthews_corrcoef(y, p)}),
        ("stsb", lambda p, y: {"pearson": pearsonr(p, y).statistic, "spearman": spearmanr(p, y).statistic}),
    ],
)
def test_metrics_follow_from_the_predictions(
    rocoft: Cli, options: list[object], tmp_path: Path, task: str, expected: Callable[..., dict[str, float]]
) -> None:
    assert rocoft("train", "glue", "--task", task, *options, "--output", tmp_path / "run").code == 0
    assert record(tmp_path / "run")["metrics"] == pytest.approx(expected(*predictions(tmp_path / "run")), abs=1e-9)


@pytest.mark.parametrize("method", ["rocoft", "lora", "full", "head-only", "lora-xs", "diff-pruning", "propetl-lora"])
def test_a_mergeable_method_trains_predicts_and_exports(
    rocoft: Cli, options: list[object], tmp_path: Path, method: str
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = tmp_path / "run"
    assert rocoft("train", "glue", "--task", "rte", "--method", method, *options, "--output", run).code == 0
    said = rocoft("predict", run, "--text", "the cat sleeps", "--text-pair", "a dog runs")
    assert said.code == 0
    exported = rocoft("export", run, "--output", tmp_path / "merged")
    assert (exported.code, exported.err) == (0, "")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "merged")("the cat sleeps", "a dog runs", return_tensors="pt")
    probabilities = model(**inputs).logits.softmax(-1)[0]
    label = model.config.id2label[int(probabilities.argmax())]
    assert said.out.strip() == f"{label}  (probability {probabilities.max().item():.4f})"


def test_rows_are_exported_as_lora(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = tmp_path / "run"
    assert rocoft("train", "glue", "--task", "rte", *options, "--output", run).code == 0
    assert rocoft("export", run).code == 0
    assert rocoft("export", run, "--format", "lora").out.strip().endswith(f"LoRA adapter: {run / 'lora'}")
    inputs = AutoTokenizer.from_pretrained(run / "lora")("the cat sleeps", "a dog runs", return_tensors="pt")
    merged = AutoModelForSequenceClassification.from_pretrained(run / "merged").eval()
    base = AutoModelForSequenceClassification.from_pretrained(options[1])
    lora = PeftModel.from_pretrained(base, run / "lora").eval()
    assert lora.peft_config["default"].peft_type == "LORA"
    torch.testing.assert_close(lora(**inputs).logits, merged(**inputs).logits, rtol=1e-6, atol=1e-6)
    both = rocoft("export", run, "--format", "lora", "--push-to-hub", "me/it")
    assert (both.code, len(both.err.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (("lora",), "is a LoRA adapter already"),
        (("bitfit",), "what bitfit trains is no LoRA in another form; use --format merged"),
        (("rocoft", "--set", "method.mode=random"), "have no low rank; use --format merged"),
    ],
)
def test_what_is_no_lora_is_not_exported_as_one(
    rocoft: Cli, options: list[object], tmp_path: Path, method: tuple[str, ...], said: str
) -> None:
    run = tmp_path / "run"
    assert rocoft("train", "glue", "--task", "rte", "--method", *method, *options, "--output", run).code == 0
    result = rocoft("export", run, "--format", "lora")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert said in result.err
    assert not (run / "lora").exists()


def test_a_record_without_trained_values_is_not_a_finished_run(
    rocoft: Cli, options: list[object], tmp_path: Path
) -> None:
    """As in a checkout of this project, whose results/ hold records only."""
    run = tmp_path / "run"
    command = ("train", "glue", "--task", "rte", *options, "--output", run)
    assert rocoft(*command).code == 0
    assert "already finished" in rocoft(*command).out
    shutil.rmtree(run / "adapter")
    said = rocoft("predict", run, "--text", "the cat sleeps", "--text-pair", "a dog runs")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "only the record is here, not the trained values" in said.err
    again = rocoft(*command)
    assert again.code == 0
    assert "already finished" not in again.out
    assert (run / "adapter").is_dir()


@pytest.mark.parametrize("method", ["adapter", "prompt-tuning"])
def test_a_method_that_cannot_be_merged_says_so(
    rocoft: Cli, options: list[object], tmp_path: Path, method: str
) -> None:
    run = tmp_path / "run"
    arguments = ["--method", method, *options, "--set", "task.max_length=12"]
    if method == "prompt-tuning":
        arguments += ["--set", "method.num_virtual_tokens=4"]
    assert rocoft("train", "glue", "--task", "rte", *arguments, "--output", run).code == 0
    assert rocoft("predict", run, "--text", "the cat sleeps", "--text-pair", "a dog runs").code == 0
    result = rocoft("export", run, "--output", tmp_path / "merged")
    assert result.code == 2
    assert result.err.strip() == f"error: {method} cannot be merged into the base model; keep it as an adapter"
    assert not (tmp_path / "merged").exists()


def test_virtual_tokens_leave_less_room_for_the_text(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = rocoft("train", "glue", "--task", "rte", "--method", "prompt-tuning", *options, "--output", run)
    assert result.code == 0, result.err
    notes = json.loads((run / "record.json").read_text())["notes"]
    assert "the model takes 12 tokens, so max_length is 12 instead of 512" in notes  # 32 positions, 20 virtual tokens


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("glue", "--task", "rte", "--method", "adalora", "--set", "training.keep=best"), 'training.keep = "best"'),
        (
            ("glue", "--task", "rte", "--method", "prefix-tuning", "--set", "training.gradient_checkpointing=true"),
            "training.gradient_checkpointing: prefix-tuning fails with it",
        ),
        (("math", "--task", "gsm8k", "--method", "head-only"), "method head-only cannot train a causal_lm model"),
        (("math", "--task", "gsm8k", "--method", "bitfit"), "method bitfit: a llama model has no biases to train"),
        (
            ("glue", "--task", "rte", "--method", "mam", "--model", "TINY_ALBERT"),
            "method mam cannot train a albert model",
        ),
    ],
)
def test_what_a_method_cannot_do_is_said_before_anything_is_loaded(
    rocoft: Cli, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    """No data and no weights are there, so loading them would be another error."""
    albert = tmp_path / "albert"
    albert.mkdir()
    (albert / "config.json").write_text('{"model_type": "albert"}')
    given = [str(albert) if argument == "TINY_ALBERT" else argument for argument in arguments]
    result = rocoft("train", *given, "--data-dir", tmp_path / "none", "--output", tmp_path / "run")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 1
    assert expected in result.err
    assert not (tmp_path / "run").exists()


def test_a_saved_run_scores_the_same_in_a_fresh_model(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    from rocoft_bench.experiment.trained_model import load_run
    from rocoft_bench.runs import RunDirectory

    run = tmp_path / "run"
    assert rocoft("train", "glue", "--task", "cola", *options, "--output", run).code == 0  # selection by score
    trained = load_run(RunDirectory(run))
    first = json.loads((run / "predictions.jsonl").read_text().splitlines()[0])
    text = trained.experiment.task.load("validation", Path(str(options[3]))).examples[0]["sentence"]
    with torch.no_grad():
        logits = trained.model(**trained.tokenizer(text, return_tensors="pt")).logits[0]
    assert logits.tolist() == pytest.approx(first["scores"], abs=1e-5)


def test_a_finished_run_is_left_alone_unless_forced(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    command = ["train", "glue", "--task", "rte", *options, "--output", tmp_path / "run"]
    rocoft(*command)
    before = (tmp_path / "run" / "record.json").stat().st_mtime_ns
    again = rocoft(*command)
    assert again.code == 0
    assert "already finished" in again.out
    assert (tmp_path / "run" / "record.json").stat().st_mtime_ns == before
    assert rocoft(*command, "--force").code == 0
    assert (tmp_path / "run" / "record.json").stat().st_mtime_ns > before


def test_another_configuration_does_not_reuse_the_folder(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    command = ["train", "glue", "--task", "rte", *options, "--output", tmp_path / "run"]
    rocoft(*command)
    result = rocoft(*command, "--seed", 5)
    assert result.code == 2
    assert "seed: 0 there, 5 here" in result.err


def test_a_killed_run_resumes_to_the_identical_result(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    """kill -9 of the real process at some step, then the same command again."""
    often = ["--set", "training.checkpoint_seconds=0.000001", "--epochs", 30]
    command = ["train", "glue", "--task", "rte", *options, *often, "--output"]
    rocoft(*command, tmp_path / "whole")
    arguments = [*map(str, command), str(tmp_path / "killed")]
    process = preloaded.start("from rocoft_bench.cli import main; main()", arguments, tmp_path)
    checkpoint = tmp_path / "killed" / "work" / "checkpoint.safetensors"
    while process.is_alive() and not checkpoint.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.join()
    assert checkpoint.exists(), "the run was over before it could be killed"
    assert not (tmp_path / "killed" / "record.json").exists()
    resumed = rocoft(*command, tmp_path / "killed")
    assert "resuming after step" in resumed.err
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    weights = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "killed")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert record(tmp_path / "killed")["metrics"] == record(tmp_path / "whole")["metrics"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_result_that_cannot_be_written_is_a_failed_run_and_not_lost(
    rocoft: Cli, options: list[object], tmp_path: Path, number: int
) -> None:
    from rocoft_bench.experiment import run as experiment

    command = ["train", "glue", "--task", "rte", *options, "--output"]
    rocoft(*command, tmp_path / "whole")

    def full_disk(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write_json_lines", full_disk)
        result = rocoft(*command, tmp_path / "run")
    assert result.code == 1
    assert f"{os.strerror(number)}; make room on the disk" in result.err
    assert record(tmp_path / "run")["status"] == "failed"
    again = rocoft(*command, tmp_path / "run")
    assert "resuming after step 10 of 10" in again.err
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert record(tmp_path / "run")["metrics"] == record(tmp_path / "whole")["metrics"]


def test_a_run_whose_record_cannot_be_written_either_says_why(
    rocoft: Cli, options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    result = rocoft("train", "glue", "--task", "rte", *options, "--output", tmp_path / "run")
    assert result.code == 1
    assert "make room on the disk" in result.err
    assert "record.json" not in result.err


def test_changed_data_does_not_continue_an_old_run(
    rocoft: Cli, options: list[object], tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    from rocoft_bench.engine import trainer

    data = tmp_path / "data"
    shutil.copytree(glue_dir, data)
    command = ["train", "glue", "--task", "rte", *options, "--data-dir", data, "--output", tmp_path / "run"]

    def crash(self: Any) -> None:
        raise RuntimeError("crash")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "run", crash)
        with pytest.raises(RuntimeError, match="crash"):
            rocoft(*command)
    assert record(tmp_path / "run")["status"] == "failed"
    file = data / "glue" / "rte" / "train.jsonl"
    file.write_text(file.read_text().replace("cat", "dog"))
    result = rocoft(*command)
    assert result.code == 2
    assert "the data has changed" in result.err


def test_an_exploding_loss_is_recorded(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    flags = ["--learning-rate", 1e30, "--set", "training.max_grad_norm=null", "--set", "training.warmup_steps=0"]
    result = rocoft("train", "glue", "--task", "stsb", *options, *flags, "--output", tmp_path / "run")
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("nan: ")
    assert record(tmp_path / "run")["status"] == "nan"


def test_a_lack_of_memory_is_recorded_with_a_hint(
    rocoft: Cli, options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rocoft_bench.engine import trainer

    def exhaust(self: Any, group: Any) -> None:
        torch.empty(1 << 55)

    monkeypatch.setattr(trainer.Trainer, "_step", exhaust)
    result = rocoft("train", "glue", "--task", "rte", *options, "--output", tmp_path / "run")
    assert result.code == 1
    assert record(tmp_path / "run")["status"] == "oom"
    assert "smaller training.batch_size" in result.err


def test_a_failure_before_training_is_recorded_too(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    from rocoft_bench import models

    command = ["train", "glue", "--task", "rte", *options, "--output", tmp_path / "run"]

    def exhaust(*_: Any) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load", exhaust)
        result = rocoft(*command)
    assert result.code == 1
    failed = record(tmp_path / "run")
    assert (failed["status"], failed["error"], failed["data"]) == ("oom", "out of memory", {})
    assert "smaller training.batch_size" in failed["hint"]
    assert rocoft(*command).code == 0
    assert record(tmp_path / "run")["status"] == "ok"


def test_fewer_rows_are_said_and_recorded(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    flags = ["--set", "task.max_train_rows=9", "--set", "task.max_eval_rows=5"]
    result = rocoft("train", "glue", "--task", "rte", *options, *flags, "--output", tmp_path / "run")
    assert "only the first 9 of 40 training examples are used" in result.err
    r = record(tmp_path / "run")
    assert r["notes"][:2] == [
        "only the first 9 of 40 training examples are used",
        "only the first 5 of 13 evaluation examples are used",
    ]
    assert (r["data"]["train_rows"], r["data"]["eval_rows"]) == (9, 5)


def test_a_rank_above_the_matrix_is_clipped_and_says_where(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    result = rocoft("train", "glue", "--task", "rte", "--rank", 20, *options, "--output", tmp_path / "run")
    assert "rank 20 is above its 16 rows" in " ".join(result.err.split())
    # of each block's matrices all have 16 rows but one, which has 32
    assert record(tmp_path / "run")["parameters"]["adapter_weights"] == 2 * (4 * 16 * 16 + 20 * 16 + 16 * 32)
    assert "bert.encoder.layer.0." in record(tmp_path / "run")["notes"][0]


def test_recomputing_activations_does_not_change_the_losses(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    command = ["train", "glue", "--task", "rte", *options]
    rocoft(*command, "--output", tmp_path / "plain")
    again = rocoft(*command, "--set", "training.gradient_checkpointing=true", "--output", tmp_path / "recomputed")
    assert again.code == 0
    losses = [
        [entry["loss"] for entry in history(tmp_path / name) if "loss" in entry] for name in ("plain", "recomputed")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_mixed_precision_trains_close_to_full_precision(rocoft: Cli, options: list[object], tmp_path: Path) -> None:
    command = ["train", "glue", "--task", "rte", *options]
    rocoft(*command, "--output", tmp_path / "fp32")
    assert rocoft(*command, "--set", "training.precision=bf16", "--output", tmp_path / "bf16").code == 0
    losses = [[entry["loss"] for entry in history(tmp_path / name) if "loss" in entry] for name in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize(
    ("mode", "selection"),
    [*product(("row", "column"), ("first", "random", "max", "min", "mixed")), ("random", None)],
)
def test_every_mode_and_selection_runs(
    rocoft: Cli, options: list[object], tmp_path: Path, mode: str, selection: str | None
) -> None:
    selected = ["--selection", selection] if selection else []
    command = ["train", "glue", "--task", "rte", "--mode", mode, *selected, *options, "--epochs", 1]
    assert rocoft(*command, "--set", "task.max_train_rows=6", "--output", tmp_path / "run").code == 0
    scored = "rows or columns were scored on the first 6 training examples"
    assert (scored in record(tmp_path / "run")["notes"]) is (selection in ("max", "min", "mixed"))
