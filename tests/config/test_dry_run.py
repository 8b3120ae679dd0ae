"""Every shipped YAML runs: two steps and an evaluation on a tiny model of the architecture that it names.

Rows are real ones where `../shared/data` has them, else a few written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rocoft_bench.config import Settings, config_files, read_settings, read_sweep
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import model_type_of
from rocoft_bench.plugins import load_files
from rocoft_bench.tasks import get
from tests.config.plugins import PLUGINS
from tests.ntk.models import save_masked_lm

SWEEPS = [sweep for file in config_files() if (sweep := read_sweep(file)) is not None]
FILES = [file for file in config_files() if file not in [sweep.path for sweep in SWEEPS]]
TINY = {
    "roberta": "FacebookAI/roberta-base",
    "deberta-v2": "microsoft/deberta-v3-base",
    "bart": "facebook/bart-large",
    "bloom": "bigscience/bloomz-7b1",
    "gptj": "EleutherAI/gpt-j-6b",
    "llama": "meta-llama/Llama-2-7b-hf",
}
"""By architecture, the model in whose place a tiny one is trained."""
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
FILE_NAMES = {"math_10k": "gsm8k"}
"""Real rows that stand in for those that are not there."""

CONTEXT = "The bridge at Lumo was opened in 1907 by Anna Vale, who had drawn it."
LENGTHS = {"squad": 384, "commonsense": 900, "math": 900, "choices": 900, "word_problems": 900}
"""In letters, which are the tiny models' tokens."""
FEW_ROWS: dict[str, dict[str, Any]] = {
    "squad": {
        "id": "1", "title": "Lumo", "context": CONTEXT, "question": "Who had drawn the bridge?",
        "answers": {"text": ["Anna Vale"], "answer_start": [CONTEXT.index("Anna")]},
    },
    "xsum": {"id": "1", "document": f"{CONTEXT} It was closed in 1990.", "summary": "A bridge was opened and closed."},
    "cnn_dailymail": {"id": "1", "article": f"{CONTEXT} It was closed in 1990.", "highlights": "A bridge was closed."},
    "math": {"instruction": "Anna has 2 pens and buys 3. How many?", "input": "", "output": "5.", "answer": "5.0"},
}  # fmt: skip
GLUE_TEXTS = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "qqp": ("question1", "question2"),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
}
LABELS = {
    "boolq": ("true", "false"),
    "piqa": ("solution1", "solution2"),
    "siqa": ("answer1", "answer2", "answer3"),
    "hellaswag": ("ending1", "ending2", "ending3", "ending4"),
    "winogrande": ("option1", "option2"),
}


def few_rows(family: str, name: str) -> list[dict[str, Any]]:
    if family == "glue":
        texts = dict.fromkeys(GLUE_TEXTS.get(name, ("sentence1", "sentence2")), "A bridge was opened.")
        return [{**texts, "label": index % 2, "idx": index} for index in range(4)]
    if family == "commonsense":
        labels = LABELS.get(name, ("answer1", "answer2", "answer3", "answer4"))
        instruction = f"Please choose: is it so?\n\nAnswer format: {'/'.join(labels)}"
        output = f"the correct answer is {labels[0]}"
        return [{"instruction": instruction, "input": "", "output": output, "answer": labels[0]}] * 4
    if family == "fewshot":
        task = get(family, name)
        texts = ("text_a", "text_b")[: len(task.text_columns)] if len(task.text_columns) > 1 else ("text",)
        return [{**dict.fromkeys(texts, "A film."), "label": label} for label in range(len(task.label_names))]
    return [FEW_ROWS.get(family, FEW_ROWS.get(name, {}))] * 4


def rows_for(family: str, name: str, folder: Path, wanted: int) -> Path:
    """A data folder with at most `wanted` rows of each split: real ones, else those above."""
    task = get(family, name)
    sources = {task.train_split: "math_10k" if family == "math" else task.folder or name}
    sources |= {task.eval_split: task.folder or name} if task.eval_split != task.train_split else {}
    for split, place in sources.items():
        real = REAL / family / FILE_NAMES.get(place, place)
        names = (f"{split}.jsonl", f"{split}.json") if family != "fewshot" else ()  # the tiny model knows few words
        file = next((real / name for name in names if (real / name).is_file()), None)
        rows = few_rows(family, name) * wanted
        if file is not None:
            text = file.read_text(encoding="utf-8")
            rows = json.loads(text) if file.suffix == ".json" else list(map(json.loads, text.split("\n")[:wanted]))
        target = folder / family / place / f"{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(rows[:wanted]), encoding="utf-8")
    return folder


