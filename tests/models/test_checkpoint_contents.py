"""A checkpoint must hold the model: what it lacks is an error with its name, but for a head that is meant to be new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError

CLASSES, SPANS = "sequence_classification", "question_answering"
ROBERTA, LLAMA, BART = "FacebookAI/roberta-base", "meta-llama/Llama-2-7b-hf", "facebook/bart-large"
FAMILIES = {
    ROBERTA: CLASSES,
    "microsoft/deberta-v3-base": CLASSES,
    BART: "seq2seq_lm",
    LLAMA: "causal_lm",
    "bigscience/bloomz-7b1": "causal_lm",
    "EleutherAI/gpt-j-6b": "causal_lm",
}
EDITS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "empty": lambda tensors: {},
    "half": lambda tensors: dict(sorted(tensors.items())[::2]),
    "renamed": lambda tensors: {f"x.{name}": tensor for name, tensor in tensors.items()},
}


def load(folder: Path, kind: str, options: dict[str, Any] | None = None, **settings: Any) -> models.Loaded:
    config = ModelConfig(name=str(folder), **settings)
    return models.load(models.locate(config), config, kind, options or {})


def refused(folder: Path, kind: str, options: dict[str, Any] | None = None, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, kind, options, **settings)
    (line,) = str(caught.value).splitlines()
    return line


def edited(source: Path, target: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of a saved model with other tensors."""
    shutil.copytree(source, target)
    save_file(edit(load_file(source / "model.safetensors")), target / "model.safetensors", {"format": "pt"})
    return target


def reconfigured(source: Path, target: Path, **fields: Any) -> Path:
    """A copy of a saved model with another config.json."""
    shutil.copytree(source, target)
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | fields))
    return target


def classes(*names: str) -> dict[str, Any]:
    numbers = dict(enumerate(names))
    options = {"problem_type": "single_label_classification", "num_labels": len(names), "id2label": numbers}
    return {**options, "label2id": {name: number for number, name in numbers.items()}}


SCORE = {"problem_type": "regression", "num_labels": 1}


