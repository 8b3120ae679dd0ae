"""Instructions and conversations of the user's own, which a causal language model learns to answer.

A model whose tokenizer has a chat template is asked in it; another one in LLM-Adapters' words (`prompted`), an
earlier conversation being the input. Each response of a conversation makes an example, whose prompt is all that came
before it, rendered as it is when the model is to answer: only the response is learnt.

Worked example: the messages user "Hi", assistant "Hello", user "Bye", assistant "Ciao" make two examples. In ChatML the
second one's prompt ends with "user\\nBye<|im_end|>\\n<|im_start|>assistant\\n", and "Ciao<|im_end|>" is learnt.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from rocoft_bench.config import Count, TaskConfig
from rocoft_bench.errors import UserError, reason
from rocoft_bench.tasks.data import check_texts
from rocoft_bench.tasks.own.user_rows import OwnConfig, OwnTask, is_missing
from rocoft_bench.tasks.prompted import Example, ExampleEncoder, PromptConfig, PromptedTask, prompt
from rocoft_bench.tasks.readers import RawRows, require_columns
from rocoft_bench.tasks.task import Outputs, Prediction

if TYPE_CHECKING:
    from datasets import Dataset

MESSAGES = "messages"
ROLES = ("system", "user", "assistant")
COLUMNS = ("instruction", "input", "history", "output")
"""Of an example. history: the messages before the instruction, as JSON."""

Message = dict[str, str]


class InstructConfig(PromptConfig, OwnConfig):
    text_column: str = "instruction"
    """Column with the instruction."""
    text_pair_column: str | None = "input"
    """Column with what it is about; a file may lack it."""
    label_column: str = "output"
    """Column with the response."""
    messages_column: str | None = None
    """Column with whole conversations, lists of {"role": ..., "content": ...}; by default "messages", if it is there
    and there are no instructions."""
    prompt_format: Literal["auto", "chat", "plain"] = "auto"
    """chat: by the tokenizer's chat template. plain: in LLM-Adapters' words. auto: chat, where there is a template."""
    loss_on: Literal["sequence", "response"] = "response"
    """Learn the response only, or the prompt too."""
    max_new_tokens: Count = 256
    """Longest answer that is generated, in tokens."""


@dataclass(frozen=True, kw_only=True)
class Instruct(PromptedTask, OwnTask):
    """A response in words, compared with the one that is given by ROUGE."""

    Settings: ClassVar[type[TaskConfig]] = InstructConfig
    own_columns: ClassVar[tuple[str, str | None, str]] = ("instruction", "input", "output")
    family: str = "instruct"
    metric_names: tuple[str, ...] = ("rouge1", "rouge2", "rougeL")
    scored_by = "rouge"

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS

    def bound(self, settings: Any) -> tuple[Self, Any]:
        """See `Task.bound`. Which columns there are decides what is read, where the settings leave it open."""
        task, settings = super().bound(settings)
        if not settings.model_fields_set & {"messages_column", "text_pair_column"}:
            found, pair = task._found_columns(), settings.text_pair_column
            is_chat = MESSAGES in found and settings.text_column not in found
            changes = {
                "messages_column": MESSAGES if is_chat else None,
                "text_pair_column": pair if pair in found and not is_chat else None,
            }
            settings = settings.model_copy(update=changes)
        return replace(task, config=settings), settings

    @property
    def _user_columns(self) -> dict[str, str]:
        messages = getattr(self.config, "messages_column", None)
        return {MESSAGES: messages} if messages else super()._user_columns

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        rows = super()._read(split, data_dir)
        if MESSAGES not in rows.columns:
            empty = {"input": [""] * len(rows.places), "history": ["[]"] * len(rows.places)}
            return replace(rows, columns={**empty, **rows.columns})
        return _by_response(rows)

    def asked(self, table: RawRows) -> list[dict[str, Any]]:
        """See `Task.asked`. Of a conversation, the last message of a user is answered."""
        names = self._user_columns
        if MESSAGES in names:
            require_columns(table.source, table.columns, [names[MESSAGES]])
            rows = replace(table, columns={MESSAGES: table.columns[names[MESSAGES]]}, called=names)
            return [{**self._no_target(), **_last_question(rows, row)} for row in range(len(table.places))]
        return super().asked(table)

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, COLUMNS)
        return {name: raw.columns[name] for name in COLUMNS}

    def template(self, tokenizer: Any) -> str:
        """The chat template itself, or the words of the plain prompt."""
        return str(tokenizer.chat_template) if self._is_chat(tokenizer, self.config) else super().template(tokenizer)

    def prompts(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """See `PromptedTask.prompts`. Raises: UserError where the chat template refuses a conversation."""
        if not self._is_chat(tokenizer, settings):
            return [_plain(*texts) for texts in zip(*(batch[name] for name in COLUMNS[:3]), strict=True)]
        return [_rendered(tokenizer, messages, add_generation_prompt=True) for messages in _conversations(batch)]

    def responses(self, batch: Example, tokenizer: Any, settings: Any) -> list[str]:
        """See `PromptedTask.responses`; with what the chat template ends a response with."""
        if not self._is_chat(tokenizer, settings):
            return super().responses(batch, tokenizer, settings)
        rows = zip(_conversations(batch), self.prompts(batch, tokenizer, settings), batch["output"], strict=True)
        return [_chat_response(tokenizer, *row) for row in rows]

    def _is_chat(self, tokenizer: Any, settings: Any) -> bool:
        """Raises: UserError where a chat template is asked for and there is none."""
        has_template = bool(tokenizer.chat_template)
        if settings.prompt_format == "chat" and not has_template:
            raise UserError('task.prompt_format = "chat": the tokenizer of the model has no chat template; use plain')
        return has_template and settings.prompt_format != "plain"

    def _notes(self, encoder: ExampleEncoder, settings: Any, training: bool) -> Iterator[str]:
        yield from super()._notes(encoder, settings, training)
        if training:
            is_chat = self._is_chat(encoder.tokens.tokenizer, settings)
            how = "by the chat template of the tokenizer" if is_chat else "in the words of LLM-Adapters"
            yield f"prompts are {how}"

    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        return [{"prediction": str(tokenizer.decode(ids, skip_special_tokens=True)).strip()} for ids in outputs]

    def _no_target(self) -> dict[str, Any]:
        return {**super()._no_target(), "history": "[]"}


def _plain(instruction: str, text: str, history: str) -> str:
    """The prompt in LLM-Adapters' words; what came before the instruction is its input."""
    before = [f"{message['role']}: {message['content']}" for message in json.loads(history)]
    return prompt(instruction, "\n".join([*before, *filter(None, [text])]))


