"""The tuner: wraps the targeted linear layers of a model, and reads and writes its adapters' files."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from peft import PeftConfig
from peft.tuners.lora import LoraModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _maybe_include_all_linear_layers
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND
from peft.utils.other import AuxiliaryTrainingWrapper, get_pattern_key
from torch import Tensor, nn

from rocoft_bench.tuner.bases import check_supported, is_more_than_a_product, quantisation_of, tied_weights, unwrapped
from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.entries import INDEX_NAMES
from rocoft_bench.tuner.in_place import is_transformed
from rocoft_bench.tuner.layer import Linear, RoCoFTLayer
from rocoft_bench.tuner.parameter_wrapper import ParamWrapper
from rocoft_bench.tuner.quantised_layer import QuantizedLinear, keep_trainable, warn_of_rounding
from rocoft_bench.tuner.recompute import LayerNorms
from rocoft_bench.tuner.saved_values import make_room
from rocoft_bench.tuner.targets import callable_only, check_all_found, check_parameters, default_targets
from rocoft_bench.tuner.weighted import add_weighted
from rocoft_bench.tuner.whole_pass import layers_left_alone, standing_in


class RoCoFTModel(BaseTuner):
    """A model whose targeted linear layers train a few rows, columns or entries of their weight.

    Made by `peft.get_peft_model(model, RoCoFTConfig(...))`.

    Raises:
        ValueError: If no `target_modules` are given and the model has no transformer blocks to find them in, a name in
            `target_modules` or `target_parameters` is nothing's, or a parameter is no matrix.
        TypeError: If a target is not a floating-point `nn.Linear`, `Conv1D` or `nn.Embedding` with a weight of its own,
            or its forward is never called.
        RuntimeError: If a target's weight is not here as a whole.
    """

    prefix: str = "rocoft_"
    tuner_layer_cls = RoCoFTLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 (unused: targets are found by structure)

    def __init__(self, model: nn.Module, peft_config: Any, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, peft_config, adapter_name, *args, **kwargs)
        if isinstance(peft_config, PeftConfig):  # not by `PeftModel`, which casts what is trained and passes a dict
            self._warn_of_16_bit(adapter_name)

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> RoCoFTConfig:
        return peft_config  # default targets come from the model's structure, see `_prepare_model`

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        """Find the targets, and check them all before the first one is replaced."""
        self._layer_norms = LayerNorms(model.modules())
        self._tied_weights = tied_weights(model)  # layers are to know when they are made
        keep_trainable(model)
        targets, parameters = peft_config.target_modules, peft_config.target_parameters or ()
        check_parameters(parameters, model)
        if targets is None:
            layers, pattern = peft_config.layers_to_transform, peft_config.layers_pattern
            peft_config.target_modules = set(default_targets(model, layers, pattern, parameters))
        elif not isinstance(targets, str):
            check_all_found(targets, model, only_warn=peft_config.inference_mode)
        elif targets.lower() == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            _maybe_include_all_linear_layers(peft_config, model)
            peft_config.target_modules = set(callable_only(peft_config.target_modules, model))
        for name in self._matched(peft_config, model):
            check_supported(model, name)
            if peft_config.is_scored and isinstance(unwrapped(model.get_submodule(name)), nn.Embedding):
                raise ValueError(
                    f"{name} is given tokens, which score no rows or columns: choose selection first or random"
                )

    def _matched(self, peft_config: Any, model: nn.Module) -> Iterator[str]:
        inside: tuple[str, ...] = ()  # of layers that have adapters
        for name, module in model.named_modules():
            if not name.startswith(inside) or not inside:
                if name and self._check_target_module_exists(peft_config, name):
                    yield name
                if isinstance(module, BaseTunerLayer):
                    inside += (f"{name}.",)

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if parameter_name is None:
            check_supported(self.model, current_key)  # again: a state dict may have named other targets
            base = unwrapped(target)
            needs_copy = is_more_than_a_product(base) and quantisation_of(base, self.model) is None
            parameter_name = "weight" if needs_copy else None
        pattern = get_pattern_key(list(peft_config.rank_pattern), current_key)
        rank = peft_config.rank_pattern.get(pattern, peft_config.rank)
        layer = self._layer_around(target, adapter_name, parameter_name)
        layer.update_layer(adapter_name, peft_config, rank, current_key, inference_mode=peft_config.inference_mode)
        if layer is not target:
            if adapter_name not in self.active_adapters:
                layer.requires_grad_(False)
            self._replace_module(parent, target_name, layer, target)

    def _layer_around(self, target: nn.Module, adapter_name: str, parameter_name: str | None) -> RoCoFTLayer:
        """The layer of a module or of one of its parameters: the one that is there already, or a new one."""
        if isinstance(target, RoCoFTLayer) and target.parameter_name == (parameter_name or "weight"):
            return target
        if parameter_name is not None:
            layer: RoCoFTLayer = ParamWrapper(target, adapter_name, self._layer_norms, parameter_name)
        elif (backend := quantisation_of(unwrapped(target), self.model)) is not None:
            return QuantizedLinear(target, adapter_name, self._layer_norms, backend)
        else:
            layer = Linear(target, adapter_name, self._layer_norms)
        layer.is_tied = id(getattr(layer.get_base_layer(), layer.parameter_name)) in self._tied_weights
        return layer

    _add_modules_to_save_to_tie = LoraModel._add_modules_to_save_to_tie

    def _add_targets_to_tie(self, peft_config: Any, tied_weight_keys: list[str]) -> None:
        raise ValueError(
            "ensure_weight_tying is for modules_to_save and trainable_token_indices, which peft ties; rows and columns "
            "of a tied matrix in target_modules are trained for one of its modules: leave it out of target_modules"
        )

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # PEFT's own also copies `.weight` when it unwraps a module, which fails for a head made of several layers.
        setattr(parent, child_name, new_module)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        self._warn_of_16_bit(adapter_name)

    def _warn_of_16_bit(self, adapter_name: str) -> None:
        if self.peft_config[adapter_name].inference_mode:
            return
        layers = [m for m in self.modules() if isinstance(m, RoCoFTLayer) and adapter_name in m.rocoft_adapter]
        dtypes = {
            str(p.dtype) for layer in layers for p in layer.entries(adapter_name).parameters() if p.element_size() < 4
        }
        if dtypes:
            warnings.warn(
                f"the trained values of adapter {adapter_name!r} are {', '.join(sorted(dtypes))}, in which small steps "
                "are rounded away: train them in float32, which get_peft_model makes them unless "
                "autocast_adapter_dtype=False, or load the base model in float32"
            )

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Called by `PeftModel` around its forward and `generate`, with their arguments.

        The trained values stand in the weights for as long as these last, where nobody else sees them there.
        """
        names = kwargs.get("adapter_names")
        with ExitStack() as hooks:
            if names is not None:
                self._check_can_mix(names)
                copies = max(kwargs.get(key) or 1 for key in ("num_beams", "num_return_sequences"))
                hook = partial(_with_adapter_names, names=names, copies=copies)
                for module in self.modules():
                    if isinstance(module, RoCoFTLayer | AuxiliaryTrainingWrapper):
                        hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            elif not is_transformed():
                hooks.enter_context(standing_in(layers_left_alone(self.model)))
            yield

    def _check_can_mix(self, names: list[str]) -> None:
        if self.training:
            raise ValueError("Cannot pass `adapter_names` when the model is in training mode.")
        if unknown := sorted(set(names) - {"__base__", *self.peft_config}):
            raise ValueError(f"Trying to infer with non-existing adapter(s): {', '.join(unknown)}")

    def _quantised(self) -> dict[str, QuantizedLinear]:
        return {name: layer for name, layer in self.model.named_modules() if isinstance(layer, QuantizedLinear)}

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        _look_for_ties(self.model)

    def merge_adapter(self, *args: Any, **kwargs: Any) -> None:
        """PEFT's; a warning says how far off rounding has put quantised weights."""
        super().merge_adapter(*args, **kwargs)
        warn_of_rounding(self._quantised())

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> Any:
        layers = self._quantised() if merge else {}
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)
        warn_of_rounding(layers)
        return model

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, combination_type: str = "linear"
    ) -> None:
        """Add an adapter that trains the union of what others train, with W plus their weighted changes there.

        Of adapters with one selection and weights that sum to 1, its values are the weighted means of theirs.

        Raises:
            ValueError: If the adapters make no adapter, see `add_weighted`, or `combination_type` is another of LoRA's.
        """
        if combination_type != "linear":
            raise ValueError(
                f"combination_type={combination_type!r} is for products of low rank; rows and columns are added up as "
                "they are, which is 'linear'"
            )
        add_weighted(self, adapters, weights, adapter_name)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own, trained values standing in the weights for as long as it lasts: no token pays for them."""
        with standing_values(self):
            return self.model.generate(*args, **kwargs)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Rename the keys of earlier versions, and refuse values that do not fit or lie another way."""
        renamed = {_current_key(key, config.mode): value for key, value in state_dict.items()}
        for mode, index_name in INDEX_NAMES.items():
            if mode != config.mode and any(key.endswith(f".rocoft_adapter.{index_name}") for key in renamed):
                raise ValueError(f"the saved adapter is of mode {mode!r}, its configuration says {config.mode!r}")
        make_room(model, adapter_name, renamed)
        return super()._remap_adapter_state_dict_for_load(model, config, adapter_name, renamed)


