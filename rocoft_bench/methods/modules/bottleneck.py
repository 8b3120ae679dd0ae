"""Bottlenecks, W_up ReLU(W_down x + b_down) + b_up, that add to the output of a linear layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rocoft_bench.methods.modules.shared_mask import Mask
from rocoft_bench.methods.modules.wrappers import Wrapped, matrix_of, targeted_linears, wrap

INIT_STD = 0.02
"""As BERT's own weights are drawn; the bottleneck is close to zero at the start."""


class Bottleneck(Wrapped):
    """Base of modules that add f(h) to the output h of the layer that they wrap."""

    def __init__(self, base_layer: nn.Module, bottleneck: int) -> None:
        super().__init__(base_layer)
        device = self.weight.device
        self.down = nn.Linear(self.d_out, bottleneck, device=device, dtype=torch.float32)
        self.up = nn.Linear(bottleneck, self.d_out, device=device, dtype=torch.float32)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=INIT_STD)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        h = self.base_layer(x)
        return h + self.change(h.to(self.down.weight.dtype)).to(h.dtype)

    def change(self, h: Tensor) -> Tensor:
        """f(h), (..., d_out) -> (..., d_out)."""
        return self.up(F.relu(self.down(h)))


class NormedBottleneck(Bottleneck):
    """Normalises what the bottleneck reads: f(LN(h))."""

    def __init__(self, base_layer: nn.Module, bottleneck: int) -> None:
        super().__init__(base_layer, bottleneck)
        self.norm = nn.LayerNorm(self.d_out, device=self.weight.device, dtype=torch.float32)

    def change(self, h: Tensor) -> Tensor:
        return super().change(self.norm(h))


class MaskedBottleneck(Bottleneck):
    """f(h) with W_down ⊙ M_down and W_up ⊙ M_up; `down` and `up` are to be shared between layers, biases included."""

    def __init__(self, base_layer: nn.Module, bottleneck: int, keep: float) -> None:
        super().__init__(base_layer, bottleneck)
        self.mask_down = Mask(self.down.weight.shape, keep, self.weight.device)
        self.mask_up = Mask(self.up.weight.shape, keep, self.weight.device)

    def change(self, h: Tensor) -> Tensor:
        h = F.relu(F.linear(h, self.mask_down(self.down.weight), self.down.bias))
        return F.linear(h, self.mask_up(self.up.weight), self.up.bias)


class ParallelAdapter(Wrapped):
    """Around the last linear layer of a feed-forward network, whose first one tells it the network's input x:
    FFN(x) + s (W_up ReLU(W_down x + b_d) + b_u).

    W_up and the biases start at 0 and W_down like a linear layer of its own, so at first nothing is added.
    """

    def __init__(self, ffn_out: nn.Module, ffn_in: nn.Module, bottleneck: int, scale: float) -> None:
        super().__init__(ffn_out)
        d_model = matrix_of(ffn_in).shape[1]
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
    first = iter(targeted_linears(model, ["ffn_in"]).values())
    wrap(model, ["ffn_out"], lambda last: ParallelAdapter(last, next(first), bottleneck, scale))
