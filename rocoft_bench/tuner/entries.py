"""What one adapter trains in one layer."""

import torch
from torch import Tensor, nn

from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.in_place import PLAIN_TYPES
from rocoft_bench.tuner.selection import Place, place_of

INDEX_NAMES = {
    "row": "row_indices",
    "column": "column_indices",
    "random": "entry_indices",
    "row_column": "row_column_indices",
}
"""By mode. A saved adapter so says by a name which way its values lie, which square layers' shapes do not tell."""


def layout(mode: str) -> str:
    """As what a mode's values lie in memory: rows, columns, or single entries ("random")."""
    return "random" if mode == "row_column" else mode


def started(values: Tensor, config: RoCoFTConfig) -> Tensor:
    """What trained values start as, given the pretrained ones."""
    return values if config.init_weights else torch.randn_like(values)


class TrainedEntries(nn.Module):
    """The trained entries of a weight, and where they belong.

    `weight` holds entries of W, not a change of W, so that weight decay acts on the weights themselves: r rows
    (r, d_in), r columns (r, d_out) or n entries (n,). `bias` (d_out,) exists where `train_bias` asks for it. The
    indices (r,) or (n,) are saved with them; all are -1 while a scored selection has not been made.

    `kept_values` at `kept_indices` are of what is trained no more, and saved too; None where there is no such thing.
    """

    def __init__(self, config: RoCoFTConfig, indices: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(weight)
        self.bias: nn.Parameter | None
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.register_buffer(INDEX_NAMES[config.mode], indices)
        self.kept_indices: Tensor | None
        self.kept_values: Tensor | None
        self.register_buffer("kept_indices", None)
        self.register_buffer("kept_values", None)
        self._chosen = not config.is_scored
        self._place: Place = slice(0)
        self._place_of: tuple[Tensor | None, object] = (None, None)

    @property
    def mode(self) -> str:
        """The layout of the values: those of rows and columns together lie as single entries."""
        return layout(self.config.mode)

    @property
    def indices(self) -> Tensor:
        indices: Tensor = getattr(self, INDEX_NAMES[self.config.mode])
        return indices

    def keep(self, indices: Tensor | None, values: Tensor | None) -> None:
        """Have these values beside the trained ones, instead of those that were kept before."""
        self.kept_indices = None if indices is None else indices.to(self.indices)
        self.kept_values = None if values is None else values.to(self.weight)
        self._place_of = (None, None)

    @property
    def all_indices(self) -> Tensor:
        """Of all that is not pretrained: first the trained values' indices, then those of the kept ones."""
        return self.indices if self.kept_indices is None else torch.cat([self.indices, self.kept_indices])

    @property
    def all_values(self) -> Tensor:
        """What is at `all_indices`; gradients reach the trained ones."""
        return self.weight if self.kept_values is None else torch.cat([self.weight, self.kept_values])

    @property
    def is_one_tensor(self) -> bool:
        """Whether all values are here and chosen; kept ones beside them are put together anew for each product."""
        is_here = type(self.weight) in PLAIN_TYPES and self.weight.dim() == 2 - (self.mode == "random")
        return is_here and self.kept_values is None and not self.needs_calibration

    @property
    def needs_calibration(self) -> bool:
        """True until a scored selection has been made by `calibrate` or loaded."""
        if not self._chosen:  # looked up until it is true: reading a GPU's memory makes it wait
            self._chosen = bool((self.indices >= 0).all())
        return not self._chosen

    @property
    def place(self) -> Place:
        """All indices in the form in which W is read and written fastest."""
        indices = self.indices
        version = 0 if indices.is_inference() else indices._version  # such a tensor counts no changes
        state, (known, known_state) = (version, indices.device), self._place_of
        if known is not indices or known_state != state:  # looked up when they change: reading a GPU's memory waits
            with torch.inference_mode(False):  # it may be used in training later
                self._place, self._place_of = place_of(self.all_indices), (indices, state)
        return self._place
