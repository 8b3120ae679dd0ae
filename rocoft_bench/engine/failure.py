"""How a run that ended badly is put on record."""

import torch

from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.runs import MAKE_ROOM, SMALLER, Failure, tells_of_full_disk


class NotFiniteError(Exception):
    """The loss or an output of the model became NaN or infinite."""


def diagnose(error: BaseException) -> Failure:
    """What an exception says of a run. A broken pipe is that of the process that started the run and is gone."""
    if isinstance(error, Interrupted | KeyboardInterrupt | BrokenPipeError):
        return Failure(
            "interrupted",
            "asked to stop, by the user or the system",
            "the same command resumes from the last checkpoint",
        )
    if isinstance(error, NotFiniteError):
        return Failure("nan", str(error), "try a lower training.learning_rate or precision fp32 or bf16")
    on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if on_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Failure("oom", "out of memory", SMALLER)
    message = " ".join(str(error).split())
    return Failure("failed", f"{type(error).__name__}: {message}", MAKE_ROOM if tells_of_full_disk(message) else None)
