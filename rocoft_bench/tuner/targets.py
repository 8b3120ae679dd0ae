"""Which layers of a model are adapted: all linear ones of the transformer blocks, or those that are named."""

import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner.bases import bypassed_children, is_unquantised, unwrapped


def default_targets(
    model: nn.Module,
    layers: list[int] | int | None = None,
    layers_pattern: list[str] | str | None = None,
    parameters: Collection[str] = (),
) -> list[str]:
    """Names of all linear layers inside the transformer blocks, found by structure.

    A block is an element of an `nn.ModuleList` that is itself made of modules; embeddings, poolers and heads stand
    outside. Covers RoBERTa, BERT, DeBERTa, BART, T5, GPT-2, GPT-J, BLOOM, LLaMA, Mistral, Qwen and their like.
    `layers` keeps only blocks with these indices, `layers_pattern` only those in lists of these names. Layers whose
    forward is never called, and weights of the blocks that are no layers (fused experts), are left out with a warning,
    but for those whose names (or ends of names) `parameters` has.

    Raises:
        ValueError: If there is no such layer, nor are `parameters` named.
    """
    wanted = {layers} if isinstance(layers, int) else set(layers or ())
    lists = [layers_pattern] if isinstance(layers_pattern, str) else layers_pattern or [".*"]
    blocks = [
        (f"{list_name}.{index}", block)
        for list_name, index, block in _blocks(model)
        if (not wanted or index in wanted) and any(re.fullmatch(rf"(.*\.)?{p}", list_name) for p in lists)
    ]
    linears = [f"{block_name}.{name}" for block_name, block in blocks for name in _linears(block)]
    names = callable_only(linears, model)
    if not names and not parameters:
        raise ValueError("Please specify `target_modules` in `peft_config`: the model has no blocks to find them in")
    _warn_of_fused_experts(blocks, model, names, parameters)
    return names


def callable_only(names: Iterable[str], model: nn.Module) -> list[str]:
    """Without the layers whose weights are used without calling them; warns of those."""
    parts = {name: name.rpartition(".") for name in names}
    bypassed = {name for name, (p, _, child) in parts.items() if child in bypassed_children(model.get_submodule(p))}
    if bypassed:
        warnings.warn(f"left out, because the modules around them never call them: {_some(sorted(bypassed))}")
    return [name for name in names if name not in bypassed]


def _blocks(model: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
    """The outermost `nn.ModuleList` elements that have children: (name of the list, index in it, module)."""
    lists: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists.append(name)
            for index, block in enumerate(module):
                if not isinstance(block, BaseTunerLayer) and any(True for _ in block.children()):
                    yield name, index, block


def _linears(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the linear layers in a module; those wrapped by an adapter count, those inside an adapter do not."""
    for name, child in module.named_children():
        if isinstance(unwrapped(child), nn.Linear | Conv1D):
            yield prefix + name
        elif not isinstance(child, BaseTunerLayer):
            yield from _linears(child, f"{prefix}{name}.")


def _warn_of_fused_experts(
    blocks: list[tuple[str, nn.Module]], model: nn.Module, targets: list[str], parameters: Collection[str]
) -> None:
    """Say what share of the blocks' weights the default targets reach, if experts are 3-D parameters in them."""
    fused = [
        f"{block_name}.{name}"
        for block_name, block in blocks
        for name, parameter in block.named_parameters()
        if parameter.dim() == 3
        if not isinstance(block.get_submodule(name.rpartition(".")[0]), nn.Conv1d | nn.ConvTranspose1d)
        if not _is_named(f"{block_name}.{name}".replace(".base_layer", ""), parameters)
    ]
    if fused:
        reached = sum(unwrapped(model.get_submodule(name)).weight.numel() for name in targets)
        share = reached / sum(p.numel() for _, block in blocks for p in block.parameters())
        last_two = sorted({".".join(name.split(".")[-2:]) for name in fused})
        warnings.warn(
            f"the default targets reach {share:.0%} of the weights in the model's blocks: fused experts are no linear "
            f"layers and stay as they are, unless target_parameters={last_two} names them: {_some(fused)}"
        )


def _is_named(name: str, ends: Collection[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def check_all_found(targets: Iterable[str], model: nn.Module, only_warn: bool) -> None:
    """
    Raises:
        ValueError: If a target is the name, or the end of the name, of no module, unless `only_warn`.
    """
    if message := _missing("target_modules", "module", targets, [name for name, _ in model.named_modules() if name]):
        if not only_warn:
            raise ValueError(message)
        warnings.warn(message)


def check_parameters(targets: Collection[str], model: nn.Module) -> None:
    """
    Raises:
        ValueError: If a target is the name, or the end of the name, of no parameter, or one is no floating-point matrix
            or a number of them.
    """
    parameters = {name.replace(".base_layer", ""): parameter for name, parameter in model.named_parameters()}
    if message := _missing("target_parameters", "parameter", targets, list(parameters)):
        raise ValueError(message)
    for name, parameter in parameters.items():
        if _is_named(name, targets) and not (parameter.dim() in (2, 3) and is_unquantised(parameter)):
            raise ValueError(
                f"target_parameters: {name} is {parameter.dtype} of shape {tuple(parameter.shape)}; rows and columns "
                "are those of floating-point parameters with two or three dimensions"
            )


def _missing(setting: str, kind: str, targets: Iterable[str], names: list[str]) -> str | None:
    """What to say of targets that are the name, or the end of the name, of nothing."""
    each = [name.split(".") for name in names]
    suffixes = {".".join(parts[start:]) for parts in each for start in range(len(parts))}
    missing = sorted(set(targets) - suffixes)
    near = sorted({match for name in missing for match in get_close_matches(name, suffixes, n=1)})
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    return f"{setting}: no {kind} is named {_some(missing)}{hint}" if missing else None


def _some(names: list[str], count: int = 4) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
