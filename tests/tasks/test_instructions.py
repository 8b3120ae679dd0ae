"""Prompts and token ids with tokenizers in the manner of LLaMA, GPT-J and BLOOM, and what models make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers as t
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rocoft_bench.engine.prediction import PREDICTORS
from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get
from rocoft_bench.tasks.prompted import NO_LABEL, ExampleEncoder, PromptTokens, prompt
from tests.tasks.characters import TOKENIZER

I16 = "                "
TEMPLATE = f"""\
Below is an instruction that describes a task. Write a response that appropriately completes the request.{"  "}

{I16}### Instruction:
{I16}Name a fruit.
{I16}
{I16}### Response:
{I16}"""
TEMPLATE_WITH_INPUT = f"""Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.{" "}

{I16}### Instruction:
{I16}Name a fruit.
{I16}
{I16}### Input:
{I16}It is yellow.
{I16}
{I16}### Response:
{I16}"""  # noqa: E501

QUESTIONS = [
    "Please answer the following question with true or false, question: is ice cold?\n\nAnswer format: true/false",
    "What melts?\n\nAnswer1: ice Answer2: stone Answer3: sand\n\nAnswer format: answer1/answer2/answer3",
    "Ada has 3 boxes of 12 pens. How many pens does she have? ",
]
RESPONSES = ["the correct answer is true", "the correct answer is answer2", "1. 3 * 12 = 36.\n2. The answer is 36."]
SPECIAL = ["<s>", "</s>", "<pad>"]
CORPUS = [prompt(question) + response for question, response in zip(QUESTIONS, RESPONSES, strict=True)] * 2


def byte_level(pattern: str | None) -> Tokenizer:
    """In the manner of GPT-2 (no pattern: its own) or BLOOM."""
    tokenizer = Tokenizer(models.BPE())
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """In the manner of LLaMA: blanks are letters, a blank before the first word, <s> before everything."""
    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.pre_tokenizer = pre_tokenizers.Split(Regex("▁+(?=▁)|▁?[^▁]+"), "isolated")
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", *SPECIAL], initial_alphabet=letters, show_progress=False
    )
    learnt.train_from_iterator([text.replace("\n", " ").replace(" ", "▁") for text in CORPUS], trainer)
    vocabulary, merges = (json.loads(learnt.to_str())["model"][key] for key in ("vocab", "merges"))
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    model = models.BPE(vocabulary, [tuple(m) for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<unk>", *SPECIAL])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def line_breaks_alone() -> Tokenizer:
    """A line break with its indentation is one token, and no token crosses it."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n *|\w+| +|[^\w\s]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator([*CORPUS, TEMPLATE, "yes 5 A : \nA"], trainer)
    return tokenizer


MAKERS = {
    "llama": sentence_piece,
    "gptj": lambda: byte_level(None),
    "bloom": lambda: byte_level(r" ?[^(\s|[.,!?…])]+"),
    "demo": line_breaks_alone,
}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return {name: t.PreTrainedTokenizerFast(tokenizer_object=make(), **special) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Any]) -> Any:
    return tokenizers[request.param]


def rows(questions: Sequence[str] = QUESTIONS, responses: Sequence[str] = RESPONSES) -> Dataset:
    answers = ["true", "answer2", "36.0"][: len(questions)]
    blank = [""] * len(questions)
    columns = {"instruction": list(questions), "input": blank, "output": list(responses), "answer": answers}
    return Dataset.from_dict(columns)


def settings(task: Any, **changes: Any) -> Any:
    return task.Settings(family=task.family, name=task.name, **changes)


def test_the_prompt_is_the_template_byte_for_byte() -> None:
    assert prompt("Name a fruit.").encode() == TEMPLATE.encode()
    assert prompt("Name a fruit.", "It is yellow.").encode() == TEMPLATE_WITH_INPUT.encode()


