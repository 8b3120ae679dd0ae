"""From rows to prompts: tokens with one mask, and the tokens of the label words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rocoft_bench.errors import UserError

CLS, MASK, SEP = "<cls>", "<mask>", "<sep>"
FIRST = "{S1}"
FIRST_WITHOUT_END = "{S1 without its last character}"
FIRST_AFTER_BLANK = "{ S1}"
SECOND = "{ S2 with a lower-case first letter}"
"""Pieces of a prompt that are no text."""

OF_ROW = {
    FIRST: lambda row: row[0],
    FIRST_WITHOUT_END: lambda row: row[0][:-1],
    FIRST_AFTER_BLANK: lambda row: f" {row[0]}",
    SECOND: lambda row: f" {row[1][:1].lower()}{row[1][1:]}",
}

Texts = Sequence[tuple[str, ...]]
"""The sentences of each row."""


def in_one_line(pieces: Sequence[str]) -> str:
    """A prompt as it is told to a person."""
    return "".join(f"[{piece}]" if piece[0] not in "<{" else piece for piece in pieces)


@dataclass(frozen=True)
class Prompter:
    """Makes prompts of a task for one tokenizer. Its pieces are tokenised apart; a first sentence of more than
    `first_limit` tokens is cut, and then a prompt of more than `max_length` at its end.
    """

    task: str
    pieces: tuple[str, ...]
    tokenizer: Any
    max_length: int
    first_limit: int | None

    def word_ids(self, words: Sequence[str]) -> list[int]:
        """The token of each label word.

        Raises: UserError if the tokenizer has no mask, or a word is not one token or not one of its own.
        """
        if self.tokenizer.mask_token_id is None:
            raise UserError(f"{self.tokenizer.name_or_path}: has no mask token; prompts need a masked language model")
        tokens = self._ids([f" {word}" for word in words])
        for word, ids in zip(words, tokens, strict=True):
            if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
                found = " ".join(self.tokenizer.convert_ids_to_tokens(ids))
                raise UserError(
                    f'label word " {word}" of {self.task} is not one token of this model ({found}); '
                    "name words that are, by class, with label_words"
                )
        if len({token for (token,) in tokens}) < len(tokens):
            raise UserError(f"label_words: two of {', '.join(words)} are the same token")
        return [token for (token,) in tokens]

    def prompts(self, texts: Texts, split: str) -> tuple[list[list[int]], tuple[str, ...]]:
        """The tokens of a prompt for each row, and what was cut, for the record. split: for messages.

        Raises: UserError if a prompt loses its mask to the cut.
        """
        columns = [self._piece(piece, texts) for piece in self.pieces]
        rows = [[token for part in parts for token in part] for parts in zip(*columns, strict=True)]
        for number, row in enumerate(rows, 1):
            if self.tokenizer.mask_token_id not in row[: self.max_length]:
                raise UserError(
                    f"{self.task}, {split} row {number}: the prompt has {len(row)} tokens and loses its mask to the "
                    f"cut at {self.max_length}; raise max_length or lower first_limit"
                )
        cut, notes = sum(len(row) > self.max_length for row in rows), []
        if cut:
            notes.append(f"{cut} {split} prompts were cut at {self.max_length} tokens")
        if short := self._shortened(texts):
            notes.append(f"the first sentence of {short} {split} prompts was cut at {self.first_limit} tokens")
        return [row[: self.max_length] for row in rows], tuple(notes)

    def _piece(self, piece: str, texts: Texts) -> list[list[int]]:
        """The tokens of one piece of the prompt in each row."""
        if piece in (CLS, MASK, SEP):
            token = getattr(self.tokenizer, f"{piece[1:-1]}_token_id")
            return [[token] if token is not None else []] * len(texts)
        if piece not in OF_ROW:
            # a single sign is looked up as it is: some tokenizers would put a blank before it
            own = self.tokenizer.convert_tokens_to_ids(piece) if len(piece) == 1 else None
            return [self._ids([piece])[0] if own in (None, self.tokenizer.unk_token_id) else [own]] * len(texts)
        limit = None if piece == SECOND else self.first_limit
        return [ids[:limit] for ids in self._ids([OF_ROW[piece](row) for row in texts])]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def _shortened(self, texts: Texts) -> int:
        """How many first sentences are longer than they may be."""
        if self.first_limit is None:
            return 0
        piece = next(piece for piece in self.pieces if piece in OF_ROW)
        return sum(len(ids) > self.first_limit for ids in self._ids([OF_ROW[piece](row) for row in texts]))
