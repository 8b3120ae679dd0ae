"""Changes of a weight that are products of small matrices, ΔW = s · B ⋯ A."""

import math
from abc import abstractmethod
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.methods.modules.shared_mask import Mask
from rocoft_bench.methods.modules.wrappers import Wrapped, modules_of

OVERSAMPLING, POWER_ITERATIONS = 10, 10
SVD_SEED = 42


class LowRankDelta(Wrapped):
    """y = x Wᵀ + b + s · x Aᵀ ⋯ Bᵀ, never forming the product of the factors."""

    def __init__(self, base_layer: nn.Module, scale: float, dropout: float = 0.0) -> None:
        super().__init__(base_layer)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """A (r, d_in), …, B (d_out, r), in the order in which an input meets them."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y, factors = self.base_layer(x), self.factors()
        change = self.scale * reduce(F.linear, factors, self.dropout(x.to(factors[0].dtype)))
        return y + change.to(y.dtype)

    def delta(self) -> Tensor:
        """ΔW (d_out, d_in)."""
        a, *rest = self.factors()
        return self.scale * reduce(lambda product, factor: factor @ product, rest, a)

    def merge(self, name: str) -> None:
        delta = self.delta()
        merged = (self.matrix.to(delta.dtype) + delta).to(self.matrix.dtype)
        if not torch.isfinite(merged).all():
            raise ValueError(f"{name}: the merged weight is not finite")
        self.matrix.copy_(merged)

    def new_uniform(self, *shape: int) -> nn.Parameter:
        """As `nn.Linear` draws its weight, the start of LoRA's A."""
        parameter = self.new_parameter(*shape)
        nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
        return parameter


class MixedLoRA(LowRankDelta):
    """ΔW = s · B M A, all three trained; M (r, r) mixes the subspaces. B is zero at the start."""

    def __init__(self, base_layer: nn.Module, rank: int, scale: float, dropout: float) -> None:
        super().__init__(base_layer, scale, dropout)
        self.lora_A = self.new_uniform(rank, self.d_in)
        self.mixer = self.new_uniform(rank, rank)
        self.lora_B = self.new_parameter(self.d_out, rank)

    def factors(self) -> tuple[Tensor, ...]:
        return self.lora_A, self.mixer, self.lora_B


class MaskedLoRA(LowRankDelta):
    """ΔW = s · (B ⊙ M_B)(A ⊙ M_A); `lora_A` and `lora_B` are to be shared between layers, the masks are its own."""

    def __init__(self, base_layer: nn.Module, rank: int, scale: float, keep: float) -> None:
        super().__init__(base_layer, scale)
        self.lora_A = self.new_uniform(rank, self.d_in)
        self.lora_B = self.new_parameter(self.d_out, rank)
        self.mask_A = Mask(self.lora_A.shape, keep, self.weight.device)
        self.mask_B = Mask(self.lora_B.shape, keep, self.weight.device)

    def factors(self) -> tuple[Tensor, ...]:
        return self.mask_A(self.lora_A), self.mask_B(self.lora_B)


class SingularLoRA(LowRankDelta):
    """ΔW = s · B R A with A = Σ_r V_rᵀ and B = U_r of the weight's truncated SVD, frozen; only R (r, r) is trained.

    The frozen factors are zero until `decompose` or a file fills them.
    """

    def __init__(self, base_layer: nn.Module, rank: int, alpha: float, dropout: float) -> None:
        rank = min(rank, *base_layer.weight.shape)  # type: ignore[misc]
        super().__init__(base_layer, alpha / rank, dropout)
        self.lora_A: Tensor
        self.lora_B: Tensor
        self.register_buffer("lora_A", self.new_parameter(rank, self.d_in).detach())
        self.register_buffer("lora_B", self.new_parameter(self.d_out, rank).detach())
        self.core = self.new_parameter(rank, rank)
        nn.init.normal_(self.core, std=1e-5)

    def decompose(self) -> None:
        """Fill the frozen factors from the base weight."""
        u, s, vt = truncated_svd(self.matrix.float(), len(self.core))
        self.lora_A.copy_(s.unsqueeze(1) * vt)
        self.lora_B.copy_(u)

    def factors(self) -> tuple[Tensor, ...]:
        return self.lora_A, self.core, self.lora_B


def truncated_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (d_out, r), Σ (r), Vᵀ (r, d_in) of the largest singular values, by subspace iteration with a fixed seed."""
    width = min(rank + OVERSAMPLING, *matrix.shape)
    start = torch.randn(matrix.shape[1], width, generator=torch.Generator().manual_seed(SVD_SEED))
    basis = _orthonormal(matrix @ start.to(matrix.device))
    for _ in range(POWER_ITERATIONS):
        basis = _orthonormal(matrix @ _orthonormal(matrix.t() @ basis))
    u, s, vt = torch.linalg.svd(basis.t() @ matrix, full_matrices=False)
    return (basis @ u)[:, :rank], s[:rank], vt[:rank]


def _orthonormal(columns: Tensor) -> Tensor:
    return torch.linalg.qr(columns).Q


class SingularHooks(Hooks):
    """A rate for the head, and frozen factors that a resumed run takes from its checkpoint, not from an SVD anew."""

    def __init__(self, model: nn.Module, head: set[str], head_rate: float | None) -> None:
        self.layers = modules_of(model, SingularLoRA)
        self.head, self.head_rate = head, head_rate

    def group_options(self, name: str) -> dict[str, float]:
        return {"learning_rate": self.head_rate} if self.head_rate is not None and name in self.head else {}

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": getattr(layer, key) for name, layer in self.layers.items() for key in ("lora_A", "lora_B")
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, value in self.state().items():
            value.copy_(state[name])