@pytest.fixture
def classifier(tiny_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A saved RoBERTa with a head that tells three classes."""
    folder = tmp_path / "classifier"
    model, tokenizer, _ = load(tiny_of(ROBERTA), CLASSES, classes("entailment", "neutral", "contradiction"))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("hub_id", FAMILIES)
def test_a_whole_checkpoint_is_loaded_without_a_word(hub_id: str, tiny_of: Callable[[str], Path]) -> None:
    assert load(tiny_of(hub_id), FAMILIES[hub_id]).notes == []


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("hub_id", FAMILIES)
def test_what_a_checkpoint_lacks_is_named(
    edit: str, hub_id: str, tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    line = refused(edited(tiny_of(hub_id), tmp_path / edit, EDITS[edit]), FAMILIES[hub_id])
    assert "its checkpoint lacks " in line
    assert " in all)" in line


def test_one_lacking_tensor_is_named(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    gone = "layers.1.mlp.up_proj.weight"
    without = edited(
        tiny_of(LLAMA), tmp_path / "m", lambda tensors: {k: v for k, v in tensors.items() if not k.endswith(gone)}
    )
    assert f"its checkpoint lacks model.{gone}, which a llama model" in refused(without, "causal_lm")


def test_a_shard_without_its_tensors(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    model, tokenizer, _ = load(tiny_of(LLAMA), "causal_lm")
    model.save_pretrained(folder, max_shard_size="10KB")
    tokenizer.save_pretrained(folder)
    assert load(folder, "causal_lm").notes == []
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    tensors = load_file(shard)
    save_file({}, shard, {"format": "pt"})
    assert sorted(tensors)[0] in refused(folder, "causal_lm")


def test_a_configuration_of_another_model(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    other = reconfigured(tiny_of(ROBERTA), tmp_path / "electra", model_type="electra")
    assert "which a electra model of its config.json needs" in refused(other, CLASSES)
    wider = reconfigured(tiny_of(ROBERTA), tmp_path / "wider", intermediate_size=48)
    assert "intermediate.dense.bias (32) instead of (48)" in refused(wider, CLASSES)
    deeper = reconfigured(tiny_of(ROBERTA), tmp_path / "deeper", num_hidden_layers=3)
    assert "encoder.layer.2." in refused(deeper, CLASSES)
    shallower = load(reconfigured(tiny_of(ROBERTA), tmp_path / "shallower", num_hidden_layers=1), CLASSES)
    (note,) = shallower.notes
    assert "no place for encoder.layer.1." in note


def test_a_language_model_needs_its_output_layer(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    without = edited(
        tiny_of(LLAMA), tmp_path / "m", lambda tensors: {k: v for k, v in tensors.items() if "lm_head" not in k}
    )
    assert "its checkpoint lacks lm_head.weight" in refused(without, "causal_lm")
    assert load(without, CLASSES).notes == []


def head_of(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["classifier.out_proj.weight"]


@pytest.mark.parametrize(
    "options", [classes("entailment", "not_entailment"), SCORE, classes("entailment", "neutral", "contradiction")]
)
def test_a_head_is_fresh_whatever_the_checkpoint_has(options: dict[str, Any], classifier: Path) -> None:
    torch.manual_seed(3)
    model, _, notes = load(classifier, CLASSES, options)
    head, old = model.classifier.out_proj.weight, head_of(classifier)
    assert head.shape == (options["num_labels"], old.shape[1])
    assert 0.005 < head.std() < 0.05  # as it is initialised
    assert not torch.isin(head, old).any()
    assert (model.classifier.out_proj.bias == 0).all()
    saved = load_file(classifier / "model.safetensors")
    body = [name for name in saved if not name.startswith("classifier.")]
    assert all(torch.equal(saved[name], model.state_dict()[name]) for name in body)
    (note,) = notes
    assert "is not used but a fresh one (model.head)" in note


def test_a_kept_head_is_put_in_the_order_of_the_tasks_classes(classifier: Path) -> None:
    same = load(classifier, CLASSES, classes("entailment", "neutral", "contradiction"), head="checkpoint")
    other = load(classifier, CLASSES, classes("CONTRADICTION", "entailment", "neutral"), head="checkpoint")
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    assert torch.equal(same.model(**batch).logits[:, [2, 0, 1]], other.model(**batch).logits)
    assert torch.equal(same.model.classifier.out_proj.weight, head_of(classifier))
    assert same.notes == other.notes == ["training starts from the head that the checkpoint has (model.head)"]


def test_a_head_for_other_classes_is_not_kept(classifier: Path, tiny_of: Callable[[str], Path]) -> None:
    line = refused(classifier, CLASSES, classes("entailment", "not_entailment"), head="checkpoint")
    assert "is for the classes entailment, neutral, contradiction and the task has entailment, not_entailment" in line
    line = refused(classifier, CLASSES, SCORE, head="checkpoint")
    assert "no head for this task" in line
    assert "out_proj.bias (3) instead of (1)" in line
    assert "lacks qa_outputs.bias, qa_outputs.weight" in refused(classifier, SPANS, head="checkpoint")
    assert "lacks classifier." in refused(tiny_of(ROBERTA), CLASSES, SCORE, head="checkpoint")


def test_no_code_of_a_model_is_run_and_nobody_is_asked(
    tiny_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("it asks")

    monkeypatch.setattr("builtins.input", asked)
    ran = tmp_path / "ran"
    auto_map = {"AutoConfig": "own.XConfig", "AutoModelForSequenceClassification": "own.XModel"}
    folder = reconfigured(tiny_of(ROBERTA), tmp_path / "m", model_type="mine", auto_map=auto_map)
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    line = refused(folder, CLASSES)
    assert "code of its own" in line
    assert "trust_remote_code" not in line
    other = shutil.copytree(tiny_of(ROBERTA), tmp_path / "other")
    said = json.loads((other / "tokenizer_config.json").read_text())
    own = {"auto_map": {"AutoTokenizer": ["own.XTokenizer", None]}, "tokenizer_class": "XTokenizer"}
    (other / "tokenizer_config.json").write_text(json.dumps(said | own))
    (other / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    load(other, CLASSES)  # its tokenizer.json needs no code
    assert not ran.exists()


def test_a_tokenizer_that_does_not_fit(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    small = tmp_path / "small"
    model, tokenizer, _ = load(tiny_of(ROBERTA), CLASSES)
    model.resize_token_embeddings(200)
    model.save_pretrained(small)
    tokenizer.save_pretrained(small)
    assert "tokenizer has 261 tokens and the model embeddings of 200" in refused(small, CLASSES)
    bare = shutil.copytree(tiny_of(LLAMA), tmp_path / "bare")
    said = json.loads((bare / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in said.items() if name not in ("pad_token", "eos_token")}
    (bare / "tokenizer_config.json").write_text(json.dumps(kept))
    assert "neither a padding nor an end token" in refused(bare, "causal_lm")


def test_a_quantised_base_is_checked_too(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from rocoft_bench import methods

    options = methods.resolve({"name": "qlora"}).loading_options

    def load_4bit(folder: Path) -> models.Loaded:
        config = ModelConfig(name=str(folder))
        return models.load(models.locate(config), config, "causal_lm", {}, how=options)

    assert load_4bit(tiny_of(LLAMA)).notes == []
    gone = "layers.0.self_attn.q_proj.weight"
    without = edited(
        tiny_of(LLAMA), tmp_path / "m", lambda tensors: {k: v for k, v in tensors.items() if not k.endswith(gone)}
    )
    with pytest.raises(UserError, match=f"its checkpoint lacks model.{gone}"):
        load_4bit(without)


def test_t5_has_a_dropout_and_needs_no_more_than_its_checkpoint(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1}
    folder = Path(shutil.copytree(tiny_of(LLAMA), tmp_path / "t5"))
    T5ForConditionalGeneration(T5Config(vocab_size=300, dropout_rate=0.3, **sizes)).save_pretrained(folder)
    model, _, notes = load(folder, "seq2seq_lm", dropout=0.0)
    assert (model.config.dropout_rate, model.encoder.block[0].layer[0].dropout.p, notes) == (0.0, 0.0, [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    tiny_of: Callable[[str], Path], tmp_path: Path, value: float
) -> None:
    def spoilt(tensors: dict[str, Any]) -> dict[str, Any]:
        name = min(name for name in tensors if name.endswith("value.weight"))
        tensors[name][0, 0] = value
        return tensors

    line = refused(edited(tiny_of(ROBERTA), tmp_path / "spoilt", spoilt), CLASSES)
    assert "attention.self.value.weight holds NaN or infinity (read as float32)" in line


def test_values_that_leave_half_precision_are_refused(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    def large(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor + 1e5 * name.endswith("value.bias") for name, tensor in tensors.items()}

    folder = edited(tiny_of(ROBERTA), tmp_path / "large", large)
    assert load(folder, CLASSES).model is not None
    assert "holds NaN or infinity (read as float16)" in refused(folder, CLASSES, dtype="float16")


def test_a_head_that_is_not_apart_from_the_model_is_refused_as_such(
    tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import T5Config, T5ForQuestionAnswering

    folder = Path(shutil.copytree(tiny_of(LLAMA), tmp_path / "t5"))
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    T5ForQuestionAnswering(T5Config(vocab_size=64, **sizes)).save_pretrained(folder)
    assert "T5ForQuestionAnswering has no part of its own beside its task head" in refused(folder, SPANS)
