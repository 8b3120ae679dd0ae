"""RoCoFT as a PEFT method. Knows torch and peft, and nothing else of this project."""

from rocoft_bench.tuner.registration import register

register()

from rocoft_bench.tuner.as_lora import save_as_lora  # noqa: E402
from rocoft_bench.tuner.calibration import calibrate, needs_calibration  # noqa: E402
from rocoft_bench.tuner.config import RoCoFTConfig  # noqa: E402
from rocoft_bench.tuner.layer import RoCoFTLayer  # noqa: E402
from rocoft_bench.tuner.model import RoCoFTModel, standing_values  # noqa: E402
from rocoft_bench.tuner.quantised_layer import dequantize  # noqa: E402
from rocoft_bench.tuner.saved_values import hotswap  # noqa: E402
from rocoft_bench.tuner.targets import default_targets  # noqa: E402

__all__ = [
    "RoCoFTConfig",
    "RoCoFTLayer",
    "RoCoFTModel",
    "calibrate",
    "default_targets",
    "dequantize",
    "hotswap",
    "needs_calibration",
    "save_as_lora",
    "standing_values",
]
