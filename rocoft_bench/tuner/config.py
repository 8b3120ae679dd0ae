"""The configuration of a RoCoFT adapter, in PEFT's terms."""

import re
from dataclasses import InitVar, dataclass, field
from typing import Any

from peft import PeftConfig, PeftType

MODES = ("row", "column", "random", "row_column")
ALIASES = {"entries": "random"}
"""Other names of modes, which are saved by their first one."""
SELECTIONS = ("first", "random", "max", "min", "mixed")
FORMAT_VERSION = 1
"""Of saved adapters: each layer's int32 indices, values and biases under `rocoft_adapter`."""
SCORED_SELECTIONS = ("max", "min", "mixed")


@dataclass
class RoCoFTConfig(PeftConfig):
    """Train `rank` rows or columns of each targeted weight matrix, in place (RoCoFT, Eq. 2).

    Args:
        rank: Rows or columns trained per matrix; clipped to the matrix, with a warning.
        mode: "row" trains W[S, :], "column" trains W[:, S], "row_column" `rank` rows and `rank` columns, each entry
            where they cross once, "entries" single ones drawn at random (Appendix B.2); the other name of these,
            "random", is the one that is saved.
            W has PyTorch's shape (out_features, in_features), also for GPT-2's transposed `Conv1D`.
        selection: How the |S| = rank rows or columns are chosen: the "first" ones, a seeded "random" sample, or by
            Wanda score |W_ij| * ||X_j||_2 (Eq. 3): "max", "min", or "mixed" (half from each end, the odd one from the
            max end). The scored ones need `rocoft_bench.calibrate(model, batches)` before the first forward pass.
        probability: For mode "random", the share of each matrix's entries that is trained. Exactly
            round(probability * entries) of them are drawn, so the count does not depend on the seed.
        train_bias: Also train the bias of each targeted layer that has one.
        recompute_inputs: Rows and single entries: what a layer was given is computed again in backward, from what the
            operation before it keeps anyway, with the same bits. False keeps it: more memory, a little less to compute.
        seed: Seed of the "random" selection and of mode "random"; every layer draws its own sample.
        target_modules: Names (suffixes) or a regular expression. Default: every linear layer inside the transformer
            blocks; heads, embeddings and poolers are left out.
        exclude_modules: Names or a regular expression of modules to leave out.
        target_parameters: Names of parameters that are no linear layer's, such as fused experts (E, d_out, d_in), of
            each of which `rank` rows or columns, or single entries, are trained; beside the `target_modules`.
        modules_to_save: Modules trained and saved in full, such as a classification head.
        trainable_token_indices: Tokens whose embeddings are trained too, or {name of a layer: tokens}, as in LoRA.
        ensure_weight_tying: Modules in `modules_to_save` that are tied to the embeddings are trained as one with them.
        layers_to_transform: Indices of the blocks to adapt; all by default.
        layers_pattern: Name of the list of blocks, where `layers_to_transform` is ambiguous.
        rank_pattern: Ranks of single modules by name or regular expression, e.g. {"fc1": 8}.
        init_weights: False starts from random trained values instead of the pretrained ones; for tests only.
        format_version: Of the saved adapter. Set by this package, which reads the versions up to its own.
        calibrated: Read from adapters of earlier versions and ignored: their indices say whether they are calibrated.

    Raises:
        ValueError: If a value is outside its range, a pattern is not a regular expression, or a setting has no meaning
            in the chosen mode; the message names the field and what is allowed.
    """

    rank: int = field(default=3, metadata={"help": "Rows or columns trained per weight matrix."})
    mode: str = field(default="row", metadata={"help": "row, column, row_column or entries (single ones)."})
    selection: str = field(default="first", metadata={"help": "first, random, max, min or mixed."})
    probability: float = field(default=0.1, metadata={"help": "Share of entries trained in mode random."})
    train_bias: bool = field(default=False, metadata={"help": "Train the biases of the targeted layers too."})
    recompute_inputs: bool = field(default=True, metadata={"help": "Compute inputs again instead of keeping them."})
    seed: int = field(default=0, metadata={"help": "Seed of random choices of rows, columns or entries."})
    target_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Module names or a regular expression; default: all linears of the blocks."}
    )
    exclude_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Module names or a regular expression to leave out."}
    )
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "Modules trained and saved in full."})
    target_parameters: list[str] | None = field(default=None, metadata={"help": "Parameters, as of fused experts."})
    trainable_token_indices: list[int] | dict[str, list[int]] | None = field(
        default=None, metadata={"help": "Tokens whose embeddings are trained too."}
    )
    ensure_weight_tying: bool = field(default=False, metadata={"help": "Train tied modules as one, as in LoRA."})
    layers_to_transform: list[int] | int | None = field(default=None, metadata={"help": "Block indices to adapt."})
    layers_pattern: list[str] | str | None = field(default=None, metadata={"help": "Name of the list of blocks."})
    rank_pattern: dict[str, int] = field(default_factory=dict, metadata={"help": "Ranks of single modules."})
    init_weights: bool = field(default=True, metadata={"help": "Start from the pretrained values."})
    format_version: int = field(default=FORMAT_VERSION, metadata={"help": "Of saved adapters; set by this package."})
    calibrated: InitVar[bool] = False

    def __post_init__(self, calibrated: bool) -> None:
        is_new = self.peft_version is None  # a saved one has the version; what was once accepted stays loadable
        super().__post_init__()
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"the adapter is of format_version={self.format_version}, this rocoft_bench reads those up to "
                f"{FORMAT_VERSION}: install a later one"
            )
        self.peft_type = PeftType.ROCOFT  # type: ignore[attr-defined]
        self.target_modules = _as_set(self.target_modules)
        self.exclude_modules = _as_set(self.exclude_modules)
        self.mode = ALIASES.get(self.mode, self.mode)
        for name, allowed in (("mode", MODES), ("selection", SELECTIONS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        self._check_ranks()
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability={self.probability} is outside (0, 1]")
        self._check_layer_choice()
        self._check_patterns()
        self.modules_to_tie: set[str] | None = None  # set by peft, which reads it
        if is_new:
            self._check_ignored()

    @property
    def is_scored(self) -> bool:
        """Whether rows or columns are chosen by score, so that each adapter needs `calibrate` or saved indices."""
        return self.mode != "random" and self.selection in SCORED_SELECTIONS

    def to_dict(self) -> dict[str, Any]:
        """As PEFT's, with sets as sorted lists: equal configurations are saved as equal files."""
        return {key: sorted(value) if isinstance(value, set) else value for key, value in super().to_dict().items()}

    def _check_ranks(self) -> None:
        ranks = {"rank": self.rank, **{f"rank_pattern[{key!r}]": rank for key, rank in self.rank_pattern.items()}}
        for name, rank in ranks.items():
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
                raise ValueError(f"{name}={rank!r} is not a positive integer")

    def _check_layer_choice(self) -> None:
        if isinstance(self.target_parameters, str):
            raise TypeError("`target_parameters` must be a list of strings or None.")
        if self.target_parameters and self.is_scored:
            raise ValueError(
                f"selection={self.selection!r} scores by what a layer is given, which is not known of "
                "target_parameters: choose first or random"
            )
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError("`layers_to_transform` cannot be used when `target_modules` is a str.")
        if isinstance(self.target_modules, str) and self.layers_pattern is not None:
            raise ValueError("`layers_pattern` cannot be used when `target_modules` is a str.")
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("When `layers_pattern` is specified, `layers_to_transform` must also be specified.")

    def _check_patterns(self) -> None:
        """Of everything that PEFT matches as a regular expression."""
        names = ("target_modules", "exclude_modules")
        patterns = [(name, value) for name in names if isinstance(value := getattr(self, name), str)]
        for name in ("layers_pattern", "modules_to_save", "rank_pattern"):
            value = getattr(self, name) or ()
            patterns += [(name, pattern) for pattern in ([value] if isinstance(value, str) else value)]
        for name, pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{name}={pattern!r} is not a regular expression: {error}") from None

    def _check_ignored(self) -> None:
        ignored, instead = ["probability"], "rank"
        if self.mode == "random":
            ignored, instead = ["rank", "rank_pattern", "selection"], "probability, the share of entries"
        for name in ignored:
            if (value := getattr(self, name)) != getattr(RoCoFTConfig, name, {}):  # another than the default
                raise ValueError(f"{name}={value!r} has no meaning in mode {self.mode!r}: set {instead}")


def _as_set(names: Any) -> Any:
    return set(names) if isinstance(names, list) else names