def test_training_rows_begin_with_their_prompts_and_have_the_ids_of_the_full_text(tokenizer: Any) -> None:
    tokens = PromptTokens(tokenizer)
    prompts = [prompt(question) for question in QUESTIONS]
    training = list(ExampleEncoder(tokens, 4000).training(prompts, RESPONSES, append_eos=True, loss_on_prompt=True))
    asked = list(ExampleEncoder(tokens, 4000).prompts(prompts))
    for row, question, text, response in zip(training, asked, prompts, RESPONSES, strict=True):
        assert row["input_ids"][: len(question["input_ids"])] == question["input_ids"]
        assert tokenizer.decode(row["input_ids"], skip_special_tokens=True) == text + response
        if response.startswith("the"):
            assert row["input_ids"] == [*tokenizer(text + response)["input_ids"], tokenizer.eos_token_id]


@pytest.mark.parametrize("response", ["yes", "5", "\nA: 5", " the", "the"])
def test_a_prompt_does_not_depend_on_its_response(tokenizer: Any, response: str) -> None:
    tokens = PromptTokens(tokenizer)
    ((first, answer),) = tokens.pairs([TEMPLATE], [response])
    assert first == tokens.prompts([TEMPLATE])[0]
    assert answer
    assert tokenizer.decode(first + answer) in (TEMPLATE + response, TEMPLATE + " " + response)


def test_special_tokens_are_the_tokenizers_own_and_never_doubled(tokenizers: dict[str, Any]) -> None:
    for name, tokenizer in tokenizers.items():
        (row,) = ExampleEncoder(PromptTokens(tokenizer), 4000).training([TEMPLATE], ["yes</s>"], True, True)
        ids = row["input_ids"]
        assert ids.count(tokenizer.bos_token_id) == (name == "llama")
        assert ids.count(tokenizer.eos_token_id) == 1
        assert ids[-1] == tokenizer.eos_token_id
        (row,) = ExampleEncoder(PromptTokens(tokenizer), 4000).training([TEMPLATE], ["yes"], False, True)
        assert tokenizer.eos_token_id not in row["input_ids"]


@pytest.mark.parametrize("loss_on_prompt", [True, False])
def test_labels_are_what_is_learnt_and_never_the_first_token(tokenizer: Any, loss_on_prompt: bool) -> None:
    tokens = PromptTokens(tokenizer)
    (row,) = ExampleEncoder(tokens, 4000).training([TEMPLATE], ["yes"], True, loss_on_prompt)
    length = len(row["input_ids"])
    start = 1 if loss_on_prompt else len(tokens.start + tokens.prompts([TEMPLATE])[0])
    assert row["labels"] == [NO_LABEL] * start + row["input_ids"][start:]
    assert len(row["labels"]) == len(row["attention_mask"]) == length > start
    alone = length - len(tokens.prompts([TEMPLATE])[0])
    (row,) = ExampleEncoder(tokens, alone).training([TEMPLATE], ["yes"], True, loss_on_prompt)
    assert row["labels"][0] == NO_LABEL
    assert len(row["labels"]) == alone


