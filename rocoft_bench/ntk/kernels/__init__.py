"""Exact neural tangent kernels of language models, of several parameter sets from the same passes."""

from rocoft_bench.ntk.kernels.capture import Capturer, Example, Readout
from rocoft_bench.ntk.kernels.captured import Block
from rocoft_bench.ntk.kernels.engine import Directions, Engine, ParameterSet
from rocoft_bench.ntk.kernels.sets import SETS, Choices, Parameters, make_set, size_of

__all__ = [
    "SETS",
    "Block",
    "Capturer",
    "Choices",
    "Directions",
    "Engine",
    "Example",
    "ParameterSet",
    "Parameters",
    "Readout",
    "make_set",
    "size_of",
]
