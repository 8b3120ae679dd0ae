"""Warnings of libraries that are meant for somebody else."""

import logging
import warnings


def silence_library_warnings() -> None:
    """Silence, in this process, what libraries say to their own developers or of things that do not matter here."""
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "Position ids are not supported")  # prompt tuning puts back what peft ignores
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):  # at import: of kernels that they can do without, …
        logging.getLogger(name).setLevel(logging.ERROR)
