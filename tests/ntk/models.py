"""Tiny language models, examples and a tokenizer for them, and gradients taken one example and one logit at a time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.ntk.kernels import Example
from tests.conftest import write_rows

IDS = {"vocab_size": 60, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
WORDS = (10, 11, 12, 13, 14, 15)
KINDS = ("roberta", "roberta-untied", "bert", "deberta", "llama", "llama-tied", "gpt2", "gpt2-untied")


def tiny(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    """A randomly initialised model; norms and biases are random too, so that nothing is one or zero by chance."""
    import transformers as t

    name, _, tie = kind.partition("-")
    encoder = {**SMALL, **IDS, "max_position_embeddings": 40}
    tied = {"tie_word_embeddings": tie != "untied" and (name != "llama" or tie == "tied")}
    torch.manual_seed(0)
    model: Any = {
        "roberta": lambda: t.RobertaForMaskedLM(t.RobertaConfig(**encoder, **tied)),
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(**encoder, **tied)),
        "deberta": lambda: t.DebertaV2ForMaskedLM(
            t.DebertaV2Config(
                **encoder,
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                position_buckets=4,
                share_att_key=True,
                norm_rel_ebd="layer_norm",
                position_biased_input=False,
            )
        ),
        "deberta1": lambda: t.DebertaForMaskedLM(
            t.DebertaConfig(**encoder, relative_attention=True, pos_att_type=["p2c", "c2p"])
        ),
        "fnet": lambda: t.FNetForMaskedLM(t.FNetConfig(**encoder)),
        "bart": lambda: t.BartForConditionalGeneration(
            t.BartConfig(
                **IDS,
                d_model=8,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=12,
                decoder_ffn_dim=12,
                max_position_embeddings=40,
            )
        ),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**encoder, **tied)),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**IDS, n_embd=8, n_layer=2, n_head=2, n_positions=40, **tied)),
    }[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def examples(count: int = 5) -> list[Example]:
    """Of different lengths; some words are in several, one twice in the same."""
    generator = torch.Generator().manual_seed(1)
    lengths = [7, 4, 9, 5, 6, 8, 3][:count]
    rows = [torch.randint(10, 30, (length,), generator=generator).tolist() for length in lengths]
    rows[0][1] = rows[0][2]
    return [Example((0, *row, 2), 1 + index % 3) for index, row in enumerate(rows)]


def dense_gradients(model: Any, chosen: list[Example], words: tuple[int, ...]) -> dict[str, Tensor]:
    """J of every parameter by its name: (n, C, …), without batches, hooks or padding."""
    model.requires_grad_(True)
    parameters = dict(model.named_parameters())
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for example in chosen:
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, example.position]
        for word in words:
            found = torch.autograd.grad(logits[word], list(parameters.values()), retain_graph=True, allow_unused=True)
            for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
                rows[name].append(torch.zeros_like(parameter) if gradient is None else gradient)
    model.requires_grad_(False)
    return {name: torch.stack(found).view(len(chosen), len(words), *found[0].shape) for name, found in rows.items()}


def gram(*features: Tensor) -> Tensor:
    """Σ ΦΦᵀ of features (n, C, …), as (n · C, n · C)."""
    flat = torch.cat([each.flatten(2) for each in features], 2).flatten(0, 1).double()
    return flat @ flat.t()


SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
TOKENS = (
    *("A", "film", "ĠA", "Ġfilm", "Ġa", "ĠIt", "Ġwas", "ĠThis", "Ġis", ".", ",", ":", "?", "Ġsmall", "Ġcat", "ĠCat"),
    *("Ġterrible", "Ġbad", "Ġokay", "Ġgood", "Ġgreat", "Ġsubjective", "Ġobjective", "ĠDescription", "ĠEntity"),
    *("ĠExpression", "ĠHuman", "ĠLocation", "ĠNumber", "ĠYes", "ĠMaybe", "ĠNo", "!", "Ġ"),
)
VOCABULARY = {token: index for index, token in enumerate((*SPECIAL, *TOKENS))}


def word_tokenizer() -> Any:
    """One token a word, with its blank, as RoBERTa's for common words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel(VOCABULARY, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = {
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=30, **names)


NOUNS = ("A film", "A cat", "A small cat", "A small film", "A bad film", "A good cat", "A great film was okay")


def save_masked_lm(folder: Path) -> None:
    tiny("roberta", torch.float32).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)


def write_few_shot_rows(folder: Path) -> None:
    """mr (two classes), trec (six) and mrpc (pairs): training rows to draw from, and 20 test rows."""
    rng = random.Random(0)
    for task, classes in (("mr", 2), ("trec", 6), ("mrpc", 2)):
        for split, count in (("train", 10 * classes), ("test", 20)):
            rows = []
            for index in range(count):
                text, other = (
                    f"{rng.choice(NOUNS)} {rng.choice(('was', 'is'))} {rng.choice(NOUNS)}." for _ in range(2)
                )
                texts = {"text_a": text, "text_b": other} if task == "mrpc" else {"text": text}
                rows.append({**texts, "label": index % classes})
            write_rows(folder / "fewshot" / task / f"{split}.jsonl", rows)
