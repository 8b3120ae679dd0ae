"""How long exact kernels take beside what cannot be avoided, and beside the pairwise forward-mode way.

    python scripts/bench_ntk.py                          RoBERTa-base, 32 training and 200 test sequences of 64 tokens
    python scripts/bench_ntk.py --layers 2 --pairwise    a smaller model, and the pairwise way at three shapes

Random weights: only sizes matter. Everything is measured in turns (A B A B …), and the median of the ratios is told.
The floor is arithmetic: floating-point operations that any exact way needs, over those of one plain pass. That is
forward and backward with weight gradients, 6 per weight and token; a kernel takes the same 6 and products of gradients.
A plain pass also makes dense gradients of the embeddings and the decoder, which neither side of the floor counts and
kernels do not need: the fewer the layers, the further below the floor a ratio can be.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.func import functional_call, jvp
from torch.utils.flop_counter import FlopCounterMode

from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.ntk.kernel_settings import KernelSettings

silence_library_warnings()  # some of them come at the next import

from rocoft_bench.ntk.kernels import Capturer, Example, GradientProducts, Parameters, Readout, make_set  # noqa: E402

WORDS = (1000, 2000)
SHAPES = ((4, 8), (8, 8), (8, 24))
"""Training and test examples of the pairwise comparison."""
TEST_BLOCK = 32


def model_of(layers: int, width: int) -> Any:
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50265,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // 64,
        num_hidden_layers=layers,
        max_position_embeddings=514,
    )
    return RobertaForMaskedLM(config).eval()


def examples_of(count: int, tokens: int) -> list[Example]:
    generator = torch.Generator().manual_seed(count)
    rows = torch.randint(5, 50265, (count, tokens), generator=generator).tolist()
    return [Example(tuple(row), 5) for row in rows]


def plain_pass(model: Any, examples: list[Example], capturer: Capturer, batch: int) -> None:
    """Forward and backward of the same outputs with ordinary weight gradients, added up over all examples."""
    model.requires_grad_(True)
    for start in range(0, len(examples), batch):
        capturer.outputs(examples[start : start + batch]).sum().backward()
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)


def all_of_it(capturer: Capturer, names: tuple[str, ...], train: list[Example], test: list[Example], batch: int) -> Any:
    """Training kernels of several sets, θ for each, and predictions of the test examples."""
    block = capturer.capture(train, batch)
    own = Parameters(capturer.model, tuple(block.parameters), capturer.parameter_of)
    engine = GradientProducts({name: make_set(name, own, KernelSettings(task="sst-2")) for name in names})
    kernels = engine.kernels(block)
    alphas = {name: torch.linalg.solve(k + k.trace() * torch.eye(len(k)), torch.ones(len(k), 1).double()).t()
              for name, k in kernels.items()}  # fmt: skip
    directions = engine.directions([(block, alphas)])
    del block
    return [
        engine.scores(capturer.capture(test[start : start + TEST_BLOCK], batch), directions)
        for start in range(0, len(test), TEST_BLOCK)
    ]


class Outputs(torch.nn.Module):
    """The outputs of a capturer's model, as a module whose parameters can be replaced."""

    def __init__(self, capturer: Capturer) -> None:
        super().__init__()
        self.model = capturer.model
        self.outputs = capturer.outputs

    def forward(self, *examples: Example) -> torch.Tensor:
        return self.outputs(examples)


def pairwise(capturer: Capturer, train: list[Example], test: list[Example]) -> torch.Tensor:
    """K(test, train) as the followed code makes it: for each training example one reverse pass, then one forward-mode
    pass over the test examples (batched, and with the gradient as the tangent) for each of them.
    """
    model = Outputs(capturer)
    names, values = zip(*model.named_parameters(), strict=True)
    columns = []
    for example in train:
        model.requires_grad_(True)
        gradients = torch.autograd.grad(capturer.outputs([example]).sum(), values, allow_unused=True)
        model.requires_grad_(False)
        tangents = tuple(torch.zeros_like(v) if g is None else g for v, g in zip(values, gradients, strict=True))
        columns.append(
            jvp(lambda *own: functional_call(model, dict(zip(names, own, strict=True)), tuple(test)), values, tangents)[
                1
            ]
        )
    return torch.cat(columns, 1)


