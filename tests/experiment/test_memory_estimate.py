"""The memory estimate beside what models and runs really hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from rocoft_bench import methods
from rocoft_bench.config import Settings, TrainingConfig, override
from rocoft_bench.engine.causal_loss import keep_logits_only
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import memory_estimate
from rocoft_bench.experiment.passes import ExampleLength, LayerSizes, Passes
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import AUTO_CLASSES, ModelShapes
from rocoft_bench.models.shape_reading import shapes_of

ROWS, TOKENS, TARGET_TOKENS = 2, 48, 20
SIZES: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 176}
IDS: dict[str, Any] = {
    "vocab_size": 101,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 128,
}


def model_config(architecture: str, dropout: float) -> tuple[Any, str]:
    """A small configuration and what it is trained for."""
    encoder: dict[str, Any] = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    relative: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}
    layers: dict[str, Any] = {
        "encoder_layers": 3,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    bart: dict[str, Any] = {
        "d_model": 64,
        "encoder_ffn_dim": 176,
        "decoder_ffn_dim": 176,
        "decoder_start_token_id": 2,
        **layers,
    }
    makers: dict[str, tuple[Callable[[], Any], str]] = {
        "roberta": (lambda: t.RobertaConfig(**IDS, **SIZES, **encoder), "sequence_classification"),
        "deberta": (lambda: t.DebertaV2Config(**IDS, **SIZES, **encoder, **relative), "question_answering"),
        "llama": (lambda: t.LlamaConfig(**IDS, **SIZES, attention_dropout=dropout), "causal_lm"),
        "bart": (
            lambda: t.BartConfig(**IDS, **bart, dropout=dropout, attention_dropout=dropout),
            "seq2seq_lm",
        ),
    }
    make, kind = makers[architecture]
    return make(), kind


def batch_for(kind: str) -> dict[str, Tensor]:
    ids = torch.randint(3, 100, (ROWS, TOKENS))
    mask = torch.ones_like(ids)
    mask[0, -3:] = 0  # with padding, as batches have it
    label = torch.zeros(ROWS, dtype=torch.long)
    targets = {
        "sequence_classification": {"labels": label},
        "question_answering": {"start_positions": label, "end_positions": label},
        "causal_lm": {"labels": ids},
        "seq2seq_lm": {"labels": torch.randint(3, 100, (ROWS, TARGET_TOKENS))},
    }
    return {"input_ids": ids, "attention_mask": mask, **targets[kind]}


def saved_bytes(model: nn.Module, batch: dict[str, Tensor], autocast: bool) -> int:
    """Bytes of the distinct storages kept for backward, beside the model's own."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # alive until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model(**batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


class Case:
    """A small model with a method on it, and what is estimated of the two."""

    def __init__(self, architecture: str, section: dict[str, Any], dropout: float, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        config, self.kind = model_config(architecture, dropout)
        model = getattr(t, AUTO_CLASSES[self.kind]).from_config(config, dtype=dtype)
        self.facts = LayerSizes(shapes_of(model, self.kind in TASKS_WITH_HEAD))
        self.method = methods.resolve(section, task_kind=self.kind)
        self.method.check_supports(self.kind, config.model_type)
        self.base_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self.model: Any = self.method.apply(model, self.kind, 0).train()
        keep_logits_only(self.model)
        self.item = dtype.itemsize

    def estimated(self, autocast: bool) -> float:
        row = ExampleLength(TOKENS + self.method.added_tokens, TARGET_TOKENS if self.kind == "seq2seq_lm" else 0)
        kept = memory_estimate.needs_of(self.method, self.facts, self.item)
        passes = Passes(self.facts, kept, row, self.item, autocast, False, None, self.kind not in TASKS_WITH_HEAD)
        return passes.kept_bytes(ROWS) + passes.kept_logits_bytes(ROWS)


SECTIONS: dict[str, dict[str, Any]] = {
    "row": {"name": "rocoft", "mode": "row"},
    "column": {"name": "rocoft", "mode": "column"},
    "random": {"name": "rocoft", "mode": "random"},
    "lora": {"name": "lora"},
    "lora dropout": {"name": "lora", "dropout": 0.1},
    "dora": {"name": "dora"},
    "vera": {"name": "vera", "rank": 256},
    "full": {"name": "full"},
    "bitfit": {"name": "bitfit"},
    "adapter": {"name": "adapter", "bottleneck": 40},
    "ia3": {"name": "ia3"},
    "sft": {"name": "sft"},
    "diff-pruning": {"name": "diff-pruning"},
    "prompt-tuning": {"name": "prompt-tuning"},
}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("architecture", ["roberta", "deberta", "llama", "bart"])
@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_kept_for_backward(architecture: str, section: dict[str, Any], dropout: float) -> None:
    try:
        case = Case(architecture, section, dropout, torch.float32)
    except UserError as error:
        pytest.skip(str(error))
    counted = saved_bytes(case.model, batch_for(case.kind), autocast=False)
    assert case.estimated(autocast=False) == pytest.approx(counted, rel=0.2)


@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.float32, True), (torch.bfloat16, False)], ids=["mixed precision", "bfloat16 model"]
)
@pytest.mark.parametrize("architecture", ["roberta", "llama", "bart"])
@pytest.mark.parametrize("name", ["row", "column", "lora", "full"])
def test_kept_for_backward_in_half_precision(name: str, architecture: str, dtype: torch.dtype, autocast: bool) -> None:
    case = Case(architecture, SECTIONS[name], 0.1, dtype)
    counted = saved_bytes(case.model, batch_for(case.kind), autocast)
    assert case.estimated(autocast) == pytest.approx(counted, rel=0.25)


