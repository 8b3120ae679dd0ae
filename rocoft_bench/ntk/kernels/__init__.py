"""Exact neural tangent kernels of language models, of several parameter sets from the same passes."""

from rocoft_bench.ntk.kernels.capture import Capturer, Example, Readout
from rocoft_bench.ntk.kernels.captured import Block
from rocoft_bench.ntk.kernels.gradient_products import SCRATCH, GradientProducts
from rocoft_bench.ntk.kernels.sets import SETS, Parameters, make_set, size_of
