"""Environment variables by which launchers steer accelerate and torch.

What a run computes is in its settings alone: of such variables only those are read that this project's own launcher
has set, and of these those that say how processes share a model.
"""

import os

OWN_LAUNCH = "ROCOFT_BENCH_LAUNCH"
"""Set where this project's launcher has started the process."""

SHARING = (
    *("ACCELERATE_USE_", "ACCELERATE_DEEPSPEED_", "ACCELERATE_CONFIG_DS_FIELDS", "ACCELERATE_CPU_AFFINITY"),
    *("FSDP_", "PARALLELISM_CONFIG_"),
)
"""How the variables begin that say how processes share a model, not what they compute."""

PROCESSES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "FORK_LAUNCHED"),
    *("GROUP_", "ROLE_", "TORCHELASTIC_", "PET_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "PMI_"),
)
"""Those that say which process this is, of how many."""


def forget_launchers() -> None:
    """Take variables of launchers out of this process's environment, and so out of that of processes it starts."""
    kept = (*SHARING, *PROCESSES) if os.environ.get(OWN_LAUNCH) else ()
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "MEGATRON_LM_", *SHARING, *PROCESSES)) and not name.startswith(kept):
            del os.environ[name]
