"""Each solver against scikit-learn, or against what its problem says."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from rocoft_bench.errors import UserError
from rocoft_bench.ntk import solvers
from rocoft_bench.ntk.similarity import alignment, difference_kernel, eigenvalues, relative_difference
from rocoft_bench.ntk.solvers import KernelProblem, features, logistic_weights, predicted, solve

ROWS, NEW = 24, 15


def data(classes: int, width: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of training and new examples, and labels that a noisy linear rule gave."""
    rng = np.random.default_rng(classes)
    both = rng.normal(size=(ROWS + NEW, width)) / np.sqrt(width)
    labels = (both[:ROWS] @ rng.normal(size=(width, classes)) + 0.3 * rng.normal(size=(ROWS, classes))).argmax(1)
    labels[: 2 * classes] = np.tile(np.arange(classes), 2)
    return both[:ROWS], both[ROWS:], labels


def problem_of(phi: np.ndarray, labels: np.ndarray) -> KernelProblem:
    """One output for two classes, else one for each, with a kernel that is the same for each output."""
    classes = int(labels.max()) + 1
    kernel = phi @ phi.T
    return KernelProblem(kernel if classes == 2 else np.kron(kernel, np.eye(classes)), labels)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_strict_is_logistic_regression_on_the_features(classes: int) -> None:
    phi, new, labels = data(classes)
    problem = problem_of(phi, labels)
    solution = solve(problem, "strict")
    reference = LogisticRegression(C=1 / solution.penalty, fit_intercept=False, tol=1e-12, max_iter=100_000)
    reference.fit(phi, labels)
    cross = new @ phi.T if classes == 2 else np.kron(new @ phi.T, np.eye(classes))
    scores = (cross @ solution.alpha).reshape(NEW, -1)
    expected = reference.decision_function(new).reshape(NEW, -1)
    assert (predicted(scores) == reference.predict(new)).all()
    assert np.allclose(scores - (0 if classes == 2 else scores.mean(1, keepdims=True)), expected, atol=1e-5)
    ours = objective(problem, solution.alpha, solution.penalty)
    theirs = reference.coef_ @ phi.T  # (1 or c, n)
    loss = solvers._loss(theirs.T, problem.targets())[0]
    assert ours == pytest.approx(loss + solution.penalty / 2 * (reference.coef_**2).sum(), abs=1e-8)


def objective(problem: KernelProblem, alpha: np.ndarray, penalty: float) -> float:
    """As the paper writes it, from the kernel and α alone."""
    scores = (problem.kernel @ alpha).reshape(len(problem.labels), -1)
    return solvers._loss(scores, problem.targets())[0] + penalty / 2 * float(alpha @ problem.kernel @ alpha)


def test_no_other_alpha_does_better_with_f0_or_without() -> None:
    phi, _, labels = data(2)
    rng = np.random.default_rng(0)
    for f0 in (None, rng.normal(size=(ROWS, 1))):
        problem = KernelProblem(phi @ phi.T, labels, f0)
        solution = solve(problem, "strict")

        def value(alpha: np.ndarray, own: KernelProblem = problem, penalty: float = solution.penalty) -> float:
            scores = (own.kernel @ alpha)[:, None] + own.offset
            return solvers._loss(scores, own.targets())[0] + penalty / 2 * float(alpha @ own.kernel @ alpha)

        best = value(solution.alpha)
        assert all(value(solution.alpha + 1e-3 * rng.normal(size=ROWS)) > best for _ in range(20))


def test_the_penalty_is_chosen_on_the_training_rows_and_scales_with_the_kernel() -> None:
    phi, _, labels = data(2)
    small, large = (solve(problem_of(factor * phi, labels), "strict") for factor in (1.0, 1000.0))
    assert large.penalty == pytest.approx(1e6 * small.penalty)
    assert np.allclose(small.alpha, 1e6 * large.alpha, rtol=1e-4)


def test_a_kernel_of_low_rank_is_no_trouble() -> None:
    phi, _, labels = data(3, width=2)
    problem = problem_of(phi, labels)
    assert features(problem.kernel).shape == (3 * ROWS, 6)
    assert np.isfinite(solve(problem, "strict").alpha).all()
    weights = logistic_weights(features(problem.kernel), problem, np.arange(ROWS), 1e-9, np.zeros(6))
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_published_is_a_call_of_scikit_learn(classes: int) -> None:
    phi, _, labels = data(classes)
    problem = problem_of(phi, labels)
    solution = solve(problem, "published")
    flat = labels if classes == 2 else (labels[:, None] == np.arange(classes)).ravel()
    model = LogisticRegressionCV(max_iter=10000, random_state=0).fit(problem.kernel, flat)
    expected = model.decision_function(problem.kernel)
    assert np.array_equal(problem.kernel @ solution.alpha + solution.intercept, expected)


def test_published_takes_no_f0() -> None:
    phi, _, labels = data(2)
    with pytest.raises(UserError, match="cross-validates in 5 folds"):
        solve(KernelProblem(np.eye(8), np.arange(8) % 2), "published")
    with pytest.raises(UserError, match="--solver published: does not use f0"):
        solve(KernelProblem(phi @ phi.T, labels, np.zeros((ROWS, 1))), "published")


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_fits_targets_less_f0(classes: int) -> None:
    phi, _, labels = data(classes)
    kernel = problem_of(phi, labels).kernel
    problem = KernelProblem(kernel, labels, np.full((ROWS, 1 if classes == 2 else classes), 0.2))
    solution = solve(problem, "ridge", 0.1)
    targets = np.where(labels == 1, 1.0, -1.0) if classes == 2 else np.eye(classes)[labels].ravel()
    matrix = kernel + 0.1 * np.linalg.eigvalsh(kernel)[-1] * np.eye(len(kernel))
    assert np.allclose(matrix @ solution.alpha, targets - 0.2)


def test_one_row_of_a_class_cannot_be_cross_validated() -> None:
    with pytest.raises(UserError, match="two rows of each class"):
        solve(KernelProblem(np.eye(2), np.array([0, 1])), "strict")


def test_distances() -> None:
    phi, _, _ = data(2)
    kernel = phi @ phi.T
    assert relative_difference(3 * kernel, kernel, 1) == pytest.approx(0, abs=1e-14)
    assert relative_difference(np.array([[1.0, 0], [0, 0]]), np.array([[0.0, 0], [0, 1]]), 1) == 2
    assert relative_difference(np.array([[1.0, 0], [0, 0]]), np.array([[0.0, 0], [0, 2]]), 2) == pytest.approx(2**0.5)
    assert alignment(2 * kernel, kernel) == pytest.approx(1)
    shifted = (phi + 5) @ (phi + 5).T
    assert alignment(shifted, kernel) == pytest.approx(1)
    assert alignment(np.eye(2), np.array([[1.0, -1], [-1, 1]])) == pytest.approx(1)
    assert eigenvalues(np.diag([1.0, 3.0])).tolist() == [3.0, 1.0]


def test_the_kernel_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(4, 2, 7))
    flat = gradients.reshape(8, 7)
    apart = gradients[:, 1] - gradients[:, 0]
    assert np.allclose(difference_kernel(flat @ flat.T), apart @ apart.T)
