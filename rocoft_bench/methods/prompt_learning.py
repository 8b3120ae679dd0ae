"""What is trained stands before the input: prompt tuning and prefix-tuning, by peft."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.errors import UserError
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.models import ENCODERS, LINEAR_ROLES, MASKED_LM, TASKS_WITH_HEAD, ModelShapes

if TYPE_CHECKING:
    from torch import nn


class PromptSettings(StrictModel):
    num_virtual_tokens: Count = 20
    """l, the trained positions before the input."""


class PromptLearning(AdapterMethod[PromptSettings]):
    mergeable = False
    Settings = PromptSettings

    @property
    def virtual_tokens(self) -> int:  # type: ignore[override]
        return self.settings.num_virtual_tokens

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"num_virtual_tokens": self.settings.num_virtual_tokens}


class PromptTuning(PromptLearning):
    """l trained embeddings before those of the input (Lester et al. 2021).

    They start as the embeddings of random tokens of the vocabulary. In an encoder-decoder they stand before the
    encoder's input; peft would by default train as many again for the decoder, which its forward never uses.

    What peft leaves to its user is done here by hooks: a task head, and whoever reads a language model's logits, sees
    the real tokens only (in peft alone, a head that reads the first position reads a virtual token, and answer
    positions are off by l), and padding on the left takes no positions.

    Trained parameters outside the head: l d. The paper's Table 1 figure, 0.61M on RoBERTa-base, is l = 20 (15,360) with
    the 592,130 of the head; 20,480 and 1.07M on RoBERTa-large. Table 7's 0.650M on DeBERTaV3-base would be l = 844.
    """

    name = "prompt-tuning"
    label = "Prompt tuning"
    trains = "embeddings of virtual tokens before the input"
    reference = "Lester et al. 2021, arXiv 2104.08691"
    peft_class = "PromptTuningConfig"
    # The paper's decay; its rate, 0.3, is Adafactor's and T5's.
    learning_rate, weight_decay = 2e-2, 1e-5

    def check_supports(self, task_kind: str, model_type: str | None) -> None:
        super().check_supports(task_kind, model_type)
        if task_kind == "sequence_classification" and model_type in LINEAR_ROLES and model_type not in ENCODERS:
            raise UserError(
                f"method {self.name}: a {model_type} classifier finds a text's end in its token ids, but peft gives it "
                f"embeddings; it supports {', '.join(ENCODERS)}"
            )

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        options = super().peft_options(model, seed)
        return {**options, "num_transformer_submodules": 1, "prompt_tuning_init": "SAMPLE_VOCAB"}

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        return hide_virtual_tokens(super().apply(model, task_kind, seed), task_kind, self.virtual_tokens)

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        return hide_virtual_tokens(super().load(model, folder, task_kind), task_kind, self.virtual_tokens)

    @property
    def added_tokens(self) -> int:  # type: ignore[override]
        return self.virtual_tokens

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return self.settings.num_virtual_tokens * shapes.hidden_size


def hide_virtual_tokens(model: Any, task_kind: str, count: int) -> nn.Module:
    """Hooks that show the real tokens alone to a PEFT model's head, or to the reader of its logits; the model."""
    base = model.get_base_model()
    if task_kind in TASKS_WITH_HEAD:
        base.base_model.register_forward_hook(partial(_drop_first, "last_hidden_state", count))
        pooler = getattr(base.base_model, "pooler", None)
        if pooler is not None:
            pooler.register_forward_pre_hook(lambda module, args: (args[0][:, count:], *args[1:]))
    if task_kind == MASKED_LM:
        base.register_forward_pre_hook(partial(_moved_mask, count), with_kwargs=True)
    if task_kind == "causal_lm":
        model.register_forward_hook(partial(_drop_first, "logits", count))
        if "position_ids" in inspect.signature(base.forward).parameters:
            base.register_forward_pre_hook(_place_by_mask, with_kwargs=True)
    return model


def _drop_first(name: str, count: int, module: nn.Module, args: Any, outputs: Any) -> Any:
    """outputs[name] (examples, positions, …) without the first positions."""
    outputs[name] = outputs[name][:, count:]
    return outputs


