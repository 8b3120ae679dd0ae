"""The masked model: RoBERTa's architecture and loss, on passages of facts and sentences that tell some of them again.

Half of the documents begin with the sentences told again, as a first segment, half end with them. Masked are whole
values, mostly such that occur twice, so that filling them in means to find the sentence that tells the same, and some
other tokens; of the values chosen a part is not masked but exchanged for another one's tokens, or left as it is.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers.processors import RobertaProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from pretraining import common
from pretraining.facts import capitalised, facts
from pretraining.positions import begin_with_sinusoids
from rocoft_bench.demo.words import fill, slots

SEED = 31
STEPS = 2200
BATCH = 32
LR = 2e-3
POSITION_SCALE = 0.1
VOCAB_SIZE = 2400
MAX_LENGTH = 256
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

Spans = list[tuple[int, int]]
"""Character ranges, end excluded."""


def make(output: Path, log_path: Path, steps: int | None) -> None:
    """Train the tokenizer and the model and save both."""
    torch.manual_seed(SEED)
    tokenizer = _tokenizer()
    model = RobertaForMaskedLM(_config(len(tokenizer)))
    begin_with_sinusoids(model.roberta.embeddings.position_embeddings.weight, POSITION_SCALE)
    header = {"model": "roberta", "seed": SEED, "batch_size": BATCH}
    batches = _batches(tokenizer, random.Random(f"{SEED} training"))
    common.pretrain(model, batches, steps=steps or STEPS, lr=LR, log_path=log_path, header=header, bf16=True)
    common.save(model, tokenizer, output)


def _config(vocab_size: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=MAX_LENGTH + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    rng = random.Random(f"{SEED} tokenizer")
    texts = (" ".join(text for text, _ in _document(rng, 6)) for _ in range(20_000))
    core = common.train_tokenizer(texts, VOCAB_SIZE, SPECIAL_TOKENS)
    core.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=MAX_LENGTH,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def _document(rng: random.Random, count: int) -> list[tuple[str, Spans]]:
    """A passage of `count` facts and some of them told again, in either order, with the ranges of the values to hide.

    A value is hidden on one side only, and each fact told again keeps values by which its sentences can be matched.
    """
    told = list(facts(rng, count))
    again = rng.sample(range(len(told)), rng.randint(1, min(count, 4)))
    passage = [(rng.choice(kind.full), values) for kind, values in told]
    retold = [(rng.choice(rng.choice((told[i][0].full, told[i][0].partial))), told[i][1]) for i in again]
    hidden: tuple[list[set[str]], list[set[str]]] = ([set() for _ in passage], [set() for _ in retold])
    for position, index in enumerate(again):
        names = sorted(slots(retold[position][0]) & slots(passage[index][0]))
        chosen = rng.sample(names, 2 if len(names) > 3 else 1)
        for name in chosen:
            side, place = rng.choice(((0, index), (1, position)))
            hidden[side][place].add(name)
    segments = [_segment(passage, hidden[0]), _segment(retold, hidden[1])]
    return segments[::-1] if rng.random() < 0.7 else segments


def _segment(statements: list[tuple[str, dict[str, str]]], hidden: list[set[str]]) -> tuple[str, Spans]:
    text, spans = "", []
    for (template, values), names in zip(statements, hidden, strict=True):
        sentence, written = capitalised(template, values)
        filled, starts = fill(sentence, written)
        text += " " * bool(text)
        spans += [(len(text) + starts[name], len(text) + starts[name] + len(values[name])) for name in names]
        text += filled
    return text, spans


def _batches(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[dict[str, Tensor]]:
    for step in itertools.count():
        count = rng.randint(1, min(7, 2 + step // 100))  # the same in a batch, so that little is padding
        documents = [_document(rng, count) for _ in range(BATCH)]
        pairs = [[text for text, _ in document] for document in documents]
        encoded = tokenizer(
            pairs, padding=True, pad_to_multiple_of=16, return_tensors="pt", return_offsets_mapping=True
        )
        chosen = torch.zeros_like(encoded["input_ids"], dtype=torch.bool)
        for row, document in enumerate(documents):
            for segment, (_, spans) in enumerate(document):
                for start, end in spans:
                    first = encoded.char_to_token(row, start, sequence_index=segment)
                    last = encoded.char_to_token(row, end - 1, sequence_index=segment)
                    chosen[row, first : last + 1] = True
        yield _corrupted(encoded["input_ids"], encoded["attention_mask"], chosen, tokenizer.mask_token_id, rng)


def _corrupted(
    ids: Tensor, attention_mask: Tensor, chosen: Tensor, mask_id: int, rng: random.Random
) -> dict[str, Tensor]:
    """Of the chosen tokens, shape (rows, length), 80 % become masks, 10 % other chosen ones; 10 % of all are added."""
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    chance = torch.rand(ids.shape, generator=generator)
    more = (torch.rand(ids.shape, generator=generator) < 0.1) & (ids >= len(SPECIAL_TOKENS))
    chosen = chosen | more
    inputs = ids.masked_fill(chosen & (chance < 0.8), mask_id)
    exchanged = chosen & (chance > 0.9)
    pool = ids[chosen]
    drawn = torch.randint(len(pool), (int(exchanged.sum()),), generator=generator)
    inputs[exchanged] = pool[drawn]
    return {"input_ids": inputs, "attention_mask": attention_mask, "labels": ids.masked_fill(~chosen, -100)}
