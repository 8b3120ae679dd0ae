"""Methods that train parameters of the model as they are: full fine-tuning, the biases, the task head alone."""

from dataclasses import replace
from typing import Any, Literal

from rocoft_bench.config import StrictModel
from rocoft_bench.errors import UserError
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import MethodMemory, NoSettings
from rocoft_bench.models import TASKS_WITH_HEAD, ModelShapes


class Full(InModelMethod):
    name = "full"
    label = "FT"
    trains = "all parameters"
    mergeable = True
    reference = "-"
    Settings = NoSettings
    # RoBERTa's fine-tuning (Liu et al. 2019, Table 10): 1e-5, 2e-5 or 3e-5 and 0.1.
    learning_rate, weight_decay = 3e-5, 0.1
    skips_parameters = True
    adds_values = False

    def attach(self, model: Any) -> None:
        model.requires_grad_(True)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return shapes.total

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        return replace(super().memory(shapes, itemsize), inputs=shapes.linears)


class HeadOnly(InModelMethod):
    name = "head-only"
    label = "Head only"
    trains = "the task head on a frozen encoder"
    mergeable = True
    reference = "-"
    Settings = NoSettings
    supported_tasks = TASKS_WITH_HEAD
    # No paper's; a linear model on features that stay as they are.
    learning_rate, weight_decay = 5e-3, 0.0

    def attach(self, model: Any) -> None:
        pass

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 0


WITHOUT_BIASES = ("llama", "mistral", "qwen3", "gemma", "gemma2", "olmo2", "t5")


class BitFitSettings(StrictModel):
    biases: Literal["linears", "all"] = "linears"
    """Train the biases of the blocks' linear layers, or all outside the head, norms and embeddings included."""


class BitFit(InModelMethod[BitFitSettings]):
    """Nothing but biases (Ben Zaken et al. 2021).

    The paper's Table 1 figures, 0.083M on RoBERTa-base and 0.222M on RoBERTa-large, are the biases of the blocks'
    linear layers, sum(d_out): 82,944 and 221,184. All biases outside the head, those of the norms included, are 102,144
    and 271,360. Neither gives Table 7's figures for DeBERTaV3-base and BART-large.
    """

    name = "bitfit"
    label = "BitFit"
    trains = "biases"
    mergeable = True
    reference = "Ben Zaken et al. 2021, arXiv 2106.10199"
    Settings = BitFitSettings
    # The largest rate of the paper's grid, 1e-4 to 1e-3; the authors' AdamW has no decay.
    learning_rate, weight_decay = 1e-3, 0.0
    skips_parameters = True
    adds_values = False
    not_architectures = {kind: f"a {kind} model has no biases to train" for kind in WITHOUT_BIASES}  # noqa: RUF012

    def attach(self, model: Any) -> None:
        from rocoft_bench.models.parameter_counts import is_bias
        from rocoft_bench.models.shape_reading import block_linears

        if self.settings.biases == "linears":
            names = [f"{linear.name}.bias" for linear in block_linears(model) if linear.has_bias]
        else:
            names = [name for name, _ in model.named_parameters() if is_bias(name)]
        if not names:
            raise UserError(f"method {self.name}: a {model.config.model_type} model has no biases to train")
        for name in names:
            model.get_parameter(name).requires_grad_(True)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        if self.settings.biases == "all":
            return shapes.biases
        return sum(linear.d_out for linear in shapes.linears if linear.has_bias)

    def other_counts(self, shapes: ModelShapes) -> dict[str, int]:
        return {"all biases": shapes.biases}
