"""The embedded causal LM: a LLaMA of about a million parameters, on the text of `pretraining.world_text`.

The shape of the fine-tuning rows is not in that text: no prompt template, no "The answer is 12.", no "Answer1:". So
the model knows what the rows of the embedded sets need, and does not know what to say.

Documents count in the loss only where they are marked, but for a share of them that counts everywhere. There are three
phases. In the first the model learns to repeat, to calculate and the facts; in the second to find what answers a
question, and the number that something has in a list; in the third to give the number of what answers a question.
The shipped weights were made one phase at a time and rounded to float16 in between.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pretraining.common import pretrain, save, train_tokenizer
from pretraining.world_text import INDENT, MARKS, document

SEED = 0
BATCH, LENGTH = 24, 128
VOCABULARY = 1800
LABELLED_THROUGHOUT = 0.15
"""Share of documents."""


@dataclass(frozen=True)
class Phase:
    """Optimizer steps at a highest learning rate, on documents with these weights of their sorts of text."""

    steps: int
    lr: float
    weights: Mapping[str, int]


_FIRST = {"Sums": 6, "Story": 34, "Copy": 12, "Memory": 8, "Facts": 12, "Question": 6, "List": 32, "Text": 3}
_SECOND = {**_FIRST, "Story": 18, "Copy": 4, "Memory": 4, "Facts": 8, "List": 24, "Numbers": 20, "Answers": 34}
_THIRD = {**_SECOND, "Story": 16, "List": 6, "Numbers": 10, "Answers": 10, "Choices": 60, "Text": 5}
PHASES = (Phase(2800, 3e-3, _FIRST), Phase(2400, 3e-3, _SECOND), Phase(1400, 2e-3, _THIRD))

PROMPT_WORDS = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n"
    f"{INDENT}### Instruction:\n{INDENT}\n{INDENT}\n{INDENT}### Response:\n{INDENT}"
    "Please choose the correct answer to the question: What?\n\nAnswer1: Answer2: Answer format: answer1/answer2"
)
"""Shown to the tokenizer only, so that prompts take few tokens."""


def make(output: Path, log_path: Path, steps: int | None = None) -> None:
    """Train tokenizer and model, and save both in the folder `output`. steps: of each phase, in place of its own."""
    rng = random.Random(f"{SEED} llama")
    tokenizer = _tokenizer(rng)
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(_config(tokenizer))
    for number, phase in enumerate(PHASES, 1):
        if number > 1:
            rng = random.Random(f"{SEED} llama {number}")
        pretrain(
            model,
            _batches(tokenizer, rng, phase.weights),
            steps=steps or phase.steps,
            lr=phase.lr,
            log_path=log_path,
            header={"model": "llama", "phase": number, "seed": SEED, "batch": BATCH, "length": LENGTH},
            bf16=True,
            append=number > 1,
        )
    save(model, tokenizer, output)


def _config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=5,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        attn_implementation="eager",
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _tokenizer(rng: random.Random) -> PreTrainedTokenizerFast:
    texts = [MARKS.sub("", document(rng, _FIRST)) for _ in range(6000)] + [PROMPT_WORDS] * 400
    core = train_tokenizer(texts, VOCABULARY, ["<unk>", "<s>", "</s>", "<pad>"])
    core.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", core.token_to_id("<s>"))])
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=512, **named)


def _batches(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, weights: Mapping[str, int]
) -> Iterator[dict[str, Tensor]]:
    """Documents one after the other, cut into BATCH rows of LENGTH tokens."""
    tokens: list[tuple[int, int]] = []
    size = BATCH * LENGTH
    while True:
        while len(tokens) < size:
            tokens += _labelled(document(rng, weights), tokenizer, everything=rng.random() < LABELLED_THROUGHOUT)
        ids, labels = torch.tensor(tokens[:size]).T.reshape(2, BATCH, LENGTH)
        del tokens[:size]
        yield {"input_ids": ids, "labels": labels}


def _labelled(text: str, tokenizer: PreTrainedTokenizerFast, everything: bool) -> list[tuple[int, int]]:
    """Token ids with their labels: the id itself in the marked parts, or everywhere, and -100 elsewhere."""
    pairs = [(tokenizer.bos_token_id, -100)]
    for number, part in enumerate(MARKS.split(text)):
        ids = tokenizer(part, add_special_tokens=False)["input_ids"]
        pairs += [(token, token if everything or number % 2 else -100) for token in ids]
    return [*pairs, (tokenizer.eos_token_id, tokenizer.eos_token_id)]
