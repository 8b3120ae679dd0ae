"""What methods are held against in a bench, and nobody would train with."""

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, cat, nn

from rocoft_bench import methods
from rocoft_bench.config import Count, StrictModel, checked
from rocoft_bench.methods import InModelMethod, Method, NoSettings
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.models import ModelShapes
from rocoft_bench.models.shape_reading import block_linears


class Frozen(InModelMethod):
    """Trains nothing: no method's step can cost less."""

    name = "frozen"
    label = "frozen"
    trains = "nothing"
    mergeable = False
    reference = "the limit"
    Settings = NoSettings
    learning_rate, weight_decay = 1e-3, 0.0

    def attach(self, model: Any) -> None:
        model.requires_grad_(False)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 0


class RebuiltSettings(StrictModel):
    mode: Literal["row", "column"] = "row"
    rank: Count = 3


class PublishedRoCoFT(InModelMethod[RebuiltSettings]):
    """As the authors' code has it: every forward pass puts W together again, so autograd makes its whole gradient."""

    name = "published-rocoft"
    trains = "the first r rows or columns, of a matrix that each forward pass puts together"
    mergeable = False
    reference = "Kowsher et al., RoCoFT, published code"
    Settings = RebuiltSettings
    learning_rate, weight_decay = 1e-3, 0.0

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"published RoCoFT-{self.settings.rank}-{self.settings.mode.capitalize()}"

    def attach(self, model: Any) -> None:
        for linear in block_linears(model):
            parent, _, child = linear.name.rpartition(".")
            layer = Rebuilt(model.get_submodule(linear.name), self.settings.rank, self.settings.mode)
            setattr(model.get_submodule(parent), child, layer)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        row = self.settings.mode == "row"
        return self.settings.rank * sum(linear.d_in if row else linear.d_out for linear in shapes.linears)


class Rebuilt(nn.Module):
    """y = x [W_S; W_rest]ᵀ + b, of W (d_out, d_in) split along rows or columns."""

    def __init__(self, linear: nn.Linear, rank: int, mode: str) -> None:
        super().__init__()
        self.dim = 0 if mode == "row" else 1
        first, rest = linear.weight.data.tensor_split([rank], self.dim)
        self.trained, self.bias = nn.Parameter(first.clone()), linear.bias
        self.rest = nn.Parameter(rest.clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, cat([self.trained.to(self.rest.dtype), self.rest], self.dim), self.bias)


class MissSettings(StrictModel):
    rank: Count = 64
    """Rows of the block that every shard of a matrix shares."""
    target_modules: tuple[str, ...] = ("query", "value")


class MiSS(AdapterMethod[MissSettings]):
    name = "miss"
    label = "MiSS"
    trains = "one small block, added to every shard of a matrix"
    mergeable = True
    reference = "Kang & Yin 2024, arXiv 2409.15371"
    Settings = MissSettings
    peft_class = "MissConfig"
    learning_rate, weight_decay = 1e-3, 0.0

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"r": self.settings.rank}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(self.settings.rank * linear.d_out for linear in shapes.targeted(self.settings.target_modules))


REFERENCES: dict[str, type[Method]] = {method.name: method for method in (Frozen, PublishedRoCoFT, MiSS)}


def method_of(section: dict[str, Any], task_kind: str, model: str) -> Method:
    """The reference or the method that a bench is of. Raises: UserError as `methods.resolve`."""
    reference = REFERENCES.get(str(section.get("name")))
    if reference is None:
        return methods.resolve(section, None, task_kind, model)
    given = {key: value for key, value in section.items() if key != "name"}
    return reference(checked(reference.Settings, given, None, prefix="method"))
