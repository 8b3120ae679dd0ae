"""RoCoFT's part in the training loop where its rows and columns are chosen anew."""

from contextlib import ExitStack

from torch import Tensor

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.tuner.dynamic import LineScores
from rocoft_bench.tuner.entries import TrainedEntries


class DynamicSelection(Hooks):
    """After every so many steps, by what the last of them shows; not after the last step of all."""

    def __init__(self, scores: LineScores, every: int, total_steps: int, warmup: int) -> None:
        self.scores, self.every, self.total_steps, self.warmup = scores, every, total_steps, warmup
        self._watching = ExitStack()

    def _reselects(self, step: int) -> bool:
        return step % self.every == 0 and step < self.total_steps

    def rate_scale(self, step: int) -> float:
        return 1.0 if step < self.every else min(1.0, (step % self.every + 1) / max(1, self.warmup))

    def before_step(self, step: int) -> None:
        if self._reselects(step):
            self._watching.enter_context(self.scores.watching())

    def after_backward(self, step: int) -> None:
        self._watching.close()

    def after_step(self, step: int) -> None:
        if self._reselects(step):
            self.scores.reselect(self.optimizer)

    def state(self) -> dict[str, Tensor]:
        state = {}
        for i, entries in enumerate(self._entries()):
            state[str(i)] = entries.indices
            if entries.kept_indices is not None and entries.kept_values is not None:
                state |= {f"{i}.kept_indices": entries.kept_indices, f"{i}.kept_values": entries.kept_values}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        for i, entries in enumerate(self._entries()):
            entries.indices.copy_(state[str(i)])
            entries.keep(state.get(f"{i}.kept_indices"), state.get(f"{i}.kept_values"))

    def _entries(self) -> list[TrainedEntries]:
        return [layer.entries("default") for layer in self.scores.layers]