def _conversations(batch: Example) -> list[list[Message]]:
    """The messages before each response."""
    rows = zip(*(batch[name] for name in COLUMNS[:3]), strict=True)
    return [
        [*json.loads(history), {"role": "user", "content": "\n\n".join(filter(None, [instruction, text]))}]
        for instruction, text, history in rows
    ]


def _chat_response(tokenizer: Any, messages: list[Message], before: str, response: str) -> str:
    """A response with the template's own end, up to the end token if there is one. before: the prompt.

    Raises: UserError where the template does not go on from its own prompt.
    """
    whole = _rendered(tokenizer, [*messages, {"role": "assistant", "content": response}])
    if not whole.startswith(before):
        raise UserError(
            "the tokenizer's chat template does not render a response behind its own prompt; "
            "use --set task.prompt_format=plain, or another template"
        )
    ended, end = whole[len(before) :], tokenizer.eos_token
    return ended.rstrip() if end and ended.rstrip().endswith(end) else ended


def _rendered(tokenizer: Any, messages: list[Message], **how: Any) -> str:
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, **how)
    except Exception as error:  # a template is code of the model's, which can raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise UserError(f"the tokenizer's chat template refuses messages of {roles} ({reason(error)})") from None
    return text


def _by_response(rows: RawRows) -> RawRows:
    """An example for each response of each conversation, and a note where that makes more of them.

    Raises: UserError that names the first conversation of another form.
    """
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    places = []
    for row, place in enumerate(rows.places):
        messages = _messages(rows, row)
        ends = [end for end, message in enumerate(messages) if message["role"] == "assistant"]
        if not ends:
            raise rows.error(row, f'"{rows.called[MESSAGES]}" holds no message of the role assistant to learn')
        for end in ends:
            places.append(place)
            texts = (messages[end - 1]["content"], "", json.dumps(messages[: end - 1]), messages[end]["content"])
            for name, text in zip(COLUMNS, texts, strict=True):
                columns[name].append(text)
    note = f"{len(rows.places):,} conversations make {len(places):,} examples, one for each response"
    notes = (*rows.notes, note) if len(places) > len(rows.places) else rows.notes
    return replace(rows, places=places, columns=columns, notes=notes)


def _last_question(rows: RawRows, row: int) -> dict[str, str]:
    """The last message of a user, and what came before it. Raises: UserError where there is none."""
    messages = _messages(rows, row)
    asked = [number for number, message in enumerate(messages) if message["role"] == "user"]
    if not asked:
        raise rows.error(row, f'"{rows.called[MESSAGES]}" holds no message of the role user to answer')
    return {"instruction": messages[asked[-1]]["content"], "history": json.dumps(messages[: asked[-1]])}


def _messages(rows: RawRows, row: int) -> list[Message]:
    """The messages of a conversation, in which each response answers a user. Raises: UserError for others."""
    cell = rows.columns[MESSAGES][row]
    if isinstance(cell, str):
        with suppress(ValueError, RecursionError):
            cell = json.loads(cell)
    column = rows.called[MESSAGES]
    if not isinstance(cell, list) or not all(isinstance(message, dict) for message in cell):
        raise rows.error(row, f'"{column}" is {reprlib.repr(cell)}, not [{{"role": ..., "content": ...}}, ...]')
    messages = [{key: message.get(key) for key in ("role", "content")} for message in cell]
    for number, message in enumerate(messages):
        if message["role"] not in ROLES:
            raise rows.error(row, f"message {number + 1} has the role {message['role']!r}; allowed: {', '.join(ROLES)}")
        if not isinstance(message["content"], str) or is_missing(message["content"]):
            raise rows.error(row, f"message {number + 1} has no content that is a text")
        if message["role"] == "assistant" and (number == 0 or messages[number - 1]["role"] != "user"):
            raise rows.error(row, f"message {number + 1} is a response, but the one before it is not of a user")
    return messages
