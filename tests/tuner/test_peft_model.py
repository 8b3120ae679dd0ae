"""RoCoFT under PEFT's own operations: several adapters, deletion, other wrappers, distributed training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_model_status, get_peft_model, inject_adapter_in_model
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from rocoft_bench import RoCoFTConfig, RoCoFTLayer
from tests import preloaded


def trainable(model: nn.Module) -> set[str]:
    return {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad and "rocoft_" in name}


def test_only_the_active_adapter_is_trained(build: Any, wrap: Any, mode: str, make_batch: Any) -> None:
    model = wrap(build(), mode=mode)
    model.add_adapter("other", RoCoFTConfig(mode="row", init_weights=False))
    assert trainable(model) == {"default"}
    first = model(**make_batch(0)).logits
    model.set_adapter("other")
    assert trainable(model) == {"other"}
    assert not torch.allclose(model(**make_batch(0)).logits, first)
    model.delete_adapter("other")
    assert model.active_adapters == ["default"]
    assert torch.equal(model(**make_batch(0)).logits, first)
    assert get_model_status(model).peft_types == {"default": "ROCOFT"}


def test_prompted_by_embeddings_and_generating(mode: str, wrap: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16)).eval()
    ids = torch.tensor([[1, 2, 3]])
    before = plain.generate(input_ids=ids, max_new_tokens=3, pad_token_id=0)
    model = wrap(plain, mode=mode, task_type="CAUSAL_LM")
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=3, pad_token_id=0), before)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, model(input_ids=ids).logits)


def test_hooks_on_the_base_layer_run(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any) -> None:
    model, batch = wrap(build(), mode=mode, train_bias=True).eval(), make_batch(0)
    scramble(model)
    expected = model(**batch).logits
    seen: list[Tensor] = []
    layer = next(m for m in model.modules() if isinstance(m, RoCoFTLayer))
    layer.base_layer.register_forward_hook(lambda module, args, output: seen.append(output))
    torch.testing.assert_close(model(**batch).logits, expected)
    assert len(seen) == 1


class Doubling(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("inner", ["subclass", "lora"])
def test_what_the_base_layer_does_is_kept(mode: str, inner: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Doubling(4, 4) if inner == "subclass" else nn.Linear(4, 4))
    if inner == "lora":
        inject_adapter_in_model(LoraConfig(target_modules=["0"], init_lora_weights=False), model)
    x = torch.randn(3, 4)
    expected = model(x)
    inject_adapter_in_model(RoCoFTConfig(mode=mode, target_modules=["0"]), model)
    torch.testing.assert_close(model(x), expected)


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model(x).square().mean().backward()
    return [p.grad for p in model.parameters() if p.requires_grad]


def small(mode: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    return get_peft_model(model, RoCoFTConfig(mode=mode, target_modules=["0", "2"], train_bias=True))


def train_on_rank(rank: int, folder: str, x: Tensor) -> None:
    init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        grads = [
            gradients(DistributedDataParallel(small(mode)), x.chunk(2)[rank]) for mode in ("row", "column", "random")
        ]
        if rank == 0:
            torch.save(grads, f"{folder}/gradients.pt")
    finally:
        destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_two_processes_average_to_one(tmp_path: Path) -> None:
    x = torch.randn(8, 6)
    start_processes(train_on_rank, (str(tmp_path), x), nprocs=2, start_method=preloaded.METHOD)
    expected = [gradients(small(mode), x) for mode in ("row", "column", "random")]
    torch.testing.assert_close(torch.load(tmp_path / "gradients.pt"), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_trained_values_are_said(build: Any, mode: str, dtype: torch.dtype, tmp_path: Path) -> None:
    config = RoCoFTConfig(mode=mode)
    said = rf"the trained values of adapter '\w+' are {dtype}, in which small steps are rounded away"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the trained values")
        model = get_peft_model(build().to(dtype), config)
        model.add_adapter("other", config)
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
        model.save_pretrained(tmp_path, selected_adapters=["default"])
        build().to(dtype).load_adapter(str(tmp_path))  # for inference
    with pytest.warns(UserWarning, match=said):
        get_peft_model(build().to(dtype), config, autocast_adapter_dtype=False)
    with pytest.warns(UserWarning, match=said):
        model.add_adapter("third", config, autocast_adapter_dtype=False)
    with pytest.warns(UserWarning, match=said):
        build().to(dtype).add_adapter(config)


def with_other(model: Any, scramble: Any, **settings: Any) -> Any:
    """With a second, scrambled adapter, of columns."""
    scramble(model)
    model.add_adapter("other", RoCoFTConfig(mode="column", rank=3, train_bias=True, **settings))
    model.set_adapter("other")
    scramble(model)
    return model.eval()


def test_a_mixed_batch_equals_one_by_one(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any) -> None:
    model = with_other(wrap(build(), mode=mode, task_type=None), scramble)
    batch, names = make_batch(0), ["default", "__base__", "other", "default"]
    rows = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(4)]
    expected = []
    for name, row in zip(names, rows, strict=True):
        if name == "__base__":
            with model.disable_adapter():
                expected.append(model(**row).logits)
        else:
            model.set_adapter(name)
            expected.append(model(**row).logits)
    mixed = model(**batch, adapter_names=names).logits
    torch.testing.assert_close(mixed, torch.cat(expected), rtol=1e-6, atol=1e-6)
    after = model(**rows[3]).logits
    torch.testing.assert_close(after, expected[3], rtol=1e-6, atol=1e-6)  # no hook is left


def test_a_mixed_batch_generates_with_beams(scramble: Any) -> None:
    """The encoder sees each example once, the decoder each of its beams."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0)
    t5 = T5ForConditionalGeneration(config)
    model = with_other(get_peft_model(t5, RoCoFTConfig(task_type="SEQ_2_SEQ_LM")), scramble)
    ids, options = torch.randint(3, 40, (2, 6)), {"num_beams": 2, "max_new_tokens": 4, "min_new_tokens": 4}
    mixed = model.generate(input_ids=ids, adapter_names=["default", "other"], **options)
    for row, name in enumerate(("default", "other")):
        model.set_adapter(name)
        assert torch.equal(model.generate(input_ids=ids[row : row + 1], **options)[0], mixed[row])


