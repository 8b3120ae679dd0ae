"""Tasks in which a causal language model continues a prompt: LLM-Adapters' words, and examples of token ids made of it.

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

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rocoft_bench.config import Count, TaskConfig
from rocoft_bench.errors import UserError
from rocoft_bench.tasks.data import filled
from rocoft_bench.tasks.task import ENCODE_EXAMPLES, Encoded, Output, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows

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
        alone, continued = self.ids([prompt("x"), f"{prompt('x')}the"])
        keeps_border = continued[: len(alone)] == alone  # the word leaves the prompt's own tokens as they are
        self._moved = "" if is_chat or keeps_border else " "

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


class PromptConfig(TaskConfig):
    """What all tasks with prompts can be told."""

    max_length: Count = 512
    """Longest training row in tokens, prompt and response; the beginning of longer prompts is cut (counted)."""
    max_prompt_length: Count | None = None
    """Longest evaluation prompt in tokens; by default max_length, or what the model takes beside max_new_tokens."""
    loss_on: Literal["sequence", "response"] = "sequence"
    """Learn prompt and response, as LLM-Adapters and the published notebooks do, or the response only."""
    append_eos: bool = True
    """End training responses with the end token, so that the model learns to stop; the notebooks append none."""
    max_new_tokens: Count = 32
    """Longest answer that is generated, in tokens."""
    num_beams: Count = 1
    """Beams of the search; 1 is greedy. LLM-Adapters samples with 4."""


@dataclass(frozen=True, kw_only=True)
class PromptedTask(Task):
    """A response to the texts "instruction" and "input" (mostly empty), which is learnt from "output"."""

    kind: ClassVar[str] = "causal_lm"
    Settings: ClassVar[type[TaskConfig]] = PromptConfig
    text_columns: tuple[str, ...] = ("instruction",)
    target_columns: tuple[str, ...] = ("output",)

    def asked(self, table: RawRows) -> list[dict[str, Any]]:
        """See `Task.asked`. Inputs are read too, where there is a column of them."""
        inputs = table.columns.get(self.called("input"), [None] * len(table.places))
        return [{**row, "input": str(filled(cell))} for row, cell in zip(super().asked(table), inputs, strict=True)]

    def protocol(self, settings: Any) -> str:
        beams = f"{settings.num_beams} beams" if settings.num_beams > 1 else "greedy"
        return f"strict: generated from the prompt alone ({beams}, {settings.max_new_tokens} tokens at most)"

    def template(self, tokenizer: Any) -> str:
        """Of rows without an input, and with one."""
        return f"{prompt('{instruction}')}{{output}}\n\n{prompt('{instruction}', '{input}')}{{output}}"

    def output(self, settings: Any) -> Output:
        return "text"

    def generation(self, settings: Any) -> dict[str, Any]:
        return {"max_new_tokens": settings.max_new_tokens, "num_beams": settings.num_beams}

    def fitted(self, settings: Any, longest: int | None, longest_target: int | None = None) -> Any:
        """See `Task.fitted`. Prompts leave room for the answer.

        Raises: UserError where the model takes no more tokens than the answer may have.
        """
        fitted = super().fitted(settings, longest)
        if longest is None or self.output(settings) != "text":
            return fitted
        answer = self.generation(settings)["max_new_tokens"]
        if longest <= answer:
            raise UserError(f"the model takes {longest} tokens, so max_new_tokens = {answer} leaves none for a prompt")
        enough = (fitted.max_prompt_length or fitted.max_length) <= longest - answer
        return fitted if enough else fitted.model_copy(update={"max_prompt_length": longest - answer})

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`."""
        from datasets import Dataset, concatenate_datasets

        tokens = PromptTokens(tokenizer, self._is_chat(tokenizer, settings))
        encoder = ExampleEncoder(tokens, self._longest_example(settings, training))
        make = self._training if training else self._evaluation
        parts = []
        for start in range(0, len(examples), ENCODE_EXAMPLES):
            made = list(make(encoder, examples[start : start + ENCODE_EXAMPLES], start, settings))
            parts += [Dataset.from_list(made)] if made else []
        encoded = concatenate_datasets(parts) if parts else Dataset.from_dict({"input_ids": []})
        return Encoded(encoded, tuple(self._notes(encoder, settings, training)))

    def prompts(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """The texts up to the places where the responses begin, of several rows by column."""
        return [prompt(*texts) for texts in zip(batch["instruction"], batch["input"], strict=True)]

    def responses(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """What follows each of `prompts`."""
        return batch["output"]

    def _is_chat(self, tokenizer: Any, settings: Any) -> bool:
        """Whether prompts are of the tokenizer's chat template."""
        return False

    def _longest_example(self, settings: Any, training: bool) -> int:
        """In tokens."""
        return settings.max_length if training else settings.max_prompt_length or settings.max_length

    def _training(self, encoder: ExampleEncoder, batch: Example, start: int, settings: Any) -> Iterator[Example]:
        tokenizer = encoder.tokens.tokenizer
        texts = self.prompts(batch, tokenizer, settings), self.responses(batch, tokenizer, settings)
        yield from encoder.training(*texts, settings.append_eos, loss_on_prompt=settings.loss_on == "sequence")

    def _evaluation(self, encoder: ExampleEncoder, batch: Example, start: int, settings: Any) -> Iterator[Example]:
        """start: the number of the batch's first row."""
        return encoder.prompts(self.prompts(batch, encoder.tokens.tokenizer, settings))

    def _notes(self, encoder: ExampleEncoder, settings: Any, training: bool) -> Iterator[str]:
        what = "training examples" if training else "evaluation prompts"
        if encoder.cut:
            end = encoder.cut_side
            yield f"{encoder.cut} {what} have more than {encoder.max_length} tokens and were cut at their {end}"
        if encoder.dropped:
            yield (
                f"{encoder.dropped} training examples were dropped: "
                f"their response alone has more than {encoder.max_length} tokens"
            )
