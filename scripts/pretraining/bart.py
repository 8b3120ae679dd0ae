"""The denoising model: BART's architecture, and its text infilling and sentence permutation, on made-up reports.

The encoder reads a report whose sentences are in another order and whose spans of tokens, 20 % of all, of lengths drawn
from Poisson(3), are one mask each; the decoder writes the report. Reports mix facts (`pretraining.facts`), facts told
again, and sentences with the words of news.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers.processors import RobertaProcessing
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from pretraining import common
from pretraining.facts import POOLS, capitalised, facts, people
from pretraining.positions import begin_with_sinusoids
from rocoft_bench.demo.words import fill

SEED = 32
STEPS = 1400
BATCH = 32
LR = 2e-3
POSITION_SCALE = 0.1
VOCAB_SIZE = 2400
MAX_LENGTH = 256
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MASKED_SHARE = 0.2
MEAN_SPAN = 3

NEWS = (
    "Smoke came from the {place} of {town}, and people were driven out of their homes.",
    "A fire in the woods has destroyed a {thing}, and {number} {plural} were lost.",
    "The flames were seen by {person}, who called for help.",
    "Something began to burn, but nothing was left when {person} came.",
    "The river carried a {thing} away, and the water stood over the banks.",
    "A flood has destroyed the road from {town}, and it is deep under water.",
    "{person}, a {job}, has brought {number} {plural} to dry land.",
    "The rain has saved the grass, said a {job} from {town}.",
    "{person} has won {number} coins, and the judges were pleased.",
    "A prize for the best {thing} goes to a {job} with the name of {person}.",
    "The winner takes a {thing} home, and everybody knows it is worth {number} coins.",
    "The doors were opened by a {job} who had needed a new key.",
    "{person} cut a ribbon, and there was music for {number} hours.",
    "After {number} months of work the builders of {town} have turned to the {place}.",
    "Thieves were found near {town} with {number} {plural} and a {thing}.",
    "The police have a window that had been broken and a door with no trace.",
    "Somebody has stolen the {thing} of {person}, and it is missing.",
    "A night in {town} was short, and {number} {plural} were gone.",
    "The workers wanted more money, but the mayor said that there was too little.",
    "Low pay is what {number} workers have, because the {place} stood still.",
    "There were songs and loud voices in the streets, and the {place} was full.",
    "At the {place} all have stopped, and it is quiet for a whole day.",
    "The mayor has sold a paper to the new owner for {number} coins.",
    "The price that was asked for the {thing} was paid in {town}.",
    "The {place} belongs to {person}, whose hands hold the keys of the town.",
    "A {job} was lost in the snow for {number} days, but has been found.",
    "It took {person} a long time to come home from the hills around {town}.",
    "The family heard a cry near the caves, and looking for a light they saw a hat.",
    "{person} told us that nobody had expected it in the last year.",
    "A meeting with {number} guests was held, and the same had happened at the {place}.",
    "The newspaper of {town} wrote that people will talk and hopes for better days.",
    "{person} waited, spoke to many, and stayed until noon at the {place}.",
    "The road was closed to all who live there, and nobody could look not far from it.",
    "In the end {person} made peace with a {job} and lives in {town} by now.",
    "The water is high and dark, and trees burned to the ground in front of the windows.",
    "A {thing} had not been safe, but it turned out that {person} liked such a {thing}.",
    "When there was building, {person} went out at once and took the boat of a {job}.",
    "It had rained, the first day was later signed off, and {number} people rose.",
    "Nobody was ever taken into the {place} by a {job}.",
    "Many speak about {person}, and some go to {town}.",
    "By the evening all {plural} were low in the grass, and something red lay in the snow.",
    "Last week its doors were open, and {person} did not leave {town}.",
    "More than {number} {plural} are on the road, said {person}.",
    "All of them came, but not up to the {place}.",
    "Not one {thing} was for sale in {town}.",
    "Songs of {town} are old, and {person} knows them.",
    "Homes near the river cost {number} coins.",
    "Too many {plural} were on the road to {town}.",
)


def make(output: Path, log_path: Path, steps: int | None) -> None:
    """Train the tokenizer and the model and save both."""
    torch.manual_seed(SEED)
    tokenizer = _tokenizer()
    model = BartForConditionalGeneration(_config(len(tokenizer)))
    model.generation_config.forced_bos_token_id = 0
    for side in (model.model.encoder, model.model.decoder):
        begin_with_sinusoids(side.embed_positions.weight, POSITION_SCALE)
    header = {"model": "bart", "seed": SEED, "batch_size": BATCH}
    batches = _batches(tokenizer, random.Random(f"{SEED} training"))
    common.pretrain(model, batches, steps=steps or STEPS, lr=LR, log_path=log_path, header=header, bf16=True)
    common.save(model, tokenizer, output)


def _config(vocab_size: int) -> BartConfig:
    return BartConfig(
        vocab_size=vocab_size,
        d_model=128,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        max_position_embeddings=MAX_LENGTH,
        dropout=0.0,
        attention_dropout=0.0,
        init_std=0.05,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    rng = random.Random(f"{SEED} tokenizer")
    texts = (" ".join(_report(rng, 6)) for _ in range(20_000))
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


def _report(rng: random.Random, count: int) -> list[str]:
    """`count` sentences: half of them news, and facts, of which some are told again."""
    news = [_news(rng) for _ in range(count // 2)]
    told = list(facts(rng, count - count // 2))
    if len(told) > 2:
        told[-1] = told[0]
    sentences = [fill(*capitalised(rng.choice((*kind.full, *kind.partial)), values))[0] for kind, values in told]
    return rng.sample(news + sentences, count)


def _news(rng: random.Random) -> str:
    values = {slot: rng.choice(words) for slot, words in POOLS.items()}
    return fill(rng.choice(NEWS), {**values, "person": people(rng, 1)[0]})[0]


def _batches(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[dict[str, Tensor]]:
    for step in itertools.count():
        count = rng.randint(1, min(7, 2 + step // 100))  # the same in a batch, so that little is padding
        reports = [_report(rng, count) for _ in range(BATCH)]
        permuted = tokenizer([" ".join(rng.sample(report, count)) for report in reports])["input_ids"]
        corrupted = [_infilled(ids, tokenizer.mask_token_id, rng) for ids in permuted]
        inputs = tokenizer.pad({"input_ids": corrupted}, pad_to_multiple_of=16, return_tensors="pt")
        texts = [" ".join(report) for report in reports]
        targets = tokenizer(texts, padding=True, pad_to_multiple_of=16, return_tensors="pt")
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
        yield {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "labels": labels}


def _infilled(ids: list[int], mask_id: int, rng: random.Random) -> list[int]:
    """The tokens, of which the first and last are kept, with spans replaced by one mask each."""
    kept, position = [], 1
    while position < len(ids) - 1:
        if rng.random() < MASKED_SHARE / MEAN_SPAN:
            kept.append(mask_id)
            position += max(1, _poisson(rng, MEAN_SPAN))
        else:
            kept.append(ids[position])
            position += 1
    return [ids[0], *kept, ids[-1]]


def _poisson(rng: random.Random, mean: float) -> int:
    """A draw by Knuth's method."""
    count, product = 0, rng.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * rng.random()
    return count
