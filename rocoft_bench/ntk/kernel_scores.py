"""From coefficients to predictions of test rows: gather θ = Σ α ∇f of all draws and kernels, then go over the test rows
once. With `test_kernels` the kernels between test and training rows are made too, kept, and predicted from.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rocoft_bench.engine.accelerator import MIB
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.kernel_files import KernelDirectory, identity, read_tensors, save_tensors
from rocoft_bench.ntk.kernel_inputs import KernelInputs
from rocoft_bench.ntk.kernels import Block, size_of
from rocoft_bench.ntk.memory_budget import PROCESS_MIB
from rocoft_bench.ntk.solvers import Array, Solution
from rocoft_bench.ntk.training_kernels import OUTPUTS, KernelObserver

TEST_BLOCK = 32
"""Test rows between two stores."""
CROSS = "cross."
"""Begins the names of kernels between test and training rows among a block's tensors."""

Scores = dict[str, Tensor]
"""Of some test rows by kernel, (m, c); `OUTPUTS`, f₀; and kernels with training rows, where they are kept."""


@dataclass(frozen=True)
class TestScorer:
    """Predicts the test rows of one task.

    solutions: by draw and kernel (K_row). directories: by draw.
    """

    inputs: KernelInputs
    directories: Mapping[int, KernelDirectory]
    solutions: Mapping[int, Mapping[str, Solution]]
    observer: KernelObserver

    def scores(self) -> dict[int, dict[str, Array]]:
        """f(x) of each test row and output, (m, c), by draw and kernel."""
        test = self.inputs.test.examples
        order = sorted(range(len(test)), key=lambda index: len(test[index].input_ids))
        size = max(1, min(TEST_BLOCK, self.inputs.budget.block))
        blocks = [order[start : start + size] for start in range(0, len(order), size)]
        groups = self._groups()
        self.observer.started(f"test rows of {self.inputs.settings.task}", len(blocks) * len(groups))
        found: dict[int, dict[str, Array]] = {}
        for seeds in groups:
            parts = list(self._blocks(seeds, blocks))
            for seed in seeds:
                joined = {name: torch.cat([part[seed][name] for part in parts]) for name in parts[0][seed]}
                found[seed] = self._finished(seed, joined, np.argsort(order))
        return found

    def _finished(self, seed: int, joined: Scores, places: np.ndarray) -> dict[str, Array]:
        """In the order of the rows, with intercepts and with f₀ where it is wanted. Kernels are put on disk."""
        outputs = joined[OUTPUTS].shape[1]
        cross = {name.removeprefix(CROSS): tensor for name, tensor in joined.items() if name.startswith(CROSS)}
        if cross:
            rows = torch.from_numpy(places)
            whole = {name: t.view(len(rows), outputs, -1)[rows].flatten(0, 1) for name, t in cross.items()}
            save_tensors(self.directories[seed].test_kernels, whole)
        placed: dict[str, Array] = {
            name: tensor.numpy()[places] for name, tensor in joined.items() if not name.startswith(CROSS)
        }
        start = placed[OUTPUTS] if self.inputs.settings.f0 else np.zeros_like(placed[OUTPUTS])
        return {name: start + placed[name] + solution.intercept for name, solution in self.solutions[seed].items()}

    def _groups(self) -> list[list[int]]:
        """The draws that share a pass: as many as there is room for their θ.

        Raises: UserError if there is room for none.
        """
        seeds, plan = list(self.solutions), self.inputs.budget
        width = torch.finfo(getattr(torch, self.inputs.settings.precision)).bits // 8
        sets = self.inputs.products(seeds[:1]).sets.values()
        each = width * sum(size_of(parts, self.inputs.parameters) for parts in sets)
        fixed = plan.model + plan.scratch + plan.batch * plan.saved + TEST_BLOCK * plan.captured + PROCESS_MIB * MIB
        count = int((plan.bound * 1024 * MIB - fixed) // each)
        if count < 1:
            needed = (fixed + each) / MIB / 1024
            raise UserError(f"--memory-gib {plan.bound:g}: too little for predictions; {needed:.1f} GiB is needed")
        return [seeds[start : start + count] for start in range(0, len(seeds), count)]

    def _blocks(self, seeds: list[int], blocks: list[list[int]]) -> Iterator[dict[int, Scores]]:
        """Scores of each block of test rows by draw; those that are stored are read."""
        stems = {seed: self.directories[seed].work / self._stem(seed) for seed in seeds}
        products, directions = self.inputs.products(seeds), None
        for index, rows in enumerate(blocks):
            files = {seed: stem.with_name(f"test-{index}-{stem.name}.safetensors") for seed, stem in stems.items()}
            stored = {seed: tensors for seed, file in files.items() if (tensors := read_tensors(file)) is not None}
            if len(stored) < len(seeds):
                directions = directions or products.directions(self._weighted(products.sets, seeds))
                block = self.inputs.capture([self.inputs.test.examples[row] for row in rows])
                stored = self._scored(products.scores(block, directions), block, seeds)
                for seed, tensors in stored.items():
                    save_tensors(files[seed], tensors)
            self.observer.advanced()
            yield stored

    def _stem(self, seed: int) -> str:
        """Part of the names of a draw's files: other coefficients or other test rows have another."""
        return identity(
            alphas={name: solution.alpha.tolist() for name, solution in self.solutions[seed].items()},
            rows=self.inputs.test.origin["sha256"],
            cross=self.inputs.settings.test_kernels,
            block=self.inputs.budget.block,
        )

    def _weighted(self, sets: Iterable[str], seeds: list[int]) -> Iterator[tuple[Block, dict[str, Tensor]]]:
        """The training blocks of some draws, each with its α, (1, B · c), for the sets of its own draw; with zeros for
        those of others.
        """
        for seed in seeds:
            start = 0
            for examples in self.inputs.training_blocks(seed):
                block, alphas = self.inputs.capture(examples), {}
                rows = slice(start, start := start + block.outputs.numel())
                for name in sets:
                    kernel, _, of = name.partition("/")
                    alpha = self.solutions[seed][f"K_{kernel}"].alpha[rows]
                    alphas[name] = torch.from_numpy(alpha if of == str(seed) else np.zeros_like(alpha)).unsqueeze(0)
                yield block, alphas

    def _scored(self, scores: Scores, block: Block, seeds: list[int]) -> dict[int, Scores]:
        found: dict[int, Scores] = {seed: {OUTPUTS: block.outputs.double().cpu()} for seed in seeds}
        for name, own in scores.items():
            kernel, _, of = name.partition("/")
            found[int(of)][f"K_{kernel}"] = own[..., 0]
        if self.inputs.settings.test_kernels:
            for seed in seeds:
                found[seed] |= self._cross(block, seed)
        return found

    def _cross(self, block: Block, seed: int) -> Scores:
        """Kernels between test and training rows, (m · c, n · c) with an example's outputs together in a row of a test
        row, (m, c · n · c); and what they predict in place of θ.
        """
        products = self.inputs.products([seed])
        training = self.inputs.training_blocks(seed)
        tiles = [products.kernels(block, self.inputs.capture(examples)) for examples in training]
        found: Scores = {}
        for name in products.sets:
            kernel = f"K_{name.partition('/')[0]}"
            whole = torch.cat([tile[name] for tile in tiles], 1)
            found[kernel] = (whole @ torch.from_numpy(self.solutions[seed][kernel].alpha)).view(block.outputs.shape)
            found[f"{CROSS}{kernel}"] = whole.view(len(block.outputs), -1)
        return found