def _moved_mask(count: int, model: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """With the place of the mask among all tokens instead of the real ones."""
    position = inputs.get("mask_position")
    return args, inputs if position is None else {**inputs, "mask_position": position + count}


def _place_by_mask(model: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Let a decoder's positions count what its attention mask shows.

    peft drops those that `generate` computes, and without any a model counts padding too: the distance between the
    prompt and a text padded on the left would then depend on the other examples of its batch.
    """
    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return args, inputs
    given = inputs["input_ids"] if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"]
    positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)  # (examples, virtual, cached and given tokens)
    return args, {**inputs, "position_ids": positions[:, -given.shape[1] :]}


NO_CACHE = "peft gives the prefix to a model as cached keys and values, which a {} model does not take"


class PrefixInAttention(InModelMethod[PromptSettings]):
    """Prefix-tuning of a model that takes no cache: each attention has a prefix of its own."""

    name = "prefix-tuning"
    mergeable = False

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.attention_prefix import FlatPrefix, put_prefixes

        put_prefixes(model, partial(FlatPrefix, self.settings.num_virtual_tokens))

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 2 * self.settings.num_virtual_tokens * sum(shapes.key_widths)


class PrefixTuning(PromptLearning):
    """l trained keys and values before those of every attention layer (Li and Liang 2021).

    They are trained as they are, without the network that the paper computes them with. In an encoder-decoder they
    stand before the decoder's self-attention. peft gives them to the model as a cache: the positions of the real tokens
    start after them, wherever the model counts positions. DeBERTa takes no such cache; there they stand in the
    attention itself (`PrefixInAttention`), and the positions stay as they are.

    Trained parameters outside the head: 2 l times the width of each layer's keys, 2 L l d as a rule. The paper's Table
    1 figure, 0.96M on RoBERTa-base, is l = 20 (368,640) with the 592,130 of the head; 983,040 and 2.03M on
    RoBERTa-large. Table 2's are met with l = 136 (BLOOMZ-7B, 33,423,360), 121 (GPT-J, 27,754,496), 128 (LLaMA-2-7B,
    33,554,432) and 151 (LLaMA-2-13B, 61,849,600); Table 7's with l = 121 on BART-large (2,973,696) and l = 94 on
    DeBERTaV3-base (1,732,608).
    """

    name = "prefix-tuning"
    label = "Prefix-tuning"
    trains = "keys and values before those of every attention layer"
    provider = "peft; rocoft-bench for DeBERTa"
    reference = "Li and Liang 2021, arXiv 2101.00190"
    peft_class = "PrefixTuningConfig"
    # P-tuning v2's script for RTE on BERT-base, whose prefix is trained without a network too.
    learning_rate, weight_decay = 1e-2, 0.0
    checkpoints_gradients = False
    not_architectures = {"distilbert": NO_CACHE.format("distilbert")}  # noqa: RUF012 - a constant
    presets = {  # noqa: RUF012 - a constant
        "deberta-v3-base": {"num_virtual_tokens": 94},
        "bart-large": {"num_virtual_tokens": 121},
        "bloomz-7b": {"num_virtual_tokens": 136},
        "gpt-j-6b": {"num_virtual_tokens": 121},
        "llama-2-7b": {"num_virtual_tokens": 128},
        "llama-2-13b": {"num_virtual_tokens": 151},
    }

    def _here(self, model_type: str) -> PrefixInAttention | None:
        """What is done in peft's place, for models of which peft cannot do it."""
        return PrefixInAttention(self.settings) if model_type == "deberta-v2" else None

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        here = self._here(model.config.model_type)
        return here.apply(model, task_kind, seed) if here else super().apply(model, task_kind, seed)

    def save(self, model: Any, folder: Path) -> None:
        here = self._here(model.config.model_type)
        return here.save(model, folder) if here else super().save(model, folder)

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        here = self._here(model.config.model_type)
        return here.load(model, folder, task_kind) if here else super().load(model, folder, task_kind)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        if here := self._here(shapes.model_type):
            return here.adapter_parameters(shapes)
        keys = shapes.targeted(["key"])
        if shapes.is_encoder_decoder:
            keys = keys[: len(keys) // 3]  # of an encoder's, a decoder's own and its cross-attention, one has a prefix
        widths = [min(key.d_out, shapes.hidden_size) for key in keys]  # a fused projection yields more than keys
        return 2 * self.settings.num_virtual_tokens * sum(widths)
