"""From a training kernel to coefficients α: f(x) = f₀(x) + Σ_j α_j K(x, x_j) + b, one column of K for each example and
output.

strict     the convex problem of Section 5, as the paper writes it. With two classes and one output,
           min_α λ/2 αᵀKα − Σ_i y_i (Kα)_i + Σ_i log(1 + exp((Kα)_i)); with c outputs the softmax in place of the
           logistic function. λ by cross-validation on the training rows. It equals L2-regularised logistic regression
           without intercept on features Φ with ΦΦᵀ = K, and is solved there, by Newton's method.
published  what the followed code (princeton-nlp/LM-Kernel-FT) calls logistic: scikit-learn's LogisticRegressionCV with
           the kernel's *rows* as features, and an intercept. Several classes become one binary problem over n · c rows.
ridge      least squares, (K + ρ ‖K‖ I) α = y, with targets ±1 for one output and 0/1 for each of several.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rocoft_bench.errors import UserError

Array = NDArray[np.floating[Any]]
SolverName = Literal["strict", "published", "ridge"]
LossParts = tuple[float, Array, Array]
"""A loss, its derivative, and probabilities of the outputs."""

TOLERANCE = 1e-9
"""`strict` has converged where the objective can fall by no more than the square of this, relative to its value: its
coefficients are then right to about this."""
CLOSE = 1e-8
"""Newton's full steps are taken where no more than this, relative to the objective, is left to be gained."""
MAX_STEPS = 200
FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-6, 3))
"""λ tried, relative to the mean of K's diagonal."""
RANK_TOLERANCE = 1e-13
"""Eigenvalues of K below this, relative to the largest, are rounding."""


@dataclass(frozen=True)
class Solution:
    """α (n · c,) and b. penalty: the λ that was chosen, for `published` 1 / C, for `ridge` ρ ‖K‖."""

    alpha: Array
    intercept: float
    penalty: float


@dataclass(frozen=True)
class KernelProblem:
    """kernel: (n · c, n · c), the outputs of an example together; labels: (n,) codes; f0: (n, c), added to f, or None.

    One output (c = 1) stands for two classes: it is class 1's logit minus class 0's.
    """

    kernel: Array
    labels: NDArray[np.int64]
    f0: Array | None = None

    @property
    def outputs(self) -> int:
        return len(self.kernel) // len(self.labels)

    @property
    def offset(self) -> Array:
        """f0 as (n, c), zeros without one."""
        return np.zeros((len(self.labels), self.outputs)) if self.f0 is None else self.f0

    def targets(self, negative: float = 0.0) -> Array:
        """(n, c): 1 where the output is the right class's, `negative` elsewhere."""
        if self.outputs == 1:
            return np.where(self.labels == 1, 1.0, negative)[:, None]
        return np.where(self.labels[:, None] == np.arange(self.outputs), 1.0, negative)


def check_counts(labels: Sequence[int] | NDArray[np.int64], outputs: int, solver: SolverName) -> None:
    """Raises: UserError if there are too few rows of a class for the solver's cross-validation."""
    fewest = min(np.bincount(labels))
    if solver == "strict" and fewest < 2:
        raise UserError("--shots 1: cross-validation needs two rows of each class; use more shots or --solver ridge")
    if solver == "published" and (fewest if outputs == 1 else len(labels)) < FOLDS:
        raise UserError(f"--solver published: cross-validates in {FOLDS} folds; use at least --shots {FOLDS}")


def solve(problem: KernelProblem, solver: SolverName, ridge: float = 0.0) -> Solution:
    """α of a training kernel. ridge: ρ of the ridge solver.

    Raises: UserError if the solver cannot take this problem.
    """
    check_counts(problem.labels, problem.outputs, solver)
    return {"strict": _strict, "published": _published, "ridge": lambda own: _ridge(own, ridge)}[solver](problem)


