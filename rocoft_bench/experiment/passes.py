"""What forward and backward passes hold beside weights, gradients and optimizer, from a model's shapes. No torch here.

`LayerSizes` counts values of one example, layer by layer: the input of each norm, dropout masks, what the linear layers
hand to attention and to the activation function, the scores of an attention that keeps them, and what a fine-tuning
method keeps. A frozen linear layer keeps nothing. Left out are the head's values and those of a few numbers per token.
`Passes` makes bytes of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.models import ROLES, LinearShape, ModelShapes

FLOAT32 = 4

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


@dataclass(frozen=True)
class MethodNeeds:
    """What a method needs on a model, and what its layers keep for backward beside what a frozen model keeps.

    added: trained values outside the head; without any, no gradient enters the model. inputs: of layers, once where
    several share one; inputs_apart: once for each, as they are kept where every layer converts its input. beside:
    further values. copied_weights: values of weights of which mixed precision keeps a copy. trained_weights: values of
    the model's own weights that are trained: in float32, of which a 16-bit model keeps a copy too, and computes its
    norms in float32.
    """

    memory: MethodMemory
    added: int
    inputs: PerToken
    inputs_apart: PerToken
    beside: PerToken
    copied_weights: int
    trained_weights: int


@dataclass(frozen=True)
class Passes:
    """Passes over batches whose examples are all as long as `length`.

    item: bytes of a value of the model; in `mixed` precision those of products take 2. dropout: replaces the model's
    own, if set. writes_text: whether it is a language model, whose logits are as wide as the vocabulary.
    """

    facts: LayerSizes
    method: MethodNeeds
    length: ExampleLength
    item: int
    mixed: bool
    gpu: bool
    dropout: float | None
    writes_text: bool

    def training_bytes(self, examples: int, checkpointing: bool) -> float:
        """The most that a training step holds: what is kept, and the logits or what lives for a moment in a block."""
        kept = self.kept_bytes(examples)
        if checkpointing:
            blocks = self.facts.blocks
            inputs = self.item * examples * self._width * blocks.of(self.length)
            kept = inputs + kept / max(1, blocks.source + blocks.target)
        return kept + max(self._moment_bytes(examples), 3 * self.kept_logits_bytes(examples))

    def kept_bytes(self, examples: int) -> float:
        """What the model, without its head, keeps for backward."""
        if not self.method.added:
            return 0.0
        facts, length = self.facts, self.length
        mask = (1 if self.gpu else self._product) if self._dropout(facts.shapes.forward.hidden_dropout) else 0
        in_place = self.method.trained_weights if self.item < FLOAT32 else 0
        norm_item = FLOAT32 if in_place else self.item
        stream = self._width * (norm_item * facts.norms.of(length) + mask * facts.branches.of(length))
        products = self._product * facts.outputs.of(length) + self._method_bytes()
        of_head = self._width * facts.shapes.forward.vocab_size if self.writes_text else 0  # that logits come from
        copies = 2 * (self.method.copied_weights + of_head if self.mixed and self.item > 2 else in_place)
        per_pass = FLOAT32 * self.method.memory.saved_per_pass
        return examples * (stream + products + self._attention_bytes()) + copies + per_pass

    def _method_bytes(self) -> float:
        """Of an example, what the method keeps: it computes in float32 with values of its own, if not in mixed ones."""
        method = self.method
        own = method.memory.adds_values and not method.memory.fuses_matmul
        item = FLOAT32 if own and not self.mixed else self._product
        inputs = method.inputs_apart if self.mixed or item != self.item else method.inputs
        return item * (inputs + method.beside).of(self.length)

    def kept_logits_bytes(self, examples: int) -> float:
        """Of a language model's loss: logits as they are, log-probabilities where the model's own loss keeps these."""
        own_loss = self.facts.shapes.is_encoder_decoder
        item = FLOAT32 if own_loss and self.mixed else self._product
        return item * self._logits(examples)

    def _logits(self, examples: int) -> float:
        tokens = self.length.target if self.facts.shapes.is_encoder_decoder else self.length.source
        return examples * tokens * self.facts.shapes.forward.vocab_size if self.writes_text else 0.0

    def forward_bytes(self, examples: int) -> float:
        """The most that a forward pass without gradients holds, all logits of a language model included."""
        return self._block_bytes(examples) + 3 * FLOAT32 * self._logits(examples)

    def generation_bytes(self, examples: int, new_tokens: int, beams: int) -> float:
        """The most that writing text holds: keys and values, a block's pass over the prompts, and a token's logits."""
        two_sided = self.facts.shapes.is_encoder_decoder
        source = self.length.source
        whole = ExampleLength(source, new_tokens) if two_sided else ExampleLength(source + new_tokens)
        cache = self._product * self.facts.cached_keys.of(whole)
        logits = 4 * FLOAT32 * self.facts.shapes.forward.vocab_size  # as scores, log-probabilities, and of each beam
        return examples * beams * (cache + logits) + self._block_bytes(examples * (1 if two_sided else beams))

    @property
    def _width(self) -> int:
        return self.facts.shapes.hidden_size

    @property
    def _product(self) -> int:
        return 2 if self.mixed else self.item

    def _dropout(self, own: float | None) -> bool:
        return own is not None and bool(own if self.dropout is None else self.dropout)

    def _attention_bytes(self) -> float:
        """What the attentions of an example keep.

        All in one piece, they keep their result and, spread over the batch, a mask. Otherwise they keep probabilities,
        and with dropout its mask and what is left: so they do in torch on a CPU wherever there is dropout.
        """
        facts, forward = self.facts, self.facts.shapes.forward
        dropped = self._dropout(forward.attention_dropout)
        if forward.fused_attention and (self.gpu or not dropped):
            return self._product * (facts.contexts.of(self.length) + facts.scores(self.length))
        mask = 1 if self.gpu else FLOAT32
        probabilities = forward.heads * facts.scores(self.length)
        return probabilities * (2 * FLOAT32 + mask if dropped else FLOAT32) + (
            self._product * facts.relative_scores(self.length)
        )

    def _moment_bytes(self, examples: int) -> float:
        """Two copies of the largest tensor of a block: a gradient, and what is made of it."""
        scores = FLOAT32 * self.facts.shapes.forward.heads * self.length.source**2
        return 2 * examples * max(self._product * self.length.source * self.facts.widest, scores)

    def _block_bytes(self, examples: int) -> float:
        """A block's forward pass: the residual stream, queries, keys, values, and the widest part twice."""
        per_token = 5 * self._width + 2 * self.facts.widest
        scores = 0 if self.facts.shapes.forward.fused_attention else 2 * FLOAT32 * self.facts.shapes.forward.heads
        return examples * (self._product * self.length.source * per_token + scores * self.length.source**2)