def run(rocoft: Callable[..., Any], file: Path, model: Path, tmp_path: Path) -> dict[str, Any]:
    """Two optimizer steps of a config through the command line; the record."""
    settings = read_settings(file).values
    family, name, training = settings["task"]["family"], settings["task"]["name"], settings["training"]
    batch_size, accumulation = min(training["batch_size"], 4), min(training.get("gradient_accumulation", 1), 2)
    smaller = [
        f"training.batch_size={batch_size}",
        f"training.gradient_accumulation={accumulation}",
        "training.epochs=1",
        f"task.max_train_rows={2 * batch_size * accumulation}",
        "task.max_eval_rows=3",
        f"task.max_length={LENGTHS.get(family) or LENGTHS.get(name, 256)}",
        *(["task.shots=4"] if family == "fewshot" else []),
    ]
    kind = get(family, name).kind
    if kind in ("causal_lm", "seq2seq_lm"):
        smaller.append("task.max_new_tokens=4")
    if kind == "seq2seq_lm":
        smaller.append("task.min_new_tokens=0")
    assignments = [part for assignment in smaller for part in ("--set", assignment)]
    data = [] if "demo" in (family, name) else ["--data-dir", rows_for(family, name, tmp_path / "data", 60)]
    folder = tmp_path / "run"
    result = rocoft("train", family, "--task", name, "--config", file, "--model", model, *data, *assignments,
                    "--output", folder)  # fmt: skip
    assert result.code == 0, result.err
    return json.loads((folder / "record.json").read_text())


@pytest.fixture
def tiny_like(tiny_of: Callable[[str], Path], tiny_model: Path) -> Callable[[str], Path]:
    """tiny_like(name): a tiny model of the architecture of a known one."""
    return lambda name: tiny_model if name == "demo-minilm" else tiny_of(TINY[str(model_type_of(name))])


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny masked language model that knows the label words of few-shot tasks."""
    folder = tmp_path_factory.mktemp("masked-lm")
    save_masked_lm(folder)
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_two_steps(
    rocoft: Callable[..., Any], tiny_like: Callable[[str], Path], masked_lm: Path, file: Path, tmp_path: Path
) -> None:
    settings = read_settings(file).values
    is_prompted = settings["task"]["family"] == "fewshot"
    record = run(rocoft, file, masked_lm if is_prompted else tiny_like(settings["model"]["name"]), tmp_path)
    assert record["status"] == "ok"
    assert record["steps"] >= 2  # a row of SQuAD may become several windows
    assert set(record["task"]["metric_names"]) <= set(record["metrics"])
    assert (record["parameters"]["adapter"] > 0) == (record["label"] != "Head only")
    has_head = get(record["task"]["family"], record["task"]["name"]).kind in TASKS_WITH_HEAD
    assert (record["parameters"]["head"] > 0) == has_head


def features(settings: Settings) -> set[str]:
    """What a dry run tries out: a method on an architecture and a kind of task, and a mode of it."""
    task, model, method = (settings.values[section] for section in ("task", "model", "method"))
    kind = get(task["family"], task["name"]).kind
    return {f"{method['name']}-{model_type_of(model['name'])}-{kind}", f"{method['name']} {method.get('mode', '')}"}


def runs_unlike_the_files() -> list[Any]:
    """Of the runs of all sweeps, those that try out something that neither `FILES` nor the runs before them do."""
    tried = {feature for file in FILES for feature in features(read_settings(file))}
    found = []
    for settings in (settings for sweep in SWEEPS for _, settings in sweep.runs()):
        new = features(settings) - tried
        if new:
            found.append(pytest.param(settings, id=max(new, key=len)))
        tried |= new
    return found


@pytest.mark.parametrize("settings", runs_unlike_the_files())
def test_two_steps_of_a_sweep(
    rocoft: Callable[..., Any],
    tiny_like: Callable[[str], Path],
    forgets_plugins: None,
    settings: Settings,
    tmp_path: Path,
) -> None:
    load_files(PLUGINS.values())
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings.values))
    record = run(rocoft, file, tiny_like(settings.values["model"]["name"]), tmp_path)
    assert record["status"] == "ok"
    assert record["steps"] >= 2
    assert record["method"]["name"] == settings.values["method"]["name"]
    assert record["parameters"]["adapter"] >= record["parameters"]["stored"]
    assert record["adapter_bytes"] > 0


def test_deberta_in_half_precision_is_refused(
    rocoft: Callable[..., Any], tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    data = rows_for("squad", "v1.1", tmp_path / "data", 4)
    result = rocoft("train", "squad", "--task", "v1.1", "--model", tiny_of("microsoft/deberta-v3-base"),
                    "--data-dir", data, "--set", "model.dtype=float16", "--output", tmp_path / "run")  # fmt: skip
    assert result.code == 2
    assert "gives NaN in float16; use fp32 or bf16" in result.err
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_kind_is_refused_in_one_line(
    rocoft: Callable[..., Any], tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    data = rows_for("summarization", "xsum", tmp_path / "data", 4)
    result = rocoft("train", "summarization", "--task", "xsum", "--model", tiny_of("meta-llama/Llama-2-7b-hf"),
                    "--data-dir", data, "--output", tmp_path / "run")  # fmt: skip
    assert result.code == 2
    assert "a llama model cannot do seq2seq_lm" in result.err
