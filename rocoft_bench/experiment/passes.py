"""Bytes that forward and backward passes hold beside weights, gradients and optimizer. No torch here."""

from dataclasses import dataclass

from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.models.activations import ExampleLength, LayerSizes, PerToken

FLOAT32 = 4


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
        copies = 2 * (
            self.method.copied_weights + self._vocabulary_weights if self.mixed and self.item > 2 else in_place
        )
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

    @property
    def _vocabulary_weights(self) -> int:
        """Of the head that logits come from."""
        return self._width * self.facts.shapes.forward.vocab_size if self.writes_text else 0

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