def test_mixed_batches_that_cannot_be_are_refused(build: Any, wrap: Any, make_batch: Any) -> None:
    model, batch = wrap(build(), task_type=None).eval(), make_batch(0)
    with pytest.raises(ValueError, match=r"non-existing adapter.* nosuch"):
        model(**batch, adapter_names=["nosuch"] * 4)
    with pytest.raises(ValueError, match="same as the number of inputs, but got 3 and 4"):
        model(**batch, adapter_names=["default"] * 3)
    model.merge_adapter()
    with pytest.raises(ValueError, match="when there are merged adapters"):
        model(**batch, adapter_names=["default"] * 4)
    model.unmerge_adapter()
    with pytest.raises(ValueError, match="in training mode"):
        model.train()(**batch, adapter_names=["default"] * 4)


def test_the_reference_copy_of_dpo_is_the_adapter(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any
) -> None:
    """trl adds an adapter with the same configuration and copies every parameter by this piece of its name."""
    model, batch = wrap(build(), mode=mode, train_bias=True).eval(), make_batch(0)
    scramble(model)
    model.add_adapter("ref", model.peft_config["default"])
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(".default." in name for name in names)
    assert all(".default." in name for name, _ in model.named_buffers() if "rocoft_" in name and "ref" not in name)
    for name in names:
        model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(model.get_parameter(name).data)
    expected = model(**batch).logits
    model.set_adapter("ref")
    assert torch.equal(model(**batch).logits, expected)
