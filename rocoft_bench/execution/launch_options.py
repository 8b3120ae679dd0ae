"""Which processes a run is to have."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rocoft_bench.errors import UserError, suggest
from rocoft_bench.untrusted import parse_yaml, read_text

DISTRIBUTED_TYPES = ("FSDP", "DEEPSPEED", "MULTI_GPU")
"""What a config_file may ask for."""

MOST_PROCESSES = 1024
"""Of one machine: none has so many GPUs or cores for it."""
LAST_PORT = 65535


@dataclass(frozen=True)
class Launch:
    """Which processes make a run.

    num_processes: over all machines; without it one, or as many as the config_file says. machine_rank: this machine,
    from 0. main_process_ip, main_process_port: where the first machine is met by the others. config_file: of
    accelerate, for FSDP and other ways to share a model among GPUs.
    """

    num_processes: int | None = None
    num_machines: int = 1
    machine_rank: int = 0
    main_process_ip: str | None = None
    main_process_port: int | None = None
    config_file: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether the run is made by the calling process itself."""
        return self.num_processes in (None, 1) and self.num_machines == 1 and self.config_file is None

    def check(self) -> None:
        """Raises UserError where these processes cannot be had."""
        total, machines = 1 if self.num_processes is None else self.num_processes, self.num_machines
        if total < 1 or machines < 1 or (self.config_file is None and total % machines):
            raise UserError(
                f"--num-processes {total}: must be a multiple of --num-machines {machines}, and not below it"
            )
        if total // machines > MOST_PROCESSES:
            raise UserError(f"--num-processes {total}: at most {MOST_PROCESSES:,} on each machine")
        if not 0 <= self.machine_rank < machines:
            raise UserError(
                f"--machine-rank {self.machine_rank}: must be from 0 to {machines - 1}, one less than machines"
            )
        self._check_address()
        if not self.is_alone:
            self._check_devices(total // machines)

    def _check_address(self) -> None:
        """Of the first machine, which the others need and nobody else."""
        given = {"--main-process-ip": self.main_process_ip, "--main-process-port": self.main_process_port}
        useless = [name for name, value in given.items() if value is not None]
        if useless and self.num_machines == 1:
            raise UserError(f"{' and '.join(useless)}: for several machines; say how many: --num-machines")
        if self.num_machines > 1 and None in given.values():
            raise UserError("--num-machines: say where the first machine is: --main-process-ip and --main-process-port")
        port = self.main_process_port
        if port is not None and not 0 < port <= LAST_PORT:
            raise UserError(f"--main-process-port {port}: must be from 1 to {LAST_PORT}")

    def _check_devices(self, local: int) -> None:
        import torch

        gpus = torch.cuda.device_count()
        if gpus and local > gpus:
            raise UserError(
                f"--num-processes: {local} on this machine, which has {gpus} GPUs; at most one for each GPU"
            )
        if self.distributed_type() != "MULTI_GPU" and not gpus:
            raise UserError(
                f"--config-file {self.config_file}: is for GPUs, and none is here; --num-processes alone shares the CPU"
            )

    def distributed_type(self) -> str:
        """How the processes share the model, in accelerate's words: MULTI_GPU (each has it whole), FSDP or DEEPSPEED.

        Raises: UserError if the config_file is not one of accelerate or asks for something else.
        """
        from accelerate.commands.config.config_args import load_config_from_file
        from yaml import YAMLError

        if self.config_file is None:
            return "MULTI_GPU"
        where = f"--config-file {self.config_file}"
        try:
            text = read_text(Path(self.config_file), limit=2**20)
        except UserError as error:
            raise UserError(f"--config-file {error}; configs/accelerate/ has some") from None
        try:
            parse_yaml(text, "its YAML")  # accelerate reads it without limits
            asked = str(load_config_from_file(self.config_file).distributed_type.value)
        except (UserError, YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a file of `accelerate config` ({str(error).splitlines()[0]})") from None
        if asked not in DISTRIBUTED_TYPES:
            raise UserError(
                f"{where}: distributed_type = {asked!r} is not supported; {suggest(asked, DISTRIBUTED_TYPES)}"
            )
        if asked == "DEEPSPEED" and find_spec("deepspeed") is None:
            raise UserError(f"{where}: needs the extra deepspeed: pip install 'rocoft-bench[deepspeed]'")
        return asked
