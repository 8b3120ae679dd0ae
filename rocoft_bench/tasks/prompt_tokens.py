"""Instructions as a causal language model takes them: LLM-Adapters' prompt, and examples of token ids made from it.

The template is that of LLM-Adapters' training (`finetune.py` of AGI-Edgerunners/LLM-Adapters), byte for byte: two
blanks after "request." where there is no input and one where there is, every line of its own indented by 16 blanks.
(Its evaluation scripts leave out some of these blanks. A model should be asked in the words that it was trained on,
so here one template serves both.)

Where prompt and response meet, a tokenizer may join the last blank of the indentation with the first word of the
response, as it does in the full text that the published code trains on. The ids of a prompt must not depend on the
response, and the ids of a training row must begin with those of its prompt. So it is found out once for a tokenizer
whether its words begin with their blank; if they do, that blank belongs to the response. Training examples then have
the ids of the full text; only where a response does not begin with a word can they differ from it, at the border.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rocoft_bench.errors import UserError

Ids = list[int]
Example = dict[str, Any]

NO_LABEL = -100
"""Marks tokens that nothing is learnt from."""

_INDENT = " " * 16
_BREAK = f"\n{_INDENT}\n{_INDENT}"
_ALONE = "Below is an instruction that describes a task. Write a response that appropriately completes the request.  "
_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request. "
)


def prompt(instruction: str, context: str = "") -> str:
    """The text up to the place where the response begins. context: the row's `input`; mostly there is none."""
    head = _WITH_INPUT if context else _ALONE
    middle = f"### Input:\n{_INDENT}{context}{_BREAK}" if context else ""
    return f"{head}\n\n{_INDENT}### Instruction:\n{_INDENT}{instruction}{_BREAK}{middle}### Response:\n{_INDENT}"


class PromptTokens:
    """Prompts and responses as token ids of one tokenizer.

    start: the token that the tokenizer begins texts with, if it does. end: the token that ends a response.
    is_chat: prompts are of the tokenizer's chat template, which puts every special token into the text itself.
    """

    def __init__(self, tokenizer: Any, is_chat: bool = False) -> None:
        self.tokenizer = tokenizer
        begin = tokenizer.bos_token_id
        begins = not is_chat and begin is not None and tokenizer("")["input_ids"][:1] == [begin]
        self.start: Ids = [begin] if begins else []
        self.end: Ids = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self._moved = "" if is_chat or self._keeps_border(prompt("x")) else " "

    def _keeps_border(self, text: str) -> bool:
        """Whether a word after the text leaves the text's own tokens as they are."""
        alone, continued = self.ids([text, f"{text}the"])
        return continued[: len(alone)] == alone

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Each text without special tokens."""
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def prompts(self, texts: Sequence[str]) -> list[Ids]:
        """Each prompt, without `start`."""
        return self.ids([text.removesuffix(self._moved) for text in texts])

    def pairs(self, prompts: Sequence[str], responses: Sequence[str]) -> Iterator[tuple[Ids, Ids]]:
        """Prompt and response of each row, without `start` and `end`; the prompt is as `prompts` has it."""
        whole = self.ids([before + after for before, after in zip(prompts, responses, strict=True)])
        for first, both, response in zip(self.prompts(prompts), whole, responses, strict=True):
            joins = both[: len(first)] == first
            yield first, both[len(first) :] if joins else self._continuing(self._moved + response)

    def _continuing(self, text: str) -> Ids:
        """The ids of a text after another one, without the blank that some tokenizers put before a first word."""
        before, both = self.ids(["\n", f"\n{text}"])
        return both[len(before) :] if both[: len(before)] == before else self.ids([text])[0]


@dataclass
class ExampleEncoder:
    """Makes examples of at most `max_length` tokens, and counts those that did not fit.

    What does not fit is cut from the beginning of the prompt: `start`, the instruction's end and the response stay.
    Only texts that are `truncated` are cut at their end.
    """

    tokens: PromptTokens
    max_length: int
    cut: int = 0
    cut_side: str = "beginning"
    dropped: int = 0

    def training(
        self, prompts: Sequence[str], responses: Sequence[str], append_eos: bool, loss_on_prompt: bool
    ) -> Iterator[Example]:
        """Examples with a label for each token that is to be learnt. One whose response alone is too long is left out.

        No position predicts the first token, so it never has a label.
        """
        for first, response in self.tokens.pairs(prompts, responses):
            end = self.tokens.end if append_eos and response[-1:] != self.tokens.end else []
            room = self.max_length - len(response) - len(end)
            if room < len(self.tokens.start):
                self.dropped += 1
                continue
            before = self._shortened(first, room)
            ids = before + response + end
            labels = list(ids) if loss_on_prompt else [NO_LABEL] * len(before) + response + end
            yield {**_inputs(ids), "labels": [NO_LABEL, *labels[1:]]}

    def prompts(self, texts: Sequence[str]) -> Iterator[Example]:
        """Examples that end where the response is to begin."""
        for ids in self.tokens.prompts(texts):
            yield _inputs(self._shortened(ids, self.max_length))

    def alternatives(self, text: str, responses: Sequence[str]) -> Iterator[Example]:
        """A row for each response to one prompt, labelled on the response only; all have the same prompt.

        Raises: UserError where `max_length` leaves no room for any of the prompt.
        """
        pairs = list(self.tokens.pairs([text] * len(responses), responses))
        room = self.max_length - max(len(response) for _, response in pairs)
        if room <= len(self.tokens.start):
            raise UserError(f"max_length {self.max_length} leaves no room for a prompt beside the answers; raise it")
        before = self._shortened(pairs[0][0], room)
        for _, response in pairs:
            yield {**_inputs(before + response), "labels": [NO_LABEL] * len(before) + response}

    def truncated(self, texts: Sequence[str], ending: int) -> Iterator[Example]:
        """Full texts, cut at their end as the published code cuts, without their last `ending` tokens ("removed")."""
        self.cut_side = "end"
        for body in self.tokens.ids(texts):
            ids = self.tokens.start + body
            self.cut += len(ids) > self.max_length
            kept = ids[: self.max_length]
            yield {**_inputs(kept[:-ending]), "removed": kept[-ending:]}

    def _shortened(self, ids: Ids, room: int) -> Ids:
        """`start`, or what a chat template has in its place, and as much of the prompt's end as fits into `room`."""
        start = self.tokens.start
        if not start and self.tokens.tokenizer.bos_token_id in ids[:1]:
            start, ids = ids[:1], ids[1:]
        too_many = max(0, len(start) + len(ids) - room)
        self.cut += bool(too_many)
        return start + ids[too_many:]


def _inputs(ids: Ids) -> Example:
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}