def predicted(scores: Array) -> NDArray[np.int64]:
    """Label codes from scores (m, c), f of each output."""
    return (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(1)


def features(kernel: Array) -> Array:
    """Φ (n, rank) with ΦΦᵀ = K."""
    values, vectors = np.linalg.eigh(kernel)
    kept = values > RANK_TOLERANCE * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _strict(problem: KernelProblem) -> Solution:
    from sklearn.model_selection import StratifiedKFold

    phi = features(problem.kernel)
    scale = float(np.diag(problem.kernel).mean())
    penalties = [scale * penalty for penalty in sorted(PENALTIES, reverse=True)]
    losses = np.zeros(len(penalties))

    def loss(weights: Array, rows: NDArray[np.int64]) -> LossParts:
        scores = (phi @ weights).reshape(len(problem.labels), -1) + problem.offset
        return _loss(scores[rows], problem.targets()[rows])

    folds = StratifiedKFold(min(FOLDS, int(np.bincount(problem.labels).min())), shuffle=True, random_state=0)
    for train, held_out in folds.split(problem.labels, problem.labels):
        weights: Array = np.zeros(phi.shape[1])
        for index, penalty in enumerate(penalties):  # each from the weights before it
            weights = logistic_weights(phi, problem, train, penalty, weights)
            losses[index] += loss(weights, held_out)[0]
    best = penalties[int(losses.argmin())]
    everything = np.arange(len(problem.labels))
    weights = logistic_weights(phi, problem, everything, best, np.zeros(phi.shape[1]))
    residual = loss(weights, everything)[1]
    return Solution(-residual.ravel() / best, 0.0, best)


def _loss(scores: Array, targets: Array) -> LossParts:
    """Σ −log p of the right class; its derivative by the scores, p − y; and p. All of shape (n, c)."""
    if scores.shape[1] == 1:
        probabilities = np.exp(-np.logaddexp(0, -scores))
        loss = np.logaddexp(0, scores).sum() - (targets * scores).sum()
    else:
        shifted = scores - scores.max(1, keepdims=True)
        normaliser = np.log(np.exp(shifted).sum(1, keepdims=True))
        probabilities = np.exp(shifted - normaliser)
        loss = (normaliser - (targets * shifted).sum(1, keepdims=True)).sum()
    return float(loss), probabilities - targets, probabilities


def logistic_weights(
    phi: Array, problem: KernelProblem, rows: NDArray[np.int64], penalty: float, start: Array
) -> Array:
    """w that minimises λ/2 ‖w‖² + Σ −log p(y_i | Φ_i w + f₀) over some examples, by Newton's method with halved steps.

    phi: (n · c, rank). start: (rank,).

    Raises: ValueError if it does not converge.
    """
    outputs = problem.outputs
    own = phi.reshape(len(problem.labels), outputs, -1)[rows]  # (n', c, rank)
    flat, targets, offset = own.reshape(-1, own.shape[-1]), problem.targets()[rows], problem.offset[rows]

    def objective(weights: Array) -> LossParts:
        loss, slope, probabilities = _loss((flat @ weights).reshape(-1, outputs) + offset, targets)
        return loss + penalty / 2 * float(weights @ weights), flat.T @ slope.ravel() + penalty * weights, probabilities

    weights = start
    value, gradient, probabilities = objective(weights)
    for _ in range(MAX_STEPS):
        step = np.linalg.solve(_hessian(own, flat, probabilities, penalty), gradient)
        gain = float(gradient @ step) / 2  # what is left to be gained, as the quadratic model has it
        if gain <= TOLERANCE**2 * value:
            return weights - step
        weights, (value, gradient, probabilities) = (
            (weights - step, objective(weights - step))  # so near, the objective's rounding would stop a search
            if gain <= CLOSE * value
            else _descended(objective, weights, step, value, gradient)
        )
    raise ValueError(f"the logistic problem has not converged in {MAX_STEPS} steps (penalty {penalty:g})")


def _descended(
    objective: Callable[[Array], LossParts], weights: Array, step: Array, value: float, gradient: Array
) -> tuple[Array, LossParts]:
    """The first of w − s, w − s/2, … that lowers the objective enough."""
    length = 1.0
    while True:
        candidate = weights - length * step
        found = objective(candidate)
        if found[0] <= value - 1e-4 * length * float(gradient @ step) or length < 1e-10:
            return candidate, found
        length /= 2


def _hessian(own: Array, flat: Array, probabilities: Array, penalty: float) -> Array:
    """λI + Φᵀ D Φ, D = diag(p) − ppᵀ within each example; (rank, rank). own: (n, c, rank); flat: (n · c, rank)."""
    if own.shape[1] == 1:
        curvature = (probabilities * (1 - probabilities)).ravel()
        hessian: Array = (flat * curvature[:, None]).T @ flat
    else:
        means = np.einsum("nc,ncr->nr", probabilities, own)
        hessian = (flat * probabilities.reshape(-1, 1)).T @ flat - means.T @ means
    hessian.flat[:: len(hessian) + 1] += penalty
    return hessian


def _published(problem: KernelProblem) -> Solution:
    from sklearn.linear_model import LogisticRegressionCV

    if problem.f0 is not None:
        raise UserError("--solver published: does not use f0; leave out --f0, or use strict or ridge")
    targets = problem.targets().ravel()
    model = LogisticRegressionCV(Cs=10, cv=FOLDS, scoring="accuracy", max_iter=10000, random_state=0)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of defaults that will change
        model.fit(problem.kernel, targets)
    return Solution(model.coef_[0], float(model.intercept_[0]), 1 / float(np.ravel(model.C_)[0]))


def _ridge(problem: KernelProblem, strength: float) -> Solution:
    """With ρ = 0 the least-norm solution."""
    penalty = strength * float(np.linalg.norm(problem.kernel, 2))
    targets = problem.targets(-1.0 if problem.outputs == 1 else 0.0) - problem.offset
    matrix = problem.kernel + penalty * np.eye(len(problem.kernel))
    alpha = np.linalg.lstsq(matrix, targets.ravel(), rcond=None)[0]
    return Solution(alpha, 0.0, penalty)
