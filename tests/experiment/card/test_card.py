"""Model cards: read back as the hub reads them, and their code run as a reader would."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from huggingface_hub import ModelCard

from rocoft_bench.config import Settings
from rocoft_bench.experiment.card import CardContext, model_card
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import RunRecord
from tests import preloaded
from tests.made_up import run_record

PROVENANCE = {
    "command": ["rocoft", "train", "glue", "--data-dir=/home/me/my data", "--model", "/home/me/models/tiny"],
    "packages": {"torch": "2.6.0", "peft": None},
    "python": "3.12.1",
    "git": {"commit": "abc123", "dirty": True},
    "hardware": {"cpu": "A CPU", "torch_threads": 4, "gpus": ["NVIDIA H100"]},
}
HUB = {
    "kind": "hub", "id": "nyu-mll/glue", "config": "rte", "revision": "1" * 40, "path": None,
    "split": "validation", "num_rows": 277, "sha256": "f" * 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _every_name_in_the_template_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja2, "Template", partial(jinja2.Template, undefined=jinja2.StrictUndefined))


def context(record: RunRecord, form: str = "peft", settings: dict[str, Any] | None = None, **more: Any) -> CardContext:
    """Of a record, with settings that fit it."""
    task = {"family": record.task["family"], "name": record.task["name"]}
    given = {"model": {"name": record.model["name"]}, "method": record.method, "seed": record.seed, **(settings or {})}
    values = {**given, "task": {**task, **given.get("task", {})}}
    experiment = resolve(Settings(yaml.safe_load(yaml.safe_dump(values))))
    return CardContext(experiment, record, more.pop("provenance", PROVENANCE), form, **more)  # type: ignore[arg-type]


def on_hub(**changes: Any) -> RunRecord:
    data = {"train": {**HUB, "split": "train", "num_rows": 2490}, "evaluation": HUB, "train_rows": 2490}
    model = {"name": "roberta-base", "kind": "hub", "id": "FacebookAI/roberta-base", "revision": "2" * 40}
    values = {"data": {**data, "eval_rows": 277}, "model": model, "kept_epoch": 3, "adapter_bytes": 1000}
    return run_record(**{**values, **changes})


def test_the_hub_reads_the_results_back() -> None:
    data = ModelCard(model_card(context(on_hub(seed=7, metrics={"accuracy": 0.7509}), repo_id="me/x"))).data
    assert (data.base_model, data.library_name, data.license) == ("FacebookAI/roberta-base", "peft", None)
    assert (data.datasets, data.metrics, data.pipeline_tag) == (["nyu-mll/glue"], ["accuracy"], "text-classification")
    assert {"rocoft-bench", "rocoft", "sequence_classification", "peft"} == set(data.tags)
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.7509)
    assert (result.dataset_type, result.dataset_config) == ("nyu-mll/glue", "rte")
    assert (result.dataset_split, result.dataset_revision) == ("validation", "1" * 40)
    conditions = {"seed": 7, "protocol": "argmax over the classes", "rows": 277, "rows_of_split": 277}
    assert result.metric_args == {**conditions, "rows_sha256": "f" * 64}


def test_the_text_says_what_was_done() -> None:
    text = model_card(context(on_hub(notes=["1 of 2 rows | cut"], keep="best"), settings={"training": {"epochs": 5}}))
    for expected in (
        "# RoCoFT-3-Row on glue rte, FacebookAI/roberta-base",
        "| glue rte | validation | 277 | `acc",
        "| 75.00 | argmax over the classes |",
        "One run, seed 0; the weights are of the epoch (3) that was best on these very evaluation examples.",
        "- 1 of 2 rows \\| cut",
        "| `training.epochs` | `5` |",
        "| `method.rank` | `3` |",
        "| Trained, adapter | 248,832 |",
        "| Trained, task head | 592,130 |",
        "| Time in training steps | 60.0 s |",
        "`nyu-mll/glue`, `rte`",
        f"`{'f' * 64}`",
        "GPUs: NVIDIA H100; CPU: A CPU, threads: 4",
        "`abc123` with changes",
        "python 3.12.1, torch 2.6.0",
        "rocoft train glue --task rte --config config.yaml",
    ):
        assert expected in text
    assert yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])["training"]["epochs"] == 5


def test_fewer_rows_another_protocol_and_further_evaluations_are_said() -> None:
    published = "published: given the right response but for its last 3 tokens"
    less = {**on_hub().data, "eval_rows": 100}
    other = on_hub(protocol=published, data=less, metrics={"accuracy": 0.5})
    text = model_card(context(on_hub(metrics={"accuracy": 0.75}), evaluations=[other]))
    assert f"| 100 of 277 | `accuracy` | 50.00 | {published} |" in text
    results = ModelCard(text).data.eval_results
    shown = [(one.metric_value, one.metric_args["rows"], one.metric_args["protocol"]) for one in results]
    assert shown == [(0.75, 277, "argmax over the classes"), (0.5, 100, published)]


def test_demo_data_and_demo_models_are_said_to_be_so() -> None:
    source = {"kind": "embedded", "id": "demo/choices", "split": "test", "num_rows": 10, "sha256": "a" * 64}
    model = {"name": "demo-llama", "kind": "embedded", "id": "rocoft-bench/demo-llama", "weights_sha256": "b" * 64}
    data = {"train": source, "evaluation": source, "train_rows": 10, "eval_rows": 10}
    text = model_card(context(run_record("demo", "choices", model=model, data=data)))
    assert "the results say nothing about real data" in text
    assert "small demonstration model" in text
    assert ModelCard(text).data.base_model is None
    assert ModelCard(text).data.datasets is None
    minilm = {**model, "name": "demo-minilm", "id": "sentence-transformers/all-MiniLM-L6-v2"}
    card = model_card(context(run_record("demo", "entailment", model=minilm, data=data)))
    assert ModelCard(card).data.base_model == "sentence-transformers/all-MiniLM-L6-v2"


def test_no_path_of_this_machine_is_left() -> None:
    origin = {**HUB, "kind": "data_dir", "id": None, "path": "/home/me/my data/glue/rte/validation.jsonl"}
    record = on_hub(
        model={"name": "/home/me/models/tiny", "kind": "folder", "path": "/home/me/models/tiny"},
        data={"evaluation": origin, "train_rows": 2490, "eval_rows": 277},
        notes=["rows of /home/me/rows.jsonl: 3 dropped", "</s> ends a row and/or https://a.b/c"],
    )
    text = model_card(context(record, settings={"task": {"data_dir": "/home/me/my data"}}))
    assert "/home" not in text
    assert "validation.jsonl" in text
    assert "rows of rows.jsonl: 3 dropped" in text
    assert "\\</s\\> ends a row and/or https://a.b/c" in text
    assert "rocoft train glue '--data-dir=my data' --model tiny" in text
    assert "base = 'path/to/tiny'" in text
    data = ModelCard(text).data
    assert (data.base_model, data.datasets) == (None, None)


def test_names_from_users_stay_text() -> None:
    model = {"name": "a|b<script>`", "kind": "folder", "path": "a|b<script>`"}
    text = model_card(context(on_hub(model=model, notes=["<b>*x*</b>\n## y"]), provenance=None))
    title = next(line for line in text.splitlines() if line.startswith("# "))
    assert title.endswith("a\\|b\\<script\\>\\`")
    assert "- \\<b\\>\\*x\\*\\</b\\> \\#\\# y" in text
    assert "`` a\\|b<script>` ``" in text
    assert "## Software and hardware\n\nNot on record." in text


def test_a_record_with_little_in_it_has_a_card() -> None:
    nothing = {"data": {}, "parameters": {}, "train_seconds": None, "eval_seconds": None, "peak_memory_kind": None}
    record = run_record(model={"name": "roberta-base"}, peak_memory_mib=None, steps=None, **nothing)
    text = model_card(context(record, form="own", provenance={}))
    assert ModelCard(text).data.library_name is None
    assert "| Trained, adapter | not on record |" in text


@pytest.mark.parametrize(
    ("method", "form", "python"),
    [("lora", "peft", True), ("prompt-tuning", "peft", False), ("adapter", "own", False), ("lora", "merged", True)],
)
def test_each_form_is_loaded_in_its_way(method: str, form: str, python: bool) -> None:
    text = model_card(context(on_hub(method={"name": method}, label=method), form=form, repo_id="me/x"))
    assert ("```python" in text) == python
    assert ("rocoft predict x --text" in text) == (form != "merged")
    assert ("PeftModel" in text) == (form == "peft" and python)
    assert "import rocoft_bench" not in text


def test_the_code_of_a_card_gives_the_answers_of_the_run(
    rocoft: Any, tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    """In a process that knows nothing of the run; LoRA's first, which has no need of this package."""
    codes, said = [], []
    for method, sets in (("lora", ["--set", "model.norm_eps=0.5"]), ("rocoft", [])):
        run = tmp_path / method
        options = ["--model", tiny_model, "--data-dir", glue_dir, "--epochs", 1, "--set", "training.warmup_steps=1"]
        trained = rocoft("train", "glue", "--task", "rte", "--method", method, *options, *sets, "--output", run)
        assert trained.code == 0
        text = (run / "adapter" / "README.md").read_text()
        code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
        code = code.replace("path/to/this/folder", str(run / "adapter"))
        codes += [
            code.replace(f"path/to/{tiny_model.name}", str(tiny_model)),
            "inputs = tokenizer('the cat sleeps', 'a dog runs', return_tensors='pt')",
            "probabilities = model(**inputs).logits.softmax(-1)[0]",
            "label = model.config.id2label[int(probabilities.argmax())]",
            "print(f'{label}  (probability {probabilities.max().item():.4f})')",
        ]
        said += rocoft("predict", run, "--text", "the cat sleeps", "--text-pair", "a dog runs").out.splitlines()
    done = preloaded.run("\n".join(codes))
    assert done.code == 0, done.err
    assert done.out.splitlines() == said


def test_a_run_leaves_its_card_in_place_of_the_empty_one(
    rocoft: Any, tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ["--model", tiny_model, "--data-dir", glue_dir, "--epochs", 1, "--set", "training.warmup_steps=1"]
    assert rocoft("train", "glue", "--task", "rte", *options, "--output", run).code == 0
    text = (run / "adapter" / "README.md").read_text()
    assert "More Information Needed" not in text
    assert str(tiny_model) not in text
    record = RunRecord.model_validate_json((run / "record.json").read_text())
    assert ModelCard(text).data.eval_results[0].metric_value == record.metrics["accuracy"]  # type: ignore[index]
    values = [file for file in (run / "adapter").iterdir() if file.name != "README.md"]
    assert record.adapter_bytes == sum(file.stat().st_size for file in values)
