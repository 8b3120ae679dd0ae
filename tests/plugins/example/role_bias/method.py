"""A method that trains the biases of the layers with some roles, e.g. those of the queries."""

from pydantic import Field

from rocoft_bench.config import StrictModel
from rocoft_bench.methods import METHODS, InModelMethod
from rocoft_bench.models import require_targets


class RoleBiasSettings(StrictModel):
    target_modules: list[str] = Field(["query", "ffn_in"], description="Roles, or names of modules.")


@METHODS.add
class RoleBias(InModelMethod):
    name, label = "role-bias", "Role bias"
    trains, reference = "biases of layers with some roles", "the README of rocoft_bench"
    mergeable, adds_values = True, False
    learning_rate, weight_decay = 5e-3, 0.0
    Settings = RoleBiasSettings

    def attach(self, model):
        """Choose what is trained; all of the model is frozen but its task head."""
        for name in require_targets(self.settings.target_modules, model):
            if (bias := model.get_submodule(name).bias) is not None:
                bias.requires_grad_(True)

    def adapter_parameters(self, shapes):
        """How many values that is, for `rocoft params` and the estimate of memory."""
        layers = shapes.targeted(self.settings.target_modules)
        return sum(layer.d_out for layer in layers if layer.has_bias)