def test_what_does_not_fit_is_cut_from_the_beginning_of_the_prompt(tokenizer: Any) -> None:
    tokens = PromptTokens(tokenizer)
    (whole,) = ExampleEncoder(tokens, 4000).training([TEMPLATE], ["yes"], True, True)
    ids, start = whole["input_ids"], len(tokens.start)
    for length in (len(ids), len(ids) - 1, len(ids) // 2):
        encoder = ExampleEncoder(tokens, length)
        (row,) = encoder.training([TEMPLATE], ["yes"], True, True)
        assert row["input_ids"] == ids[:start] + ids[len(ids) - length + start :]
        assert encoder.cut == (length < len(ids))
    encoder = ExampleEncoder(tokens, 7)
    (row,) = encoder.prompts([TEMPLATE])
    asked = [*tokens.start, *tokens.prompts([TEMPLATE])[0]]
    assert row["input_ids"] == asked[:start] + asked[len(asked) - 7 + start :]
    assert encoder.cut == 1


def test_a_row_whose_response_does_not_fit_is_left_out_and_counted(tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("math", "gsm8k"), tokenizers["llama"]
    given = rows(QUESTIONS, [*RESPONSES[:2], "x y z " * 9])
    encoded = task.encode(given, tokenizer, settings(task, max_length=20, train_on="gsm8k"), training=True)
    assert encoded.notes == (
        "2 training examples have more than 20 tokens and were cut at their beginning",
        "1 training examples were dropped: their response alone has more than 20 tokens",
    )
    assert [len(ids) for ids in encoded.examples["input_ids"]] == [20, 20]
    encoded = task.encode(rows(), tokenizer, settings(task, max_length=20), training=False)
    assert encoded.notes == ("3 evaluation prompts have more than 20 tokens and were cut at their beginning",)
    nothing = task.encode(rows(), tokenizer, settings(task, max_length=2, train_on="gsm8k"), training=True)
    assert len(nothing.examples) == 0
    assert "3 training examples were dropped" in nothing.notes[0]


def test_prompts_leave_room_for_the_answer_where_a_model_takes_few_tokens() -> None:
    task = get("commonsense", "boolq")
    given = settings(task, max_length=100, max_new_tokens=30)
    assert task.fitted(given, None) == task.fitted(given, 130) == given
    assert task.fitted(given, 120).max_prompt_length == 90
    small = task.fitted(given, 80)
    assert (small.max_length, small.max_prompt_length) == (80, 50)
    likely = settings(task, max_length=100, scoring="likelihood")
    assert task.fitted(likely, 120) == likely
    published = get("math", "svamp").fitted(settings(task, max_length=100, protocol="published"), 100)
    encoded = get("math", "svamp").encode(rows(), TOKENIZER, published, training=False).examples
    assert [len(ids) for ids in encoded["input_ids"]] == [93] * 3
    with pytest.raises(UserError, match="the model takes 30 tokens, so max_new_tokens = 30 leaves none for a prompt"):
        task.fitted(given, 30)


def tiny_model(kind: str, tokenizer: Any) -> Any:
    torch.manual_seed(0)
    size, special = len(tokenizer), {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    common = {"vocab_size": size, "initializer_range": 0.5, **special}
    configs = {
        "llama": lambda: t.LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, **common
        ),
        "gptj": lambda: t.GPTJConfig(n_embd=16, n_layer=2, n_head=2, rotary_dim=4, n_positions=700, **common),
        "bloom": lambda: t.BloomConfig(hidden_size=16, n_layer=2, n_head=2, **common),
    }
    return t.AutoModelForCausalLM.from_config(configs[kind]()).eval()


def answers(model: Any, predictor: Any, encoded: Dataset, batch_size: int) -> list[list[float]]:
    made = []
    for start in range(0, len(encoded), batch_size):
        batch = predictor.collate([encoded[row] for row in range(start, min(start + batch_size, len(encoded)))])
        with torch.no_grad():
            made += [output.tolist() for output in predictor(model, batch)]
    return made


@pytest.mark.parametrize("kind", ["llama", "gptj", "bloom"])
def test_a_batch_answers_as_its_rows_do_alone(kind: str, tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("commonsense", "boolq"), tokenizers[kind]
    model = tiny_model(kind, tokenizer)
    asked = rows([("so " * (3 * row) + question) for row, question in enumerate(QUESTIONS)])
    generating = settings(task, max_new_tokens=8)
    encoded = task.encode(asked, tokenizer, generating, training=False).examples
    predictor = PREDICTORS[task.kind, task.output(generating)](tokenizer, task.generation(generating))
    together, alone = (answers(model, predictor, encoded, size) for size in (16, 1))
    assert together == alone
    for ids, new in zip(encoded["input_ids"], alone, strict=True):  # greedy by hand, without a cache or padding
        for token in new:
            assert model(torch.tensor([ids])).logits[0, -1].argmax() == token
            ids = [*ids, int(token)]
    assert len({tuple(ids) for ids in alone}) > 1


@pytest.mark.parametrize("kind", ["llama", "gptj", "bloom"])
def test_likelihoods_are_sums_over_the_response(kind: str, tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("commonsense", "arc_easy"), tokenizers[kind]
    model = tiny_model(kind, tokenizer)
    asked = rows(QUESTIONS[:2], RESPONSES[:2])
    likely = settings(task, scoring="likelihood")
    encoded = task.encode(asked, tokenizer, likely, training=False).examples
    assert encoded["row"][:] == [0, 0, 1, 1, 1]
    assert encoded["choice"][:] == ["true", "false", "answer1", "answer2", "answer3"]
    predictor = PREDICTORS[task.kind, task.output(likely)](tokenizer, task.generation(likely))
    outputs = answers(model, predictor, encoded, 16)
    torch.testing.assert_close(torch.tensor(outputs), torch.tensor(answers(model, predictor, encoded, 1)))
    for row, (score, count) in zip(encoded, outputs, strict=True):
        ids = torch.tensor(row["input_ids"])
        response = sum(label != NO_LABEL for label in row["labels"])
        told = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[-response:]
        assert count == response
        assert score == pytest.approx(told.sum().item(), rel=1e-5)
        assert tokenizer.decode(ids[-response:]).strip() == f"the correct answer is {row['choice']}"
    arrays = [torch.tensor(output).numpy() for output in outputs]
    predictions = task.read(arrays, encoded, asked, tokenizer, likely)
    best = max(range(2, 5), key=lambda row: outputs[row][0])
    assert predictions[1]["prediction"] == encoded["choice"][best]


def test_alternatives_share_one_prompt_and_fit(tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("commonsense", "boolq"), tokenizers["gptj"]
    likely = settings(task, scoring="likelihood", max_length=30)
    encoded = task.encode(rows(QUESTIONS[:1], RESPONSES[:1]), tokenizer, likely, training=False)
    assert encoded.notes == ("1 evaluation prompts have more than 30 tokens and were cut at their beginning",)
    first, second = (
        [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label == NO_LABEL]
        for row in encoded.examples
    )
    assert first == second
    assert max(map(len, encoded.examples["input_ids"])) == 30
    with pytest.raises(UserError, match="max_length 3 leaves no room for a prompt"):
        task.encode(rows(), tokenizer, settings(task, scoring="likelihood", max_length=3), training=False)


def test_the_published_protocol_shows_the_model_the_right_response(tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("math", "svamp"), tokenizers["llama"]
    response = "\nA: She has 3 * 12 = 36 pens in all. The answer is 36."
    asked = rows(QUESTIONS[2:], [response])
    strict, published = (
        task.encode(asked, tokenizer, settings(task, protocol=protocol), training=False).examples
        for protocol in ("strict", "published")
    )
    shown = tokenizer.decode(published["input_ids"][0], skip_special_tokens=True)
    assert "A: She has 3 * 12 = 36" in shown
    assert "36" not in tokenizer.decode(strict["input_ids"][0])
    assert (
        published["input_ids"][0] + published["removed"][0] == tokenizer(prompt(QUESTIONS[2]) + response)["input_ids"]
    )
    assert len(published["removed"][0]) == 5


def test_the_published_protocol_cuts_long_texts_at_their_end(tokenizers: dict[str, Any]) -> None:
    task, tokenizer = get("math", "multiarith"), tokenizers["llama"]
    encoded = task.encode(rows(), tokenizer, settings(task, protocol="published", max_length=30), training=False)
    assert encoded.notes == ("3 evaluation prompts have more than 30 tokens and were cut at their end",)
    whole = [tokenizer(text)["input_ids"][:30] for text in CORPUS[:3]]
    assert encoded.examples["input_ids"][:] == [ids[:-3] for ids in whole]
    assert encoded.examples["removed"][:] == [ids[-3:] for ids in whole]
