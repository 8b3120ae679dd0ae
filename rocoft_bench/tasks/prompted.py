"""Tasks in which a causal language model continues a prompt: how prompts and responses are made into examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rocoft_bench.config import Count, TaskConfig
from rocoft_bench.errors import UserError
from rocoft_bench.tasks.data import filled
from rocoft_bench.tasks.prompt_tokens import Example, ExampleEncoder, PromptTokens, prompt
from rocoft_bench.tasks.task import Encoded, Output, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows

_ENCODE_EXAMPLES = 1000


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
        enough = _prompt_limit(fitted) <= longest - answer
        return fitted if enough else fitted.model_copy(update={"max_prompt_length": longest - answer})

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`."""
        from datasets import Dataset, concatenate_datasets

        encoder = ExampleEncoder(self._tokens(tokenizer, settings), self._longest_example(settings, training))
        make = self._training if training else self._evaluation
        parts = []
        for start in range(0, len(examples), _ENCODE_EXAMPLES):
            made = list(make(encoder, examples[start : start + _ENCODE_EXAMPLES], start, settings))
            parts += [Dataset.from_list(made)] if made else []
        encoded = concatenate_datasets(parts) if parts else Dataset.from_dict({"input_ids": []})
        return Encoded(encoded, tuple(self._notes(encoder, settings, training)))

    def prompts(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """The texts up to the places where the responses begin, of several rows by column."""
        return [prompt(*texts) for texts in zip(batch["instruction"], batch["input"], strict=True)]

    def responses(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """What follows each of `prompts`."""
        return batch["output"]

    def _tokens(self, tokenizer: Any, settings: Any) -> PromptTokens:
        return PromptTokens(tokenizer)

    def _longest_example(self, settings: Any, training: bool) -> int:
        """In tokens."""
        return settings.max_length if training else _prompt_limit(settings)

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


def _prompt_limit(settings: Any) -> int:
    return settings.max_prompt_length or settings.max_length
