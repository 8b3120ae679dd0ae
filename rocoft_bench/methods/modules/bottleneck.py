"""Bottlenecks that read the output of a linear layer and add to it: h + W_up φ(W_down h + b_down) + b_up."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rocoft_bench.methods.modules.shared_mask import Mask
from rocoft_bench.methods.modules.wrappers import Wrapped

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