@contextmanager
def standing_values(model: nn.Module) -> Iterator[None]:
    """Leaves trained values in the weights of all layers where that can be done: no pass inside pays for them.

    For passes without gradients.
    """
    _look_for_ties(model)
    layers = list(model.modules())
    with ExitStack() as standing:
        standing.enter_context(standing_in([m for m in layers if isinstance(m, Linear)], single_entries=True))
        for wrapper in (m for m in layers if isinstance(m, ParamWrapper)):
            standing.enter_context(wrapper.standing())
        yield


def _look_for_ties(model: nn.Module) -> None:
    """Let layers know whose weight other modules have had since they were made, such as a head tied afterwards."""
    tied = tied_weights(model)
    for layer in model.modules():
        if isinstance(layer, RoCoFTLayer) and not layer.merged:
            layer.is_tied = id(getattr(layer.get_base_layer(), layer.parameter_name, None)) in tied


def _with_adapter_names(module: nn.Module, args: Any, kwargs: Any, names: list[str], copies: int) -> tuple[Any, Any]:
    """`generate` puts the beams of an example one after another, but for an encoder, which sees each example once."""
    each = names if not args or len(args[0]) == len(names) else [name for name in names for _ in range(copies)]
    return args, kwargs | {"adapter_names": each}


def _current_key(key: str, mode: str) -> str:
    """`rocoft_weight`, `rocoft_bias` and `rocoft_indices`, which layers once had, are now parts of `rocoft_adapter`."""
    head, _, part = key.rpartition(".rocoft_")
    names = {"weight": "weight", "bias": "bias", "indices": INDEX_NAMES[mode]}
    return f"{head}.rocoft_adapter.{names[part]}" if part in names else key
