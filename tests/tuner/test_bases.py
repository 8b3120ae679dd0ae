"""Base layers whose weight cannot be trained in place are refused in one line, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from accelerate import cpu_offload, disk_offload
from peft import get_peft_model
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.utils import parametrizations, prune, weight_norm

from rocoft_bench import RoCoFTConfig, RoCoFTLayer
from rocoft_bench.tuner import default_targets

ALL = {"target_modules": ["lin0", "lin1"]}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin0, self.lin1 = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin1(self.lin0(x).relu())


def adapted(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, RoCoFTLayer)]


@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm,
        parametrizations.orthogonal,
        weight_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
        lambda layer: parametrizations.weight_norm(layer, "bias", dim=None),
    ],
    ids=["weight norm", "orthogonal", "old weight norm", "pruned", "bias"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_computed_from_others_is_refused(change: Any) -> None:
    model = Two()
    change(model.lin1)
    with pytest.raises(TypeError, match="lin1 computes its weight from other parameters"):
        get_peft_model(model, RoCoFTConfig(**ALL))
    assert not adapted(model)


def attention() -> nn.Module:
    return nn.Sequential(nn.MultiheadAttention(8, 2))


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12), 2)


def mamba() -> nn.Module:
    return t.MambaForCausalLM(t.MambaConfig(hidden_size=8, num_hidden_layers=2, vocab_size=20, state_size=2))


def wavlm() -> nn.Module:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    return t.WavLMModel(t.WavLMConfig(**sizes, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2))


def longcat() -> nn.Module:
    sizes = {"hidden_size": 8, "num_layers": 1, "num_attention_heads": 2, "ffn_hidden_size": 8, "expert_ffn_size": 8}
    return t.LongcatFlashModel(t.LongcatFlashConfig(**sizes, vocab_size=20, n_routed_experts=2, zero_expert_num=1))


@pytest.mark.parametrize(
    ("make", "target"),
    [(attention, "out_proj"), (encoder, "linear1"), (mamba, "dt_proj"), (wavlm, "q_proj"), (longcat, "classifier")],
    ids=["attention", "encoder", "mamba", "wavlm", "longcat"],
)
def test_a_layer_that_is_never_called_is_refused_by_name(make: Any, target: str) -> None:
    model = make()
    with pytest.raises(TypeError, match=f"{target} would never be trained: .* without calling it"):
        get_peft_model(model, RoCoFTConfig(target_modules=[target]))
    assert not adapted(model)


@pytest.mark.parametrize("targets", [None, "all-linear"])
def test_default_targets_leave_out_what_is_never_called(targets: Any) -> None:
    with pytest.warns(UserWarning, match="never call them: .*mixer.dt_proj"):
        model = get_peft_model(mamba(), RoCoFTConfig(target_modules=targets, task_type="CAUSAL_LM"))
    assert {name.rpartition(".")[2] for name in adapted(model)} == {"in_proj"}
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_fused_experts_are_named_with_the_share_that_is_reached() -> None:
    config = t.MixtralConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        num_local_experts=3, vocab_size=20,
    )  # fmt: skip
    with torch.device("meta"):
        model = t.MixtralForCausalLM(config)
    blocks = sum(p.numel() for p in model.model.layers.parameters())
    attention_and_router = 2 * 4 * 8 * 8
    with pytest.warns(UserWarning, match="fused experts .*layers.0.mlp.experts.gate_up_proj") as caught:
        names = default_targets(model)
    assert len(names) == 8
    assert f"reach {attention_and_router / blocks:.0%} of the weights" in str(caught[0].message)


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_offloaded_by_accelerate(where: str, tmp_path: Path) -> None:
    def offload(model: nn.Module, folder: str) -> None:
        cpu_offload(model) if where == "cpu" else disk_offload(model, tmp_path / folder, torch.device("cpu"))

    base = Two()
    offload(base, "base")
    with pytest.raises(RuntimeError, match="the weight of a Linear layer is offloaded by accelerate"):
        get_peft_model(base, RoCoFTConfig(**ALL))
    assert not adapted(base)
    model = get_peft_model(Two(), RoCoFTConfig(**ALL))
    offload(model, "adapted")
    with pytest.raises(RuntimeError, match="the weight of a Linear layer is offloaded by accelerate"):
        model(torch.randn(2, 6))


def test_merged_adapters_may_be_offloaded(mode: str, scramble: Any) -> None:
    model, x = get_peft_model(Two(), RoCoFTConfig(mode=mode, train_bias=True, **ALL)), torch.randn(2, 6)
    scramble(model)
    expected = model(x)
    cpu_offload(model)
    model.merge_adapter()
    torch.testing.assert_close(model(x), expected)


def test_partitioned_by_zero_3() -> None:
    model = Two()
    model.lin1.weight.data = torch.empty(0)  # as deepspeed.zero.Init leaves it
    model.lin1.weight.ds_id = 1  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="partitioned by DeepSpeed ZeRO-3"):
        get_peft_model(model, RoCoFTConfig(**ALL))
    assert not adapted(model)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_sharded_by_fsdp2(tmp_path: Path, scramble: Any) -> None:
    from torch.distributed.fsdp import fully_shard

    init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model, x = get_peft_model(Two(), RoCoFTConfig(**ALL)), torch.randn(2, 6)
        scramble(model)
        expected = model(x)
        fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        torch.testing.assert_close(model(x), expected)
        model(x).sum().backward()
        model.reshard()
        with pytest.raises(RuntimeError, match="sharded"):
            model.merge_adapter()
        sharded = Two()
        fully_shard(sharded, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        with pytest.raises(RuntimeError, match="sharded"):
            get_peft_model(sharded, RoCoFTConfig(**ALL))
    finally:
        destroy_process_group()
