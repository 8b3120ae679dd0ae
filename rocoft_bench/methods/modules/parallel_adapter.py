"""A scaled adapter that runs beside a feed-forward network: FFN(x) + s (W_up ReLU(W_down x + b_d) + b_u)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rocoft_bench.methods.modules.wrappers import Wrapped, targeted_linears, wrap


class ParallelAdapter(Wrapped):
    """Around the last linear layer of a feed-forward network, whose first one tells it the network's input x.

    W_up and the biases start at 0 and W_down like a linear layer of its own, so at first nothing is added.
    """

    def __init__(self, ffn_out: nn.Module, ffn_in: nn.Module, bottleneck: int, scale: float) -> None:
        super().__init__(ffn_out)
        d_model = Wrapped(ffn_in).d_in
        self.scale = scale
        self.down = nn.Linear(d_model, bottleneck, device=self.weight.device, dtype=torch.float32)
        self.up = nn.Linear(bottleneck, self.d_out, device=self.weight.device, dtype=torch.float32)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self._ffn_input: Tensor | None = None
        ffn_in.register_forward_pre_hook(self._remember)

    def _remember(self, ffn_in: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._ffn_input = arguments[0]

    def forward(self, h: Tensor) -> Tensor:
        """h (..., d_ffn), and the remembered x (..., d) -> (..., d)."""
        x, self._ffn_input = self._ffn_input, None
        assert x is not None, "the first layer of the feed-forward network runs before the last one"
        y = self.base_layer(h)
        adapted = self.up(F.relu(self.down(x.to(self.down.weight.dtype))))
        return y + (self.scale * adapted).to(y.dtype)


def add_parallel_adapters(model: Any, bottleneck: int, scale: float) -> None:
    """Put one beside every feed-forward network."""
    first = iter([linear for _, _, linear in targeted_linears(model, ["ffn_in"])])
    wrap(model, ["ffn_out"], lambda last: ParallelAdapter(last, next(first), bottleneck, scale))
