"""What a forward pass keeps for the backward pass, and what it needs for a moment, from a model's shapes.

Counted in values of one example, layer by layer: the input of each norm, dropout masks, what the linear layers hand
to attention and to the activation function, the scores of an attention that keeps them, and what a fine-tuning method
keeps. A frozen linear layer keeps nothing. Left out are the head's values and those of a few numbers per token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rocoft_bench.models.linear_roles import ROLES
from rocoft_bench.models.shapes import LinearShape, ModelShapes

KEPT_BY_ACTIVATION = {"gelu_new": 4, "gelu_fast": 4}
"""Values kept per input; 1, the input itself, where torch has the function in one piece."""


@dataclass(frozen=True)
class PerToken:
    """Values for each token of the input, and for each of the output that an encoder-decoder reads or writes."""

    source: float = 0.0
    target: float = 0.0

    def of(self, length: ExampleLength) -> float:
        """Values of one example."""
        return self.source * length.source + self.target * length.target

    def __add__(self, other: PerToken) -> PerToken:
        return PerToken(self.source + other.source, self.target + other.target)


@dataclass(frozen=True)
class ExampleLength:
    """Tokens of an example; `target` is 0 but for an encoder-decoder."""

    source: int
    target: int = 0


@dataclass(frozen=True, eq=False)
class LayerSizes:
    """The linear layers of a model by what they do, and what that makes a forward pass keep. Compared by identity."""

    shapes: ModelShapes

    @cached_property
    def roles(self) -> dict[str, str]:
        """Of a fused projection, query."""
        return {linear.name: role for role in reversed(ROLES) for linear in self.shapes.targeted([role])}

    def per_token(self, values: Iterable[tuple[LinearShape, float]]) -> PerToken:
        """Values per token at linear layers, put down to the tokens that each layer reads."""
        sums = [0.0, 0.0]
        for linear, count in values:
            sums[self.reads_target(linear)] += count
        return PerToken(*sums)

    def reads_target(self, linear: LinearShape) -> bool:
        of_encoder = self.is_cross(linear) and self.roles.get(linear.name) in ("key", "value")
        return self.shapes.is_encoder_decoder and "decoder." in linear.name and not of_encoder

    def is_cross(self, linear: LinearShape) -> bool:
        """Whether it belongs to an attention of a decoder to an encoder."""
        return ".encoder_attn." in linear.name or ".EncDecAttention." in linear.name

    def distinct_inputs(self, linears: Iterable[LinearShape]) -> PerToken:
        """The inputs of linear layers, once where several read the same."""
        readers = {self._input(linear): linear for linear in linears}
        return self.per_token((linear, linear.d_in) for linear in readers.values())

    def _input(self, linear: LinearShape) -> tuple[str, str]:
        """Equal for layers that read the same tensor."""
        role = self.roles.get(linear.name, linear.name)
        parent = linear.name.rpartition(".")[0]
        if self.is_cross(linear) and role in ("key", "value"):
            return "encoder", "output"
        return parent, {"key": "query", "value": "query", "ffn_gate": "ffn_in"}.get(role, role)

    @cached_property
    def outputs(self) -> PerToken:
        """What attention and activation functions keep of the outputs of linear layers that feed them."""
        gated = "ffn_gate" in self.roles.values()
        kept = dict.fromkeys(ROLES, 1)
        kept |= {"attention_output": 0, "ffn_out": 0, "ffn_gate": 2}  # a gate: what it reads, and what it multiplies
        kept["ffn_in"] = 1 if gated else KEPT_BY_ACTIVATION.get(self.shapes.forward.activation or "", 1)
        roles = self.roles
        return self.per_token((li, li.d_out * kept[roles.get(li.name, "query")]) for li in self.shapes.linears)

    @cached_property
    def branches(self) -> PerToken:
        """How often something is added to the residual stream, the embeddings included."""
        ends = self.shapes.targeted(["attention_output", "ffn_out"])
        blocks = self.per_token((linear, 1) for linear in ends)
        return PerToken(blocks.source + 1, blocks.target + self.shapes.is_encoder_decoder)

    @cached_property
    def norms(self) -> PerToken:
        """Normalisation layers, split between encoder and decoder like the branches."""
        b, norms = self.branches, len(self.shapes.norm_sizes)
        return PerToken(norms * b.source / (b.source + b.target), norms * b.target / (b.source + b.target))

    @cached_property
    def contexts(self) -> PerToken:
        """The results of attention, which the layers after it read."""
        return self.per_token((linear, linear.d_in) for linear in self.shapes.targeted(["attention_output"]))

    @cached_property
    def cached_keys(self) -> PerToken:
        """Keys and values that generation keeps."""
        pairs = self.shapes.targeted(["key", "value"])
        fused = any(self.roles[linear.name] == "query" for linear in pairs)  # its output is query, key and value
        return self.per_token((linear, linear.d_out * (2 / 3 if fused else 1)) for linear in pairs)

    @cached_property
    def blocks(self) -> PerToken:
        """How many there are."""
        return self.per_token((linear, 1) for linear in self.shapes.targeted(["ffn_out"]))

    @cached_property
    def attentions(self) -> tuple[int, int, int]:
        """How many: of an encoder or a decoder-only model, of a decoder to itself, and of a decoder to an encoder."""
        ends = self.shapes.targeted(["attention_output"])
        cross = sum(self.is_cross(linear) for linear in ends)
        target = sum(self.reads_target(linear) for linear in ends) - cross
        return len(ends) - target - cross, target, cross

    def scores(self, length: ExampleLength) -> int:
        """Pairs of tokens that attend to each other, over all attentions, of one head."""
        own, target, cross = self.attentions
        return own * length.source**2 + target * length.target**2 + cross * length.source * length.target

    def relative_scores(self, length: ExampleLength) -> float:
        """Values of all heads that DeBERTa keeps for relative positions: scores, and its copy of the positions."""
        columns, forward = self.shapes.forward.relative_columns, self.shapes.forward
        return columns * self.attentions[0] * (forward.heads * length.source + self.shapes.hidden_size)

    @cached_property
    def widest(self) -> int:
        """Values of a token at the widest place of a block."""
        return max(max(linear.d_in, linear.d_out) for linear in self.shapes.linears)
