"""Methods whose trained part is a PEFT adapter: saved and loaded in PEFT's format."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rocoft_bench.errors import UserError
from rocoft_bench.methods.method import Method, S
from rocoft_bench.methods.saved import check_loaded, check_peft_config, misfits_explained, read_tensors
from rocoft_bench.models import MASKED_LM, PEFT_CONFIG, TASKS_WITH_HEAD, peft_pattern, with_names_for_patterns

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

TASK_TYPES = {
    MASKED_LM: "FEATURE_EXTRACTION",  # nothing is added to what the model puts out
    "sequence_classification": "SEQ_CLS",
    "question_answering": "QUESTION_ANS",
    "causal_lm": "CAUSAL_LM",
    "seq2seq_lm": "SEQ_2_SEQ_LM",
}
"""PEFT's task type for a task kind; where the kind has a task head, PEFT then trains and saves it in full."""

LINEAR_ONLY = {"gpt2": "peft has it for nn.Linear alone, and the matrices of a gpt2 model are Conv1D"}
"""`not_architectures` of such a method."""


class AdapterMethod(Method[S]):
    """Wraps the model with `peft.get_peft_model`."""

    provider = "peft"
    copies_head = True
    peft_class: ClassVar[str]
    """Name of peft's configuration class."""
    known_warnings: ClassVar[tuple[str, ...]] = ()
    """How warnings of peft begin that say nothing new where this method is applied or loaded."""

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        """What the configuration says beside the modules of `settings.target_modules`."""
        raise NotImplementedError(f"{type(self).__name__} has neither peft_options nor a peft_config of its own")

    def peft_config(self, model: Any, seed: int) -> PeftConfig:
        """The adapter's configuration for a model; task type and head are filled in later."""
        import peft

        options = self.peft_options(model, seed)
        if targets := getattr(self.settings, "target_modules", None):
            options["target_modules"] = peft_pattern(targets, model)
        return getattr(peft, self.peft_class)(**options)

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        from peft import get_peft_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        from rocoft_bench.models.precision import hold_trained_in_float32

        with self._quietly():
            config = self.peft_config(model, seed)
            self.open_head(config, model, task_kind)
            applied = get_peft_model(model, config)
        hold_trained_in_float32(applied)
        for name, module in model.named_modules():
            if isinstance(module, BaseTunerLayer):
                self.finish(module, name, seed)
        return applied

    def finish(self, layer: Any, name: str, seed: int) -> None:
        """What peft leaves to do with a layer of the adapter before training. name: in the model."""

    def open_head(self, config: Any, model: Any, task_kind: str) -> None:
        """Let peft train and save the task head in full."""
        from peft import TaskType

        config.task_type = TaskType(TASK_TYPES[task_kind])
        if task_kind in TASKS_WITH_HEAD and hasattr(config, "modules_to_save"):
            config.modules_to_save = head_modules(model)

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, save_embedding_layers=False)  # "auto" would ask the hub

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from peft import PeftConfig, PeftModel
        from peft.utils import SAFETENSORS_WEIGHTS_NAME, get_peft_model_state_dict

        from rocoft_bench.models.precision import hold_in_float32

        file = folder / SAFETENSORS_WEIGHTS_NAME
        saved = read_tensors(file)
        hold_in_float32(model, self.copied_parameters(model, task_kind))  # or the saved values would be rounded
        with self._quietly():
            expected: Any = self.peft_config(model, 0)
            check_peft_config(folder / PEFT_CONFIG, {**vars(expected), "peft_type": str(expected.peft_type.value)})
            with misfits_explained(file):
                config = with_names_for_patterns(PeftConfig.from_pretrained(str(folder)), model)
                loaded = PeftModel.from_pretrained(model, folder, config=config)
        check_loaded(file, saved, get_peft_model_state_dict(loaded, save_embedding_layers=False))
        return loaded

    def check_is_lora(self) -> None:
        if getattr(self, "peft_class", None) == "LoraConfig":
            raise UserError(f"--format lora: what {self.name} saves, the run's adapter/, is a LoRA adapter already")
        super().check_is_lora()

    def copied_parameters(self, model: Any, task_kind: str) -> Iterator[nn.Parameter]:
        """Those of the base's own modules that peft trains a copy of."""
        if task_kind in TASKS_WITH_HEAD:
            for name in head_modules(model):
                yield from getattr(model, name).parameters()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        with warnings.catch_warnings():
            for beginning in self.known_warnings:
                warnings.filterwarnings("ignore", message=beginning)
            yield

    def _merged(self, model: Any) -> nn.Module:
        """As `merge_and_unload`, which in peft 0.21 fails for most methods where the head has several layers."""
        model.merge_adapter(safe_merge=True)
        return bare(model)


def bare(model: Any) -> nn.Module:
    """The base model of a PEFT one, its own layers back in their places, with the trained head."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    plain: Any = model.get_base_model()
    for name, module in list(plain.named_modules()):
        parent, _, child = name.rpartition(".")
        if isinstance(module, BaseTunerLayer):
            setattr(plain.get_submodule(parent), child, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            setattr(plain.get_submodule(parent), child, module.modules_to_save[module.active_adapters[0]])
    return plain


def head_modules(model: Any) -> list[str]:
    """Names of the modules that stand outside the encoder and have parameters: the task head.

    None where a model has no part that is its encoder, such as T5's.
    """
    if not hasattr(model, model.base_model_prefix):
        return []
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
