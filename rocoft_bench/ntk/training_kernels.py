"""The training kernels of one draw, block by block: what is finished stays on disk and is not made again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.engine.failure import NotFiniteError
from rocoft_bench.ntk.kernel_files import KernelDirectory, identity, read_tensors, save_tensors
from rocoft_bench.ntk.kernel_inputs import TRAINED_VALUES, KernelInputs
from rocoft_bench.ntk.kernels import Block
from rocoft_bench.ntk.similarity import difference_kernel

OUTPUTS = "outputs"
"""Beside the kernels: f₀ of the training rows, (n, c)."""


class KernelObserver:
    """What is told of an analysis while it runs. Does nothing; a subclass shows it, or stops it between two blocks."""

    def note(self, message: str) -> None:
        """Something that the user should know."""

    def started(self, what: str, blocks: int) -> None:
        """So many blocks are to be done next."""

    def advanced(self) -> None:
        """A block is done and stored. What is raised here ends the analysis; it goes on from this block."""

    def finished_part(self, what: str) -> None:
        """A part has come to its end."""


def training_kernels(
    inputs: KernelInputs, seed: int, directory: KernelDirectory, observer: KernelObserver
) -> dict[str, Tensor]:
    """K_S of each set, (n · c, n · c) in float64, and `OUTPUTS`. Those that exist, here or in another analysis of the
    same task, are read.

    Raises: NotFiniteError if a kernel overflows.
    """
    wanted = identities(inputs, seed, inputs.settings.logits)
    found = read_tensors(directory.kernels, wanted) or _of_other_analyses(inputs, seed, directory, wanted)
    if not wanted.keys() <= found.keys():
        made = _Tiles(inputs, seed, directory, observer).kernels()
        for name, kernel in made.items():
            if not kernel.isfinite().all():
                raise NotFiniteError(f"{name} of {inputs.settings.task}, seed {seed}, is not finite")
        found = {**found, **made}
        observer.finished_part(f"{inputs.settings.task}, seed {seed}: {len(made) - 1} kernels")
    save_tensors(directory.kernels, found, wanted)
    return found


def full_kernel(inputs: KernelInputs, seed: int, directory: KernelDirectory) -> Tensor | None:
    """K_full of a draw before any training, if another analysis of the same task has made it."""
    plain = inputs.settings.model_copy(update={"kernels": ("full",), "method": None, "run": None})
    untrained = {key: fact for key, fact in inputs.model_origin.items() if key != TRAINED_VALUES}
    alike = replace(inputs, settings=plain, model_origin=untrained)
    return _of_other_analyses(alike, seed, directory, identities(alike, seed, plain.logits)).get("K_full")


def identities(inputs: KernelInputs, seed: int, logits: str) -> dict[str, str]:
    """By kernel, a hash of everything that it depends on."""
    s = inputs.settings
    common: dict[str, Any] = {
        "model": inputs.model_origin,
        "rows": inputs.train[seed].origin["sha256"],
        "protocol": inputs.task.protocol(inputs.task_settings),
        "logits": "all" if len(inputs.task.label_names) > 2 else logits,
        "precision": s.precision,
    }
    kernel = {**common, "kernel": s.kernel, "tied": s.tied}
    some = s.indices or (s.rank, s.selection, seed if s.selection == "random" else None)
    depends: dict[str, Any] = {
        "full": (s.embeddings, s.head),
        "row": some,
        "column": some,
        "lora": (s.lora_rank, s.lora_alpha, s.lora_targets, s.lora_head, seed),
        "entries": (s.fraction, seed),
        "trained": (s.method, seed),
    }
    made = {f"K_{name}": identity(**kernel, set=name, choices=depends.get(name)) for name in s.kernels}
    return {**made, OUTPUTS: identity(**common)}


def _of_other_analyses(
    inputs: KernelInputs, seed: int, directory: KernelDirectory, wanted: dict[str, str]
) -> dict[str, Tensor]:
    """Kernels that analyses with another solver or other sets have left, also those of all logits for a difference."""
    derivable = inputs.settings.outputs(len(inputs.task.label_names)) == 1 and inputs.settings.kernel == "sgd"
    of_all = identities(inputs, seed, "all") if derivable else {}
    found: dict[str, Tensor] = {}
    for file in sorted(directory.path.parent.glob("*/kernels.safetensors")):
        derived = {name: _difference(name, tensor) for name, tensor in (read_tensors(file, of_all) or {}).items()}
        found = derived | found | (read_tensors(file, wanted) or {})
    return found


def _difference(name: str, tensor: Tensor) -> Tensor:
    if name == OUTPUTS:
        return tensor[:, 1:] - tensor[:, :1]
    return torch.from_numpy(difference_kernel(tensor.numpy()))


class _Tiles:
    """The kernels between the blocks of a draw, of which only the lower triangle is made where they are symmetric."""

    def __init__(self, inputs: KernelInputs, seed: int, directory: KernelDirectory, observer: KernelObserver) -> None:
        self.inputs = inputs
        self.directory = directory
        self.observer = observer
        self.products = inputs.products([seed])
        self.blocks = inputs.training_blocks(seed)
        self.identity = identity(**identities(inputs, seed, inputs.settings.logits), block=inputs.budget.block)

    def kernels(self) -> dict[str, Tensor]:
        """The whole kernels by their names in records, and f₀."""
        count, is_symmetric = len(self.blocks), self.inputs.settings.is_symmetric
        columns = [range(row + 1 if is_symmetric else count) for row in range(count)]
        self.observer.started(f"kernels of {self.inputs.settings.task}", sum(map(len, columns)))
        tiles = {place: tile for row in range(count) for place, tile in self._row(row, columns[row])}
        for (i, j), tile in list(tiles.items()):
            tiles.setdefault((j, i), {name: tensor.t() for name, tensor in tile.items()})
        made = {
            f"K_{name.partition('/')[0]}": torch.cat(
                [torch.cat([tiles[i, j][name] for j in range(count)], 1) for i in range(count)]
            )
            for name in self.products.sets
        }
        return {**made, OUTPUTS: torch.cat([tiles[i, i][OUTPUTS] for i in range(count)])}

    def _row(self, row: int, columns: range) -> Iterator[tuple[tuple[int, int], dict[str, Tensor]]]:
        own: Block | None = None
        for column in columns:
            file = self.directory.work / f"tile-{row}-{column}-{self.identity}.safetensors"
            tile = read_tensors(file)
            if tile is None:
                own = own or self.inputs.capture(self.blocks[row])
                other = None if column == row else self.inputs.capture(self.blocks[column])
                tile = self.products.kernels(own, other)
                if column == row:
                    tile[OUTPUTS] = own.outputs.double().cpu()
                save_tensors(file, tile)
            self.observer.advanced()
            yield (row, column), tile