@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]
)
@pytest.mark.parametrize("architecture", ["llama", "bart"])
def test_logits_over_a_large_vocabulary(
    architecture: str, dtype: torch.dtype, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IDS, "vocab_size", 8000)
    case = Case(architecture, SECTIONS["row"], 0.0, dtype)
    counted = saved_bytes(case.model, batch_for(case.kind), autocast)
    assert case.estimated(autocast) == pytest.approx(counted, rel=0.1)


def test_a_head_alone_keeps_nothing_of_the_model() -> None:
    case = Case("roberta", {"name": "head-only"}, 0.1, torch.float32)
    assert case.estimated(autocast=False) == 0
    assert saved_bytes(case.model, batch_for(case.kind), False) < ROWS * TOKENS * 64 * 4  # less than one layer's input


def experiment(*assignments: tuple[str, Any], task: str = "rte", family: str = "glue") -> Experiment:
    settings = Settings()
    settings.update({"task": {"family": family, "name": task}}, "test")
    for key, value in assignments:
        settings.update(override(key, value), "test")
    return resolve(settings)


def estimated(
    *assignments: tuple[str, Any], gpu: bool = False, row: ExampleLength | None = None
) -> memory_estimate.MemoryEstimate:
    chosen = experiment(*assignments)
    facts = memory_estimate.shipped_facts(chosen.config.model.name, chosen.task.kind)
    assert facts is not None
    return memory_estimate.estimate(chosen, facts, row, gpu)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("section", [*SECTIONS.values(), {"name": "head-only"}], ids=[*SECTIONS, "head-only"])
