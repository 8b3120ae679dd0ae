"""Instructions and conversations of the user's own: what is learnt, token by token, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.config import Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.tasks.prompted import NO_LABEL, prompt

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
CHATS = [
    [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi \N{CAT FACE}"},
        {"role": "assistant", "content": " Hello\n"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Ciao"},
    ],
    *([{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}] for n in range(9)),
]


@pytest.fixture
def chat_model(tiny_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A tiny LLaMA whose tokenizer has a chat template."""
    import shutil

    from transformers import AutoTokenizer

    folder = tmp_path / "chat-model"
    shutil.copytree(tiny_of("meta-llama/Llama-2-7b-hf"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_in(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def instruct(rows: list[dict[str, Any]], folder: Path, **settings: Any) -> tuple[Any, Any]:
    """The task on a file with these rows, and its settings."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {"family": "instruct", "train_file": str(folder / "rows.jsonl"), **settings}
    experiment = resolve(Settings({"task": task, "model": {"name": "demo-llama"}}))
    return experiment.task, experiment.config.task


def learnt(task: Any, settings: Any, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Of each training example the ids that are given, and those that are learnt; they follow each other."""
    examples = task.encode(task.load("train").examples, tokenizer, settings, training=True).examples
    found = []
    for ids, labels in zip(examples["input_ids"], examples["labels"], strict=True):
        given = labels.count(NO_LABEL)
        assert labels == [NO_LABEL] * given + ids[given:]
        found.append((ids[:given], ids[given:]))
    return found


def test_of_a_conversation_each_response_is_learnt_and_nothing_else(chat_model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_in(chat_model)
    task, settings = instruct([{"messages": chat} for chat in CHATS], tmp_path, split_seed=1)
    assert settings.messages_column == "messages"
    expected = []
    for chat in CHATS:
        for end in (place for place, message in enumerate(chat) if message["role"] == "assistant"):
            given = tokenizer.apply_chat_template(chat[:end], add_generation_prompt=True, return_dict=False)
            answer = tokenizer(chat[end]["content"], add_special_tokens=False)["input_ids"]
            expected.append((given, [*answer, tokenizer.eos_token_id]))
    found = learnt(task, settings, tokenizer)
    assert len(found) >= 9
    assert all(example in expected for example in found)
    assert sum(len(given) > 60 for given, _ in found) == 1  # the second response, with all that was said before


def test_a_prompt_to_be_answered_is_the_one_that_was_trained(chat_model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_in(chat_model)
    task, settings = instruct([{"messages": chat} for chat in CHATS], tmp_path)
    examples = task.load("train").examples
    asked = task.encode(examples, tokenizer, settings, training=False).examples["input_ids"]
    assert list(asked) == [given for given, _ in learnt(task, settings, tokenizer)]


def test_a_prompt_that_is_too_long_keeps_its_first_token_and_its_end(chat_model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_in(chat_model)
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    task, settings = instruct([{"messages": chat} for chat in CHATS], tmp_path, max_length=20)
    examples = task.encode(task.load("train").examples, tokenizer, settings, training=False)
    for ids in examples.examples["input_ids"]:
        assert len(ids) == 20
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids[1:]).endswith("</s>\n<|assistant|>\n")
    assert "evaluation prompts have more than 20 tokens and were cut at their beginning" in examples.notes[0]


def test_a_base_model_is_asked_in_plain_words(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tiny_of("meta-llama/Llama-2-7b-hf"))
    rows = [{"instruction": f"Say {n}", "output": f"{n}", **({"input": "loud"} if n % 2 else {})} for n in range(10)]
    task, settings = instruct(rows, tmp_path)
    expected = {prompt(row["instruction"], row.get("input", "")).rstrip(" "): row["output"] for row in rows}
    for given, response in learnt(task, settings, tokenizer):
        text = tokenizer.decode(given, skip_special_tokens=True)
        assert tokenizer.decode(response).strip() == f"{expected[text.rstrip(' ')]}</s>"
    chats, plain = instruct([{"messages": chat} for chat in CHATS], tmp_path)
    texts = chats.prompts(chats.load("train").examples[:], tokenizer, plain)
    assert any("system: Be brief\nuser: Hi" in text for text in texts)


@pytest.mark.parametrize("is_chat", [True, False])
def test_answers_do_not_depend_on_the_batch(
    rocoft: Callable[..., Any], chat_model: Path, tiny_of: Callable[[str], Path], tmp_path: Path, is_chat: bool
) -> None:
    rows = [{"instruction": "Say " + "very " * (n % 5) + str(n), "output": f"{n}"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = chat_model if is_chat else tiny_of("meta-llama/Llama-2-7b-hf")
    run = tmp_path / "run"
    options = [f"--set=task.{setting}" for setting in ("max_new_tokens=4", "eval_share=0.5", "max_train_rows=4")]
    result = rocoft(
        "train", "instruct", "--train-file", tmp_path / "rows.jsonl", "--model", model, "--output", run, "--epochs", 1,
        *options, "--set", "training.eval_batch_size=1",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert json.loads((run / "record.json").read_text())["prompt"]["template"] == (CHATML if is_chat else PLAIN)
    assert rocoft("evaluate", run, "--set", "training.eval_batch_size=16", "--force").code == 0
    again = next((run / "evaluations").glob("*/predictions.jsonl"))
    assert again.read_text() == (run / "predictions.jsonl").read_text()


PLAIN = f"{prompt('{instruction}')}{{output}}\n\n{prompt('{instruction}', '{input}')}{{output}}"

WRONG = {
    "no response": ([{"role": "user", "content": "a"}], 'line 1: "messages" holds no message of the role assistant'),
    "other role": ([{"role": "tool", "content": "a"}], "message 1 has the role 'tool'; allowed: system, user, assist"),
    "no content": ([{"role": "user", "content": None}], "message 1 has no content that is a text"),
    "no question": ([{"role": "assistant", "content": "a"}], "message 1 is a response, but the one before it is not"),
    "no messages": ("hello", '"messages" is \'hello\', not [{"role": ..., "content": ...}, ...]'),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_conversation_of_another_form_is_named(tmp_path: Path, case: str) -> None:
    messages, said = WRONG[case]
    task, _ = instruct([{"messages": messages}] * 3, tmp_path)
    with pytest.raises(UserError) as error:
        task.load("train")
    assert said in str(error.value)


def test_a_chat_template_has_to_be_there_and_to_go_on_from_its_prompt(
    tiny_of: Callable[[str], Path], chat_model: Path, tmp_path: Path
) -> None:
    rows = [{"instruction": "a", "output": "b"}] * 2 + [{"instruction": "c", "output": "d"}]
    task, settings = instruct(rows, tmp_path, prompt_format="chat")
    examples = task.load("train").examples
    with pytest.raises(UserError, match="has no chat template; use plain"):
        task.encode(examples, tokenizer_in(tiny_of("meta-llama/Llama-2-7b-hf")), settings, training=True)
    tokenizer = tokenizer_in(chat_model)
    tokenizer.chat_template = CHATML.replace("<|assistant|>", "Answer:")
    with pytest.raises(UserError, match="does not render a response behind its own prompt"):
        task.encode(examples, tokenizer, settings, training=True)
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(UserError, match=r"refuses messages of user \(no such role\)"):
        task.encode(examples, tokenizer, settings, training=True)
