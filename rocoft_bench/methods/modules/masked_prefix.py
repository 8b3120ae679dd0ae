"""A prefix that is the unmasked part of one which all attentions share."""

import torch
from torch import Tensor, nn

from rocoft_bench.methods.modules.attention_prefix import Prefix
from rocoft_bench.methods.modules.shared_mask import Mask
from rocoft_bench.methods.modules.wrappers import Attached


class Prototype(Attached):
    """A table (length, width) that an MLP makes of trained embeddings, or, once `fix`ed, nothing but that `table`."""

    table: Tensor | None
    mlp: nn.Sequential | None
    embedding: nn.Parameter | None

    def __init__(self, length: int, d_model: int, hidden: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(length, d_model, device=device, dtype=torch.float32))
        self.mlp = nn.Sequential(
            nn.Linear(d_model, hidden, device=device, dtype=torch.float32),
            nn.Tanh(),
            nn.Linear(hidden, width, device=device, dtype=torch.float32),
        )
        self.register_buffer("table", None)

    def forward(self) -> Tensor:
        """The table."""
        if self.mlp is not None:
            return self.mlp(self.embedding)
        assert self.table is not None
        return self.table

    @torch.no_grad()
    def fix(self) -> None:
        """Keep the table and forget what made it."""
        self.table, self.embedding, self.mlp = self(), None, None


class MaskedPrefix(Prefix):
    """[P_k, P_v] = prototype ⊙ mask, (l, 2 d_kv)."""

    def __init__(self, length: int, d_model: int, hidden: int, width: int, keep: float, device: torch.device) -> None:
        super().__init__()
        self.length = length
        self.prototype = Prototype(length, d_model, hidden, 2 * width, device)
        self.mask = Mask((length, 2 * width), keep, device)

    def key_and_value(self) -> tuple[Tensor, Tensor]:
        key, value = self.mask(self.prototype()).chunk(2, dim=-1)
        return key, value