def test_weights_gradients_and_optimizer_are_exact(section: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    """Against the tensors of a model after a step of its optimizer."""
    try:
        case = Case("roberta", section, 0.1, getattr(torch, dtype))
    except ValueError as error:
        pytest.skip(str(error))
    chosen = experiment(("method", section), ("model", {"name": "demo-minilm", "dtype": dtype}))
    found = memory_estimate.estimate(chosen, case.facts, ExampleLength(TOKENS), gpu=False)
    trained = [p for p in case.model.parameters() if p.requires_grad]
    optimizer = make_optimizer(case.model, TrainingConfig(), _hooks(case))
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = [value for values in optimizer.state.values() for value in values.values() if value.dim()]
    assert found.parts["gradients"] * memory_estimate.MIB == _bytes(trained)
    assert found.parts["optimizer"] * memory_estimate.MIB == _bytes(state)
    scattered = case.method.adapter_parameters(case.facts.shapes) * 4 if section.get("mode") == "random" else 0
    assert found.parts["weights"] * memory_estimate.MIB == case.base_bytes + scattered
    if section["name"] not in (
        "vera",
        "diff-pruning",
    ):  # vera adds frozen matrices; gated weights are counted apart
        everything = _bytes(list(case.model.parameters()))
        assert (found.parts["weights"] + found.parts["trained"]) * memory_estimate.MIB - scattered == everything


def _hooks(case: Case) -> Hooks:
    return case.method.hooks(case.model, TrainingConfig(), 10)


def _bytes(tensors: list[Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_parts_add_up_and_a_gpu_has_no_process() -> None:
    found = estimated(("model.name", "roberta-base"))
    assert found.total == pytest.approx(sum(found.parts.values()))
    assert found.as_record()["total"] == pytest.approx(found.total, abs=0.05)
    assert found.parts["process"] > 0
    assert estimated(gpu=True).parts["process"] == 0


@pytest.mark.parametrize("method", ["rocoft", "lora", "full", "head-only"])
def test_larger_batches_and_longer_rows_take_more(method: str) -> None:
    def activations(batch: int, length: int) -> float:
        found = estimated(
            ("method.name", method), ("training.batch_size", batch), ("training.eval_batch_size", batch),
            ("task.max_length", length),
        )  # fmt: skip
        return found.parts["activations"]

    assert activations(8, 128) < activations(16, 128) < activations(16, 256) < activations(32, 256)


def test_settings_that_save_memory() -> None:
    plain = estimated()
    assert estimated(("training.gradient_checkpointing", True)).parts["activations"] < plain.parts["activations"] / 3
    assert estimated(("model.dtype", "bfloat16")).parts["weights"] == plain.parts["weights"] / 2
    assert estimated(("training.precision", "bf16")).parts["activations"] < plain.parts["activations"]
    lora, columns = (
        estimated(("method", {"name": "lora"})),
        estimated(("method", {"name": "rocoft", "mode": "column"})),
    )
    assert max(plain.parts["activations"], columns.parts["activations"]) < lora.parts["activations"]
    assert estimated(row=ExampleLength(64)).parts["activations"] < plain.parts["activations"] / 4


def test_rows_are_no_longer_than_the_model_takes() -> None:
    assert estimated(("model.name", "demo-roberta"), ("task.max_length", 2000)).length.source == 256


def test_generation_counts_its_cache() -> None:
    def activations(eval_batch: int) -> float:
        chosen = experiment(
            ("model.name", "llama-2-7b"), ("method.name", "lora"), ("training.batch_size", 1),
            ("training.eval_batch_size", eval_batch), family="math", task="gsm8k",
        )  # fmt: skip
        facts = memory_estimate.shipped_facts("llama-2-7b", "causal_lm")
        assert facts is not None
        return memory_estimate.estimate(chosen, facts, gpu=True).parts["activations"]

    cache = 64 * (512 + 256) * 32 * 2 * 4096 * 4 / memory_estimate.MIB  # of 64 examples
    assert activations(1) < cache < activations(64) < 1.5 * cache


def test_only_models_with_shipped_shapes_are_planned_for() -> None:
    assert memory_estimate.memory_mib(experiment(("model.name", "roberta-base"))) == pytest.approx(
        estimated(("model.name", "roberta-base"), gpu=memory_estimate.has_gpu()).total
    )
    assert memory_estimate.memory_mib(experiment(("model.name", "someone/some-model"))) is None


def test_a_folder_s_model_is_estimated_too(tiny_model: Path) -> None:
    chosen = experiment(("model.name", str(tiny_model)))
    facts = memory_estimate.facts_of(chosen)
    assert facts is not None
    assert facts.shapes.model_type == "bert"
    assert memory_estimate.facts_of(experiment(("model.name", "someone/not-in-the-cache"))) is None


def test_a_run_records_the_estimate_beside_what_it_measured(
    rocoft: Callable[..., Any], tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    outcome = rocoft(
        *("train", "glue", "--task", "rte", "--model", tiny_model, "--data-dir", glue_dir, "--epochs", 1),
        *("--output", tmp_path / "run"),
    )
    record = json.loads((tmp_path / "run" / "record.json").read_text(encoding="utf-8"))
    estimate = record["memory_estimate_mib"]
    assert set(estimate) == {"weights", "trained", "gradients", "optimizer", "activations", "process", "total"}
    assert f"; estimated {estimate['total']:.0f})" in outcome.out
    longest = memory_estimate.estimate(
        experiment(("model.name", str(tiny_model))), LayerSizes(shapes_of_folder(tiny_model))
    )
    # of the rows that there are, not of the longest allowed
    assert 0 < estimate["activations"] < longest.parts["activations"]


def shapes_of_folder(folder: Path) -> ModelShapes:
    model = t.AutoModelForSequenceClassification.from_config(t.AutoConfig.from_pretrained(str(folder)))
    return shapes_of(model, has_head=True)


@pytest.mark.parametrize(("quantization", "bytes_per_weight"), [("nf4", 1 / 2 + 1 / 64 + 1 / 4096), ("int8", 1)])
def test_a_quantised_base(quantization: str, bytes_per_weight: float) -> None:
    model = ("model.name", "llama-2-7b"), ("model.dtype", "bfloat16"), ("method.name", "rocoft")
    plain, packed = estimated(*model), estimated(*model, ("model.quantization", quantization))
    in_blocks = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    saved = in_blocks * (2 - bytes_per_weight) / memory_estimate.MIB
    assert plain.parts["weights"] - packed.parts["weights"] == pytest.approx(saved)
    assert plain.total - packed.total == pytest.approx(saved)
