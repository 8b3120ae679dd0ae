"""Tiny models with random weights of every architecture of the paper, and a small GLUE folder for the tests."""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

WORDS = (
    *("the", "a", "cat", "dog", "bird", "man", "woman", "child", "sleeps", "runs", "sings", "eats"),
    *("in", "park", "house", "and", "not", "no", "every", "some", "big", "small"),
)
gc.set_threshold(*gc.get_threshold()[:2], 1000)  # each full collection goes through all that the libraries define
settings.register_profile("time is no fault", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("time is no fault")  # the machine may be busy with something else
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> Iterator[None]:
    """What a command makes once: its parser, and templates of cards. Nothing here has to outlive a power cut either."""
    import jinja2
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        patch.setattr(jinja2, "Template", functools.cache(jinja2.Template))
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """What a script starts in the background inherits that Ctrl-C is ignored, and so would what the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 2-layer BERT of width 16 and its WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    save_tiny_bert(folder)
    return folder


def save_tiny_bert(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    BertTokenizer(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)


def _tokenizer(pair_template: str | None, single_template: str | None) -> Any:
    """A byte-level tokenizer of 256 letters and the special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    if single_template:
        ids = [(name, letters.index(name)) for name in ("<s>", "</s>")]
        raw.post_processor = processors.TemplateProcessing(
            single=single_template, pair=pair_template, special_tokens=ids
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
        model_max_length=512,
    )


def _configs() -> dict[str, tuple[Any, tuple[str | None, str | None]]]:
    """By the hub id in the YAML files: a small configuration of that architecture, and its tokens around texts."""
    import transformers as t

    ids = {"vocab_size": 300, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    encoder = {**SMALL, **ids, "max_position_embeddings": 514}
    around = ("<s> $A </s> </s> $B </s>", "<s> $A </s>")
    llama = t.LlamaConfig(**SMALL, **ids, max_position_embeddings=1024)
    bart = t.BartConfig(
        **ids, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=512, decoder_start_token_id=2,
        forced_bos_token_id=0,
    )  # fmt: skip
    deberta = t.DebertaV2Config(
        **encoder, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=32, norm_rel_ebd="layer_norm"
    )
    return {
        "FacebookAI/roberta-base": (t.RobertaConfig(**encoder), around),
        "microsoft/deberta-v3-base": (deberta, ("<s> $A </s> $B </s>", "<s> $A </s>")),
        "facebook/bart-large": (bart, around),
        "meta-llama/Llama-2-7b-hf": (llama, (None, "<s> $A")),
        "bigscience/bloomz-7b1": (t.BloomConfig(**ids, hidden_size=16, n_layer=2, n_head=2), (None, None)),
        "EleutherAI/gpt-j-6b": (
            t.GPTJConfig(**ids, n_embd=16, n_layer=2, n_head=2, n_inner=32, rotary_dim=4, n_positions=1024),
            (None, None),
        ),
    }


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """tiny_of(hub_id) is the folder of a tiny random model of that architecture."""
    made: dict[str, Path] = {}

    def make(hub_id: str) -> Path:
        if hub_id not in made:
            import torch
            from transformers import AutoModel, AutoModelForCausalLM

            folder = tmp_path_factory.mktemp("tiny") / hub_id.rpartition("/")[2]
            config, (pair, single) = _configs()[hub_id]
            torch.manual_seed(0)
            causal = config.model_type in ("llama", "bloom", "gptj")
            (AutoModelForCausalLM if causal else AutoModel).from_config(config).save_pretrained(folder)
            _tokenizer(pair, single).save_pretrained(folder)
            made[hub_id] = folder
        return made[hub_id]

    return make


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9)))


@pytest.fixture(scope="session")
def glue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 13 validation rows of rte (pairs, two labels), cola (single) and stsb (regression)."""
    folder = tmp_path_factory.mktemp("data")
    write_glue(folder, ("rte", "cola", "stsb"))
    return folder


def write_glue(folder: Path, tasks: tuple[str, ...]) -> None:
    rng = random.Random(0)
    for task in tasks:
        for split, count in (("train", 40), ("validation", 13)):
            rows = []
            for index in range(count):
                text = (
                    {"sentence": sentence(rng)}
                    if task == "cola"
                    else {
                        "sentence1": sentence(rng),
                        "sentence2": sentence(rng),
                    }
                )
                label = rng.randint(0, 50) / 10 if task == "stsb" else rng.randint(0, 1)
                rows.append({**text, "label": label, "idx": index})
            write_rows(folder / "glue" / task / f"{split}.jsonl", rows)


def write_rows(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def forgets_plugins() -> Iterator[None]:
    """Plug-ins that a test loads are gone when it ends."""
    from rocoft_bench.plugins import Registry, from_file

    yield
    from_file._loaded.clear()
    for registry in Registry.known:
        for plugin in set(registry._origins.values()):
            registry.drop(plugin)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def rocoft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls the real command line in this process."""

    def call(*arguments: object) -> Outcome:
        from rocoft_bench.cli import main

        monkeypatch.setattr(sys, "argv", ["rocoft", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