def in_turns(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of second / first. What both really do is counted beforehand."""
    counts = [operations_of(call) for call in (first, second)]
    print(f"counted: {counts[1] / 1e9:,.0f} against {counts[0] / 1e9:,.0f} GFLOP, ratio {counts[1] / counts[0]:.2f}")
    pairs = [(seconds_of(first), seconds_of(second)) for _ in range(repeats)]
    ones, others = zip(*pairs, strict=True)
    return statistics.median(ones), statistics.median(others), statistics.median(b / a for a, b in pairs)


def operations_of(call: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def seconds_of(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def floor(model: Any, train: int, test: int, tokens: int, is_full: bool) -> float:
    """Operations of kernels and predictions by those of one plain pass over all examples. Small sets: forward and
    backward to the inputs only, 4 per weight and token. All weights: 6, and products of gradients: half of n² for the
    symmetric kernel, and one for each example's prediction and each training example's part of θ.
    """
    weights = sum(p.numel() for name, p in model.named_parameters() if "layer." in name and p.dim() == 2)
    examples = train + test
    plain = 6 * tokens * examples * weights
    if not is_full:
        return 4 * tokens * examples * weights / plain
    again = 2 * tokens * train  # θ asks for the training examples' gradients once more
    products = train * train + 2 * train + 2 * test
    return (plain + (again + products) * weights) / plain


def report(name: str, times: tuple[float, float, float], least: float) -> None:
    plain, ours, ratio = times
    print(f"{name}: {ours:.2f} s beside {plain:.2f} s, ratio {ratio:.2f}; floor by operations {least:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("layers", 12), ("width", 768), ("train", 32), ("test", 200), ("tokens", 64), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairwise", action="store_true", help="compare with the pairwise forward-mode way instead")
    own = parser.parse_args()
    model = model_of(own.layers, own.width)
    capturer = Capturer(model, Readout.of_words(WORDS).difference(), 1)
    if own.pairwise:
        model.set_attn_implementation("eager")  # torch's fused attention has no forward mode
        beside_pairwise(capturer, own.tokens, own.repeats)
        return
    train, test = examples_of(own.train, own.tokens), examples_of(own.test, own.tokens)
    capturer.check(train[:3])
    for names in (("full", "row", "column", "lora"), ("row", "column")):
        times = in_turns(
            lambda: plain_pass(model, train + test, capturer, own.batch),
            lambda names=names: all_of_it(capturer, names, train, test, own.batch),  # type: ignore[misc]
            own.repeats,
        )
        report(" + ".join(names), times, floor(model, own.train, own.test, own.tokens, "full" in names))
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def beside_pairwise(capturer: Capturer, tokens: int, repeats: int) -> None:
    for n, m in SHAPES:
        train, test = examples_of(n, tokens), examples_of(m, tokens)
        capturer.check(train[:3])

        def ours(train: list[Example] = train, test: list[Example] = test) -> torch.Tensor:
            first, second = capturer.capture(test, 8), capturer.capture(train, 8)
            own = Parameters(capturer.model, tuple(first.parameters), capturer.parameter_of)
            return GradientProducts({"full": make_set("full", own, KernelSettings(task="sst-2"))}).kernels(
                first, second
            )["full"]

        expected = pairwise(capturer, train, test).double()
        error = float((ours() - expected).abs().max() / expected.abs().max())
        pair, quick, ratio = in_turns(lambda t=train, u=test: pairwise(capturer, t, u), ours, repeats)  # type: ignore[misc]
        wanted = 0.8 * n * m / (n + m)
        print(
            f"{n} x {m}: {quick:.2f} s beside {pair:.2f} s, {1 / ratio:.1f} times faster "
            f"(0.8 n m / (n + m) = {wanted:.1f}), kernels differ by {error:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
