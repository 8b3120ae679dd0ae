"""From a language model and some examples to what their gradients are made of: one forward pass for a batch, one
backward pass for each output.

The outputs are logits of a few words at one position of each example. Σ_b f_c(x_b) has the gradients of all examples
at once: an example's are those by its own rows of what each layer put out, and examples do not meet in between. Where
they do (DeBERTa projects its relative positions once for the whole batch; FNet mixes an example with its padding), or
where a parameter is used other than by a layer that is known here, `check` finds it out and examples go through one at
a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pad_sequence
from transformers.pytorch_utils import Conv1D

from rocoft_bench.models.label_words import read_words
from rocoft_bench.models.parameter_counts import is_norm
from rocoft_bench.ntk.kernels.captured import Block, ByToken, Captured, Dense, Matrix, SparseRows, joined, merged

PROBE_EXAMPLES = 3
"""A number that no tensor of a model has as its first dimension by chance."""

TOLERANCE = 1e-3
"""What rounding may do to a gradient, relative to its largest entry; some models round to float32 whatever they are in.
What has been overlooked makes much larger differences."""

PROMPT = "prompt_encoder"
"""Where peft has virtual tokens, which it repeats for each example itself."""

DECODER = "@decoder"
"""Ends the key of a decoder's use of the embedding's matrix, where that counts as a parameter of its own."""


@dataclass(frozen=True)
class Example:
    """A text as the model takes it, and the place where the logits are read."""

    input_ids: tuple[int, ...]
    position: int


@dataclass(frozen=True)
class Readout:
    """f_c = Σ_w weights[c, w] · logit of words[w]. words: (W,), no token twice; weights: (C, W)."""

    words: Tensor
    weights: Tensor

    @classmethod
    def of_words(cls, words: Sequence[int]) -> Readout:
        """One output for each word: its logit."""
        return cls(torch.tensor(words), torch.eye(len(words)))

    def difference(self) -> Readout:
        """Of two outputs the second minus the first, as one."""
        return Readout(self.words, self.weights[1:2] - self.weights[:1])


@dataclass(frozen=True)
class _Call:
    """A layer was called. output: on the graph."""

    module: nn.Module
    inputs: Tensor
    output: Tensor


@dataclass
class Capturer:
    """A model whose gradients are asked for; it is put into eval mode and nothing of it is trained.

    tied: whether a decoder that shares the embedding's matrix counts as the same parameter, so that its gradient and
    the embedding's add up before they are multiplied (with the cross terms), or as one of its own.
    one_by_one, direct: set by `check`. trained: the parameters that were to be trained.
    """

    model: Any
    readout: Readout
    pad_token_id: int
    tied: bool = True
    one_by_one: bool = False
    direct: dict[str, nn.Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trained = frozenset(name for name, p in self.model.named_parameters() if p.requires_grad)
        self.model.eval().requires_grad_(False)
        self._names = {id(p): name for name, p in self.model.named_parameters()}
        self._paths = {module: path for path, module in self.model.named_modules()}
        self._decoder = self.model.get_output_embeddings()
        weight = next(self.model.parameters())
        self._device = weight.device
        self._weights = self.readout.weights.to(weight)
        self._words = self.readout.words.to(self._device)
        plain = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model  # without peft's
        read_words(plain, self.readout.words.tolist())

    def capture(self, examples: Sequence[Example], batch_size: int) -> Block:
        """What the gradients of the examples are made of, in their order."""
        step = 1 if self.one_by_one else batch_size
        return joined([self._capture(examples[start : start + step]) for start in range(0, len(examples), step)])

    def check(self, examples: Sequence[Example]) -> None:
        """Compare a few captured gradients with autograd's own, and settle how this model has to be asked.

        Raises: ValueError if gradients differ even so; the model then does something with its layers that is unknown
        here.
        """
        by_length = sorted(examples, key=lambda example: len(example.input_ids))  # so that padding shows
        few = [by_length[index * (len(examples) - 1) // (PROBE_EXAMPLES - 1)] for index in range(PROBE_EXAMPLES)]
        self.direct, truth = {}, self._by_autograd(few)
        with self._recorded(len(few)):
            self.outputs(few)
        self.one_by_one = self._shared
        if not self._differing(self.capture(few, len(few)), truth):
            return
        self.one_by_one = True
        if wrong := self._differing(self.capture(few, 1), truth):
            self.direct = {name: p for name, p in self.model.named_parameters() if name in wrong}
            if still := self._differing(self.capture(few, 1), truth):
                raise ValueError(f"the gradient of {min(still)} cannot be told apart by examples")

    def _differing(self, block: Block, truth: dict[str, Tensor]) -> set[str]:
        """The parameters whose captured gradients do not add up to the true ones."""
        wrong = set()
        largest = max(float(gradient.abs().max()) for gradient in truth.values())
        for name, expected in truth.items():
            own = [c for key, c in block.parameters.items() if self.parameter_of(key) == name]
            shape = expected.shape
            found = sum((self._total(name, captured, shape) for captured in own), torch.zeros_like(expected))
            noise = 100 * torch.finfo(torch.float32).eps * largest  # of a true zero, such as that of a key's bias
            error = float((found - expected).abs().max())
            if not own or error > TOLERANCE * float(expected.abs().max()) + noise:
                wrong.add(name)
        return wrong

    def _total(self, name: str, captured: Captured, shape: torch.Size) -> Tensor:
        """The sum of J over examples and outputs, of the parameter's shape."""
        if isinstance(captured, ByToken):
            rows = captured.gradients.sum(1).flatten(0, 1)  # (B · T, d)
            if isinstance(captured, SparseRows):
                return rows.new_zeros(shape).index_add_(0, captured.inputs.flatten(), rows)
            total = rows.t() @ captured.inputs.flatten(0, 1)
            transposed = {self._names[id(module.weight)] for module in self._paths if isinstance(module, Conv1D)}
            return total.t() if name in transposed else total
        total = captured.gradients.sum((0, 1))
        if len(total) != shape.numel():  # words of a decoder's bias
            return total.new_zeros(shape).index_add_(0, self._words, total)
        return total.reshape(shape)

    def parameter_of(self, key: str) -> str:
        """The model's name for what is captured as `key`."""
        return key.removesuffix(DECODER)

    def _by_autograd(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Σ_b Σ_c of every parameter's gradient, of those that have one; each example goes through alone."""
        parameters = {name: p for name, p in self.model.named_parameters() if p.is_floating_point()}  # or quantised
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        try:
            for example in examples:
                self.outputs([example]).sum().backward()
            found = {name: p.grad for name, p in parameters.items()}
        finally:
            self.model.requires_grad_(False)
            self.model.zero_grad(set_to_none=True)
        return {name: gradient for name, gradient in found.items() if gradient is not None and gradient.any()}

    def _capture(self, examples: Sequence[Example]) -> Block:
        for parameter in self.direct.values():
            parameter.requires_grad_(True)
        with self._recorded(len(examples)) as calls:
            outputs = self.outputs(examples)
        wanted = [call.output for call in calls] + list(self.direct.values())
        count = outputs.shape[1]
        by_output = [
            torch.autograd.grad(outputs[:, c].sum(), wanted, retain_graph=c + 1 < count, allow_unused=True)
            for c in range(count if wanted else 0)
        ]
        by_wanted = list(zip(*by_output, strict=True))
        uses: dict[str, list[Captured]] = {}
        for call, parts in zip(calls, by_wanted[: len(calls)], strict=True):
            if all(part is None for part in parts):  # what is read out does not depend on this call
                continue
            whole = [torch.zeros_like(call.output) if part is None else part for part in parts]
            for key, captured in self._captured(call, whole, len(examples)):
                if key not in self.direct:  # autograd gives all of these
                    uses.setdefault(key, []).append(captured)
        for (name, parameter), parts in zip(self.direct.items(), by_wanted[len(calls) :], strict=True):
            flat = [torch.zeros_like(parameter) if part is None else part for part in parts]
            uses[name] = [Dense(torch.stack(flat).reshape(1, count, -1))]
            parameter.requires_grad_(False)
        return Block({key: merged(found) for key, found in uses.items()}, outputs.detach())

    def _captured(self, call: _Call, parts: list[Tensor], size: int) -> Iterator[tuple[str, Captured]]:
        """What one call says of the gradients of its layer's parameters."""
        gradients = torch.stack([_by_example(part, size) for part in parts], 1)  # (B, C, T, d_out)
        module: Any = call.module
        if isinstance(module, nn.Embedding):
            ids = call.inputs.reshape(size, -1)
            if module.padding_idx is not None:
                gradients = gradients * (ids != module.padding_idx)[:, None, :, None]
            yield self._key(module, "weight"), SparseRows(gradients, ids)
            return
        inputs = _by_example(_normalised(module, call.inputs) if is_norm(module) else call.inputs, size)
        if module is self._decoder:
            gradients = gradients[..., self._words]  # (B, C, T, W)
            rows = gradients.transpose(-1, -2) @ inputs.unsqueeze(1)  # (B, C, W, d)
            yield self._key(module, "weight"), SparseRows(rows, self._words.expand(size, -1))
        elif isinstance(module, nn.Linear | Conv1D):
            yield self._key(module, "weight"), Matrix(gradients, inputs).without_dead_tokens()
        elif module.weight is not None:
            yield self._key(module, "weight"), Dense((gradients * inputs.unsqueeze(1)).sum(2))
        if getattr(module, "bias", None) is not None:
            yield self._key(module, "bias"), Dense(gradients.sum(2))

    def _key(self, module: nn.Module, attribute: str) -> str:
        name = self._names[id(getattr(module, attribute))]
        is_tied = module is self._decoder and attribute == "weight" and not name.startswith(self._paths[module])
        return f"{name}{DECODER}" if is_tied and not self.tied else name

    @contextmanager
    def _recorded(self, size: int) -> Iterator[list[_Call]]:
        """Inside, every call of a known layer is recorded. size: examples in the batch."""
        calls: list[_Call] = []
        self._shared = False

        def widen(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
            if inputs[0].shape[0] == 1 < size:  # positions, looked up once for all examples
                return (inputs[0].expand(size, *inputs[0].shape[1:]), *inputs[1:])
            return None

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                output.requires_grad_(True)
            self._shared |= output.shape[0] != size
            calls.append(_Call(module, inputs[0].detach(), output))
            # a model may change it in place; in batches `check` finds that out
            return output.clone() if output.is_leaf or size == 1 else output

        known = [module for module in self._paths if _is_known(module)]
        handles = [module.register_forward_hook(record) for module in known]
        of_tokens = [m for m in known if isinstance(m, nn.Embedding) and PROMPT not in self._paths[m]]
        handles += [module.register_forward_pre_hook(widen) for module in of_tokens]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    def outputs(self, examples: Sequence[Example]) -> Tensor:
        """f(x) of each example, (B, C)."""
        inputs = self._padded(examples)
        positions = torch.tensor([example.position for example in examples], device=self._device)
        with torch.enable_grad():
            return self.model(**inputs, mask_position=positions).logits @ self._weights.t()

    def _padded(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        def filled(rows: list[tuple[int, ...]], value: int) -> Tensor:
            return pad_sequence([torch.tensor(row) for row in rows], True, value).to(self._device)

        return {
            "input_ids": filled([example.input_ids for example in examples], self.pad_token_id),
            "attention_mask": filled([(1,) * len(example.input_ids) for example in examples], 0),
        }


def _is_known(module: nn.Module) -> bool:
    if not module._parameters:
        return False
    if isinstance(module, nn.Embedding | nn.LayerNorm):  # BART's positions are looked up otherwise
        is_plain = type(module).forward in (nn.Embedding.forward, nn.LayerNorm.forward)
        return is_plain and module.weight is not None
    return isinstance(module, nn.Linear | Conv1D) or (is_norm(module) and getattr(module, "weight", None) is not None)


def _by_example(tensor: Tensor, size: int) -> Tensor:
    """(B, …, d) or, for one example, (…, d), as (B, T, d)."""
    return tensor.detach().reshape(size, -1, tensor.shape[-1])


def _normalised(norm: nn.Module, inputs: Tensor) -> Tensor:
    """A norm's output by its weight, on which it depends linearly."""
    with torch.no_grad():
        zeros = {name: torch.zeros_like(p) for name, p in norm.named_parameters(recurse=False)}
        ones = {**zeros, "weight": torch.ones_like(zeros["weight"])}
        ones_out: Tensor = functional_call(norm, ones, (inputs,))
        return ones_out - functional_call(norm, zeros, (inputs,))
