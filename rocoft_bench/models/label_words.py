"""Reading a language model as a classifier: the logits of a few words at one position of each example."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import SequenceClassifierOutput


@dataclass(frozen=True)
class WordReader:
    """The forward of a language model that can be read as a classifier. plain: its own."""

    model: Any
    plain: Callable[..., Any]
    words: list[int]

    def __call__(self, *args: Any, mask_position: Tensor | None = None, **inputs: Any) -> Any:
        """With `mask_position` (B,) the logits of the words there, (B, C), and with `labels` (B,) their cross-entropy,
        the loss of LM-BFF (Gao et al. 2021); without it as ever.
        """
        if mask_position is None:
            return self.plain(*args, **inputs)
        labels = inputs.pop("labels", None)
        given = args[0] if args else inputs["inputs_embeds" if inputs.get("input_ids") is None else "input_ids"]
        with _head_only_at(self.model, mask_position, given.shape[1]):
            logits = self.plain(*args, **inputs).logits
        chosen = _at(logits, mask_position)[:, 0, self.words] if logits.shape[1] > 1 else logits[:, 0, self.words]
        loss = None if labels is None else cross_entropy(chosen, labels)
        return SequenceClassifierOutput(loss=loss, logits=chosen)


def read_words(model: Any, words: Sequence[int]) -> None:
    """Let a model (of transformers, not of peft) answer with the logits of these words where it is asked to."""
    before = model.forward
    model.forward = WordReader(model, before.plain if isinstance(before, WordReader) else before, list(words))


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    """(B, 1, …) of (B, T, …)."""
    return hidden[torch.arange(len(positions), device=positions.device), positions].unsqueeze(1)


@contextmanager
def _head_only_at(model: Any, positions: Tensor, length: int) -> Iterator[None]:
    """Inside, the head sees the hidden states at these positions alone, (B, 1, d) instead of (B, T, d)."""

    def pick(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].shape[1:2] != (length,):
            return None
        return (_at(inputs[0], positions), *inputs[1:])

    with ExitStack() as hooks:
        for module in model.children():
            if module is not model.base_model:
                hooks.enter_context(module.register_forward_pre_hook(pick))
        yield
