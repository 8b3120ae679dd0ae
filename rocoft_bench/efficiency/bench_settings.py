"""What an efficiency bench is made of, and from a YAML file to the benches that it names.

bench:
  models: [roberta-base, {name: llama-2-7b, num_hidden_layers: 4}]   # a name, and what its configuration has else
  methods: [full, lora, {name: rocoft, mode: column}]                # a frozen model always stands beside them
  shapes: [[8, 128], [8, 512]]                                       # rows × tokens of a batch
  variants: [{}, {gradient_checkpointing: true}]                     # other settings
  turns: 20                                                          # every other key is a setting of all
"""

from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field

from rocoft_bench.config import Count, CountFromZero, LargeCount, Settings, StrictModel, checked
from rocoft_bench.errors import UserError, shortened, suggest
from rocoft_bench.models import KNOWN_MODELS, known_model
from rocoft_bench.runs import digest

SECTION = "bench"
"""The one group of a file of benches."""
AXES: dict[str, list[Any]] = {"models": ["roberta-base"], "methods": ["rocoft"], "shapes": [[8, 128]], "variants": [{}]}
"""Lists of a file, and what stands for one that is not there."""
OF_AXES = {"model": "models", "method": "methods", "batch_size": "shapes", "sequence_length": "shapes"}
"""Settings of a bench that the axes say, by the axis; given beside it they would have no effect."""
FROZEN = "frozen"
LAYER = "linear"
"""In the place of a model, {name: linear, d_in: 768, d_out: 768}: one layer alone, of Table 3."""


class LayerSize(StrictModel):
    """Of a single linear layer."""

    d_in: Count = 768
    d_out: Count = 768


class BenchSettings(StrictModel):
    """Training steps of one method on a model of random weights, with rows of made-up tokens."""

    model: dict[str, Any]
    """`name`, one of the paper's models, and what its configuration has else, such as num_hidden_layers."""
    task_kind: Literal["sequence_classification", "causal_lm", "seq2seq_lm"] = "sequence_classification"
    """What the model is to do, which says what head and loss it has."""
    method: dict[str, Any]
    """`name` and settings of a method, of `rocoft ls methods` or a reference: frozen, published-rocoft, miss."""
    batch_size: Count = 8
    sequence_length: Count = 128
    """Tokens of each row."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the frozen weights."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """bf16: mixed, by autocast; tf32: float32 whose products a GPU computes with shorter mantissas."""
    gradient_checkpointing: bool = False
    gradient_accumulation: Count = 1
    compile: bool = False
    """Whether torch compiles the model."""
    decode_tokens: CountFromZero = 0
    """Tokens that a causal language model generates, before and after merging; 0: none."""
    turns: Count = 20
    """Timed steps. All methods of a model and shape take them in turn, since times drift on a shared machine."""
    task: str | None = None
    """The task whose rows have this length, e.g. sst2."""
    task_rows: LargeCount | None = None
    """Its training rows, which an epoch is of."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def config_hash(self) -> str:
        """Equal where the same is measured."""
        return digest(self.model_dump(mode="json"))

    def settings_hash(self) -> str:
        """Equal for benches that differ in their seed only."""
        return self.model_copy(update={"seed": 0}).config_hash()

    @property
    def is_of_layer(self) -> bool:
        return bool(self.model["name"] == LAYER)

    def circumstances(self) -> dict[str, Any]:
        """All but the method: benches that share them are measured together."""
        return self.model_dump(mode="json", exclude={"method"})

    @property
    def folder_name(self) -> str:
        """Below the folder of all results; different for every different bench."""
        shape = f"{self.batch_size}x{self.sequence_length}"
        return f"bench-{self.model['name']}/{self.method['name']}_{shape}_{self.config_hash()}"


def is_of_benches(settings: Settings) -> bool:
    """Whether a file is one of benches."""
    return SECTION in settings.values


def benches_of(settings: Settings) -> list[list[BenchSettings]]:
    """The benches of each model, shape and variant, the frozen model first.

    Raises: UserError if a setting is unknown or out of range, or the file holds something else.
    """
    values = settings.only_group(SECTION, "benches")
    if not isinstance(values, dict):
        raise UserError(f"a file of benches holds a group `{SECTION}` of settings, with models, methods and shapes")
    axes = {axis: _listed(values.get(axis), axis) for axis in AXES}
    for key in OF_AXES:
        if any(key in given for given in (values, *axes["variants"])):
            raise UserError(f"{SECTION}.{key}: is of one bench; name them all in a list, {SECTION}.{OF_AXES[key]}")
    settings.check_keys(SECTION, [*AXES, *(BenchSettings.model_fields.keys() - OF_AXES.keys())])
    common = {key: value for key, value in values.items() if key not in AXES}
    methods = [_named(method) for method in [FROZEN, *axes["methods"]]]
    unique = [method for index, method in enumerate(methods) if method not in methods[:index]]
    return [
        [_bench({**common, **_shaped(shape), "model": _model(model), **variant, "method": m}, settings) for m in unique]
        for model, shape, variant in product(axes["models"], axes["shapes"], axes["variants"])
    ]


def _listed(value: Any, axis: str) -> list[Any]:
    value = AXES[axis] if value is None else value
    if not isinstance(value, list) or not value:
        raise UserError(f"{SECTION}.{axis} = {shortened(repr(value))}: must be a list")
    if axis == "variants" and not all(isinstance(variant, dict) for variant in value):
        raise UserError(f"{SECTION}.variants = {shortened(repr(value))}: must be a list of groups of settings")
    return value


def _shaped(shape: Any) -> dict[str, Any]:
    if not isinstance(shape, list) or len(shape) != 2:
        raise UserError(f"{SECTION}.shapes: {shortened(repr(shape))}: must be [rows, tokens], e.g. [8, 128]")
    return {"batch_size": shape[0], "sequence_length": shape[1]}


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"name": value}


def _model(value: Any) -> dict[str, Any]:
    section = _named(value)
    if section.get("name") == LAYER:
        return {"name": LAYER, **checked(LayerSize, {k: v for k, v in section.items() if k != "name"}).model_dump()}
    known = known_model(str(section.get("name")))
    if known is None or known.paper_name is None:
        names = [LAYER, *(model.alias for model in KNOWN_MODELS if model.paper_name)]
        raise UserError(
            f"{SECTION}.models: {shortened(repr(section.get('name')))} is no model whose architecture ships; "
            f"{suggest(str(section.get('name')), names)}"
        )
    return {**section, "name": known.alias}


def _bench(values: dict[str, Any], settings: Settings) -> BenchSettings:
    from rocoft_bench.efficiency.reference_methods import method_of

    bench = checked(BenchSettings, values, settings.sources, SECTION)
    method_of(bench.method, bench.task_kind, bench.model["name"])  # a wrong one is told of before any is measured
    return bench
