"""The training kernels of one draw, block by block: what is finished stays on disk and is not made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.engine.prediction import NotFiniteError
from rocoft_bench.ntk.directory import (
    KernelDirectory,
    identity,
    read_tensors,
    save_kernels,
    save_tensors,
    stored_kernels,
)
from rocoft_bench.ntk.distances import difference_kernel
from rocoft_bench.ntk.kernels import Block
from rocoft_bench.ntk.memory import Plan
from rocoft_bench.ntk.observer import Observer
from rocoft_bench.ntk.preparing import Prepared

OUTPUTS = "outputs"
"""Beside the kernels: f₀ of the training rows, (n, c)."""


def training_kernels(
    prepared: Prepared, seed: int, plan: Plan, directory: KernelDirectory, observer: Observer
) -> dict[str, Tensor]:
    """K_S of each set, (n · c, n · c) in float64, and `OUTPUTS`. Those that exist, here or in another analysis of the
    same task, are read.

    Raises:
        NotFiniteError: If a kernel overflows.
    """
    wanted = identities(prepared, seed, prepared.settings.logits)
    found = directory.stored(wanted) or _of_other_analyses(prepared, seed, directory, wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        made = _Tiles(prepared, seed, plan, directory, observer).kernels()
        for name, kernel in made.items():
            if not kernel.isfinite().all():
                raise NotFiniteError(f"{name} of {prepared.settings.task}, seed {seed}, is not finite")
        found = {**found, **made}
        observer.finished_part(f"{prepared.settings.task}, seed {seed}: {len(made) - 1} kernels")
    save_kernels(directory.kernels, found, wanted)
    return found


def full_kernel(prepared: Prepared, seed: int, directory: KernelDirectory) -> Tensor | None:
    """K_full of a draw, if another analysis of the same task has made it."""
    plain = prepared.settings.model_copy(update={"kernels": ("full",), "method": None})
    alike = replace(prepared, settings=plain)
    return _of_other_analyses(alike, seed, directory, identities(alike, seed, plain.logits)).get("K_full")


def identities(prepared: Prepared, seed: int, logits: str) -> dict[str, str]:
    """By kernel, a hash of everything that it depends on."""
    s = prepared.settings
    common: dict[str, Any] = {
        "model": prepared.model_origin,
        "rows": prepared.train[seed].draw.origin["sha256"],
        "protocol": [prepared.prompter.task.text, prepared.prompter.words, prepared.prompter.max_length],
        "first_limit": prepared.prompter.first_limit,
        "logits": "all" if len(prepared.prompter.words) > 2 else logits,
        "precision": s.precision,
    }
    kernel = {**common, "kernel": s.kernel, "tied": s.tied}
    lora = (s.lora_rank, s.lora_alpha, s.lora_targets, s.lora_head, seed)
    some = (s.rank, s.selection, seed if s.selection == "random" else None)
    depends: dict[str, Any] = {
        "full": (s.embeddings, s.head),
        "row": some,
        "column": some,
        "lora": lora,
        "entries": (s.fraction, seed),
        "trained": s.method,
    }
    made = {f"K_{name}": identity(**kernel, set=name, choices=depends.get(name)) for name in s.kernels}
    return {**made, OUTPUTS: identity(**common)}


def _of_other_analyses(
    prepared: Prepared, seed: int, directory: KernelDirectory, wanted: dict[str, str]
) -> dict[str, Tensor]:
    """Kernels that analyses with another solver or other sets have left, also those of all logits for a difference."""
    derivable = prepared.is_difference and prepared.settings.kernel == "sgd"
    of_all = identities(prepared, seed, "all") if derivable else {}
    found: dict[str, Tensor] = {}
    for file in sorted(directory.path.parent.glob("*/kernels.safetensors")):
        own = stored_kernels(file, of_all)
        found = {**{name: _difference(name, tensor) for name, tensor in own.items()}, **found}
        found = {**found, **stored_kernels(file, wanted)}
    return found


def _difference(name: str, tensor: Tensor) -> Tensor:
    if name == OUTPUTS:
        return tensor[:, 1:] - tensor[:, :1]
    return torch.from_numpy(difference_kernel(tensor.numpy()))


class _Tiles:
    """The kernels between the blocks of a draw, of which only the lower triangle is made."""

    def __init__(
        self, prepared: Prepared, seed: int, plan: Plan, directory: KernelDirectory, observer: Observer
    ) -> None:
        self.prepared = prepared
        self.plan = plan
        self.directory = directory
        self.observer = observer
        self.engine = prepared.engine([seed])
        examples = prepared.train[seed].examples
        self.blocks = [examples[start : start + plan.block] for start in range(0, len(examples), plan.block)]
        self.identity = identity(**identities(prepared, seed, prepared.settings.logits), block=plan.block)

    def kernels(self) -> dict[str, Tensor]:
        """The whole kernels by their names in records, and f₀."""
        count = len(self.blocks)
        self.observer.started(self._title(), count * (count + 1) // 2)
        tiles = {place: tile for row in range(count) for place, tile in self._row(row)}
        names = {name: f"K_{name.partition('/')[0]}" for name in self.engine.sets}
        made = {
            names[name]: torch.cat(
                [torch.cat([self._tile(tiles, i, j)[name] for j in range(count)], 1) for i in range(count)]
            )
            for name in names
        }
        return {**made, OUTPUTS: torch.cat([tiles[i, i][OUTPUTS] for i in range(count)])}

    def _title(self) -> str:
        return f"kernels of {self.prepared.settings.task}"

    def _tile(self, tiles: dict[tuple[int, int], dict[str, Tensor]], i: int, j: int) -> dict[str, Tensor]:
        if j <= i:
            return tiles[i, j]
        return {name: tensor.t() for name, tensor in tiles[j, i].items()}

    def _row(self, row: int) -> Iterator[tuple[tuple[int, int], dict[str, Tensor]]]:
        own: Block | None = None
        for column in range(row + 1):
            file = self.directory.work / f"tile-{row}-{column}-{self.identity}.safetensors"
            tile = read_tensors(file)
            if tile is None:
                own = own or self._captured(row)
                other = None if column == row else self._captured(column)
                tile = self.engine.kernels(own, other)
                if column == row:
                    tile[OUTPUTS] = own.outputs.double().cpu()
                save_tensors(file, tile)
            self.observer.advanced()
            yield (row, column), tile

    def _captured(self, index: int) -> Block:
        return self.prepared.capturer.capture(self.blocks[index], self.plan.batch)
