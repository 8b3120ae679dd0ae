"""From rows to prompts: tokens with one mask, and the tokens of the label words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.fewshot.draws import Draw
from rocoft_bench.ntk.fewshot.tasks import (
    CLS,
    FIRST,
    FIRST_AFTER_BLANK,
    FIRST_WITHOUT_END,
    MASK,
    SECOND,
    SEP,
    FewShotTask,
)
from rocoft_bench.ntk.kernels import Example

OF_FIRST = {
    FIRST: lambda row: row[0],
    FIRST_WITHOUT_END: lambda row: row[0][:-1],
    FIRST_AFTER_BLANK: lambda row: f" {row[0]}",
}
OF_SECOND = {SECOND: lambda row: f" {row[1][:1].lower()}{row[1][1:]}"}


@dataclass(frozen=True)
class Prompter:
    """Makes prompts of a task for one tokenizer; beyond the task's lengths a prompt is cut at its end."""

    task: FewShotTask
    tokenizer: Any

    def check(self, model_name: str) -> None:
        """Raises: UserError if the model has no mask token, or a label word is not one token or not one of its own."""
        if self.tokenizer.mask_token_id is None:
            raise UserError(f"--model {model_name}: has no mask token; prompts need a masked language model")
        tokens = self.word_ids()
        if len(set(tokens)) < len(tokens):
            raise UserError(f"--label-words: two of {', '.join(self.task.words)} are the same token")

    def word_ids(self) -> list[int]:
        """The token of each label word.

        Raises:
            UserError: If one takes several tokens, or is unknown.
        """
        return [self._word_id(word) for word in self.task.words]

    def _word_id(self, word: str) -> int:
        ids = self._ids([f" {word}"])[0]
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            pieces = " ".join(self.tokenizer.convert_ids_to_tokens(ids))
            raise UserError(
                f'label word " {word}" of {self.task.name} is not one token of this model ({pieces}); '
                "name words that are, by class, with --label-words"
            )
        token: int = ids[0]
        return token

    def prompts(self, draw: Draw) -> tuple[list[Example], list[str]]:
        """A prompt for each row, and what was cut, for the record.

        Raises:
            UserError: If a prompt loses its mask to the cut.
        """
        columns = [self._piece(piece, draw.texts) for piece in self.task.template]
        rows = [[token for part in parts for token in part] for parts in zip(*columns, strict=True)]
        cut = sum(len(row) > self.task.max_length for row in rows)
        examples = [self._example(row, number, draw) for number, row in enumerate(rows, 1)]
        name = draw.origin["split"]
        notes = [f"{cut} {name} prompts were cut at {self.task.max_length} tokens"] if cut else []
        if short := self._shortened(draw):
            notes.append(f"the first sentence of {short} {name} prompts was cut at {self.task.first_limit} tokens")
        return examples, notes

    def _example(self, row: list[int], number: int, draw: Draw) -> Example:
        kept = row[: self.task.max_length]
        if self.tokenizer.mask_token_id not in kept:
            raise UserError(
                f"{self.task.name}, {draw.origin['split']} row {number}: the prompt has {len(row)} tokens and loses "
                f"its mask to the cut at {self.task.max_length}; raise --max-length or lower --first-limit"
            )
        return Example(tuple(kept), kept.index(self.tokenizer.mask_token_id))

    def _piece(self, piece: str, texts: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """The tokens of one piece of the template in each row."""
        special = {
            CLS: self.tokenizer.cls_token_id,
            MASK: self.tokenizer.mask_token_id,
            SEP: self.tokenizer.sep_token_id,
        }
        if piece in special:
            return [[special[piece]] if special[piece] is not None else []] * len(texts)
        if piece in OF_FIRST:
            return [ids[: self.task.first_limit] for ids in self._ids([OF_FIRST[piece](row) for row in texts])]
        if piece in OF_SECOND:
            return self._ids([OF_SECOND[piece](row) for row in texts])
        return [self._literal(piece)] * len(texts)

    def _literal(self, text: str) -> list[int]:
        """A single sign is looked up as it is: some tokenizers would put a blank before it."""
        own = self.tokenizer.convert_tokens_to_ids(text) if len(text) == 1 else None
        return self._ids([text])[0] if own in (None, self.tokenizer.unk_token_id) else [own]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def _shortened(self, draw: Draw) -> int:
        """How many first sentences are longer than they may be."""
        if self.task.first_limit is None:
            return 0
        piece = next(piece for piece in self.task.template if piece in OF_FIRST)
        return sum(len(ids) > self.task.first_limit for ids in self._ids([OF_FIRST[piece](row) for row in draw.texts]))
