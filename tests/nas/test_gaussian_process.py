"""The Gaussian process against its formulas written out, other people's process, and automatic derivatives."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from nas.samplers.gaussian_process import (
    _JITTER,
    Hyperparameters,
    Points,
    Posterior,
    _Layout,
    _loss,
    covariance,
    expected,
    fit,
    stack,
    variance,
)

BITS, FEATURES = 9, 3


def some_points(rng: np.random.Generator, count: int, runs: int = 1) -> Points:
    return Points(
        rng.integers(0, 2, (count, BITS)).astype(np.float64),
        rng.normal(size=(count, FEATURES)),
        rng.integers(0, runs, count),
    )


def some_parameters(rng: np.random.Generator, **fixed: float) -> Hyperparameters:
    layout = _Layout(BITS, FEATURES)
    found = layout.read(layout.means + layout.deviations * rng.normal(size=len(layout.means)))
    values = {name: getattr(found, name) for name in Hyperparameters.__dataclass_fields__}
    return Hyperparameters(**(values | fixed))


def seeded(seed: int) -> np.random.Generator:
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def written_out(h: Hyperparameters, one: Points, i: int, other: Points, j: int) -> float:
    """The covariance of the module's docstring, term by term."""
    f, g = one.features[i], other.features[j]
    trend = sum(h.slopes[k] * f[k] * g[k] for k in range(len(f)))
    steps = sum(h.rates[b] * abs(one.bits[i, b] - other.bits[j, b]) for b in range(one.bits.shape[1]))
    distance = sum((f[k] - g[k]) ** 2 / h.lengths[k] ** 2 for k in range(len(f)))
    alike = 1.0 + trend + h.deviation * math.exp(-steps) + h.smooth * math.exp(-0.5 * distance)
    return alike if one.runs[i] == other.runs[j] else h.correlation * alike


def by_algebra(h: Hyperparameters, seen: Points, targets: np.ndarray, asked: Points) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance after what was seen, by a matrix inverse."""
    inverse = np.linalg.inv(covariance(h, seen, seen) + (h.noise + _JITTER) * np.eye(len(seen)))
    crossing = covariance(h, asked, seen)
    return crossing @ inverse @ targets, covariance(h, asked, asked) - crossing @ inverse @ crossing.T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("runs", [1, 3])
def test_the_covariance_is_its_formula(seed: int, runs: int) -> None:
    rng = seeded(seed)
    h, one, other = some_parameters(rng), some_points(rng, 7, runs), some_points(rng, 5, runs)
    slow = [[written_out(h, one, i, other, j) for j in range(5)] for i in range(7)]
    np.testing.assert_allclose(covariance(h, one, other), slow, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(variance(h, one), [written_out(h, one, i, one, i) for i in range(7)], rtol=1e-12)


def test_a_covariance_is_symmetric_and_positive() -> None:
    rng = seeded(0)
    h, points = some_parameters(rng), some_points(rng, 60, 3)
    found = covariance(h, points, points)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    assert np.linalg.eigvalsh(found).min() > -1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_posterior_is_that_of_plain_algebra(seed: int) -> None:
    rng = seeded(seed)
    h, seen, asked = some_parameters(rng), some_points(rng, 30, 2), some_points(rng, 12, 2)
    targets = rng.normal(size=30)
    mean, spread = by_algebra(h, seen, targets, asked)
    posterior = Posterior(h, seen, targets)
    found, deviation = posterior(asked)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(deviation**2, np.diag(spread), atol=1e-8)
    np.testing.assert_allclose(posterior.between(asked, asked), spread, atol=1e-8)
    np.testing.assert_allclose(
        posterior.between(asked.take(slice(3)), asked.take(slice(3, 9))), spread[:3, 3:9], atol=1e-8
    )


@pytest.mark.parametrize("seed", range(3))
def test_leaving_one_out_is_fitting_without_it(seed: int) -> None:
    rng = seeded(seed)
    h, seen, targets = some_parameters(rng), some_points(rng, 20, 2), rng.normal(size=20)
    found, deviation = Posterior(h, seen, targets).left_out()
    for place in range(20):
        rest = np.delete(np.arange(20), place)
        mean, spread = by_algebra(h, seen.take(rest), targets[rest], seen.take(np.array([place])))
        assert found[place] == pytest.approx(mean[0], abs=1e-7)
        assert deviation[place] ** 2 == pytest.approx(spread[0, 0], abs=1e-7)


def test_it_is_scikit_learns_process() -> None:
    """Without the deviations that fade choice by choice, which it has no kernel for."""
    rng = seeded(0)
    lengths, slope, smooth, noise = np.array([0.7, 1.5, 2.0]), 0.4, 0.8, 0.05
    h = Hyperparameters(
        noise=noise,
        deviation=0.0,
        smooth=smooth,
        rates=np.ones(BITS),
        slopes=np.full(FEATURES, slope),
        lengths=lengths,
        correlation=0.5,
    )
    seen, asked, targets = some_points(rng, 40), some_points(rng, 15), rng.normal(size=40)
    # DotProduct is σ₀² + x·x′.
    kernel = (
        ConstantKernel(slope, "fixed") * DotProduct(math.sqrt(1 / slope), "fixed")
        + ConstantKernel(smooth, "fixed") * RBF(lengths, "fixed")
        + WhiteKernel(noise, "fixed")
    )
    other = GaussianProcessRegressor(kernel, alpha=_JITTER, optimizer=None).fit(seen.features, targets)
    mean, spread = other.predict(asked.features, return_cov=True)
    found, deviation = Posterior(h, seen, targets)(asked)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(deviation**2, np.diag(spread) - noise, atol=1e-8)


def torch_loss(logs: torch.Tensor, layout: _Layout, points: Points, targets: np.ndarray) -> torch.Tensor:
    """The loss in terms of torch, densely."""
    names = ("noise", "deviation", "smooth", "odds", "rate", "offsets", "slopes", "lengths")
    values = dict(zip(names, (logs[part] for part in layout._slices), strict=True))
    bits, features = torch.from_numpy(points.bits), torch.from_numpy(points.features)
    runs = torch.from_numpy(points.runs)
    steps = (bits[:, None] - bits[None]).abs() @ (values["rate"] + values["offsets"]).exp()
    distance = (((features[:, None] - features[None]) / values["lengths"].exp()) ** 2).sum(-1)
    alike = 1 + (features * values["slopes"].exp()) @ features.T
    alike = alike + values["deviation"].exp() * (-steps).exp() + values["smooth"].exp() * (-0.5 * distance).exp()
    between = torch.where(runs[:, None] == runs[None], torch.ones(()).double(), values["odds"].sigmoid())
    full = between * alike + (values["noise"].exp() + _JITTER) * torch.eye(len(runs)).double()
    evidence = torch.distributions.MultivariateNormal(torch.zeros(len(runs)).double(), full).log_prob(
        torch.from_numpy(targets)
    )
    prior = torch.distributions.Normal(torch.from_numpy(layout.means), torch.from_numpy(layout.deviations))
    return -(evidence + prior.log_prob(logs).sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("runs", [1, 2])
def test_the_loss_and_its_gradient_are_autograds(seed: int, runs: int) -> None:
    """Up to constants of the densities, which the loss may leave out."""
    rng = seeded(seed)
    layout, points, targets = _Layout(BITS, FEATURES), some_points(rng, 25, runs), rng.normal(size=25)
    places = [layout.means + 0.5 * layout.deviations * rng.normal(size=len(layout.means)) for _ in range(2)]
    losses, expected_losses = [], []
    for logs in places:
        free = torch.tensor(logs, requires_grad=True)
        torch_value = torch_loss(free, layout, points, targets)
        torch_value.backward()
        loss, gradient = _loss(logs, layout, points, targets)
        assert free.grad is not None
        np.testing.assert_allclose(gradient, free.grad.numpy(), rtol=1e-6, atol=1e-7)
        losses.append(loss)
        expected_losses.append(float(torch_value.detach()))
    assert losses[1] - losses[0] == pytest.approx(expected_losses[1] - expected_losses[0], abs=1e-7)


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = seeded(3)
    layout, points, targets = _Layout(BITS, FEATURES), some_points(rng, 20, 2), rng.normal(size=20)
    _, gradient = _loss(layout.means, layout, points, targets)
    slow = approx_fprime(layout.means, lambda logs: _loss(logs, layout, points, targets)[0], 1e-6)
    np.testing.assert_allclose(gradient, slow, atol=1e-4)


def test_a_fit_finds_the_noise_between_results_of_one_architecture() -> None:
    rng = seeded(0)
    once = some_points(rng, 50)
    trend = once.features @ [1.0, -0.5, 0.2]
    for noise in (0.003, 0.3):
        targets = np.concatenate([trend, trend]) + math.sqrt(noise) * rng.normal(size=100)
        found = fit(stack([once, once]), targets).noise
        assert noise / 2 < found < 2 * noise, (noise, found)


def test_a_fit_finds_what_decides() -> None:
    rng = seeded(1)
    points = some_points(rng, 80)
    h = fit(points, 2 * points.features[:, 0] / points.features[:, 0].std())
    assert h.slopes[0] > 2 * h.slopes[1:].max()
    h = fit(points, np.where(points.bits[:, 4] == points.bits[:, 7], 1.0, -1.0))
    rates = np.argsort(-h.rates)
    assert set(rates[:2]) == {4, 7}


class TestRuns:
    def test_full_correlation_pools_them(self) -> None:
        rng = seeded(0)
        h = some_parameters(rng, correlation=1.0)
        seen, asked, targets = some_points(rng, 30, 3), some_points(rng, 10), rng.normal(size=30)
        pooled = Points(seen.bits, seen.features, np.zeros(30, dtype=np.int64))
        for one, other in zip(Posterior(h, seen, targets)(asked), Posterior(h, pooled, targets)(asked), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)

    def test_no_correlation_ignores_the_others(self) -> None:
        rng = seeded(1)
        h = some_parameters(rng, correlation=0.0)
        seen, asked, targets = some_points(rng, 30, 3), some_points(rng, 10), rng.normal(size=30)
        own = np.flatnonzero(seen.runs == 0)
        assert 0 < len(own) < 30
        alone = Posterior(h, seen.take(own), targets[own])
        for one, other in zip(Posterior(h, seen, targets)(asked), alone(asked), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)

    def test_a_fit_tells_runs_that_agree_from_runs_that_do_not(self) -> None:
        rng = seeded(2)
        bits, features = rng.integers(0, 2, (40, BITS)).astype(float), rng.normal(size=(40, FEATURES))
        twice = stack([Points(bits, features, np.full(40, run)) for run in range(2)])
        value = features @ [1.0, 0.5, 0.0] + bits @ rng.normal(size=BITS)
        other = rng.permutation(value)
        value, other = (value - value.mean()) / value.std(), (other - other.mean()) / other.std()
        agree = fit(twice, np.concatenate([value, value])).correlation
        differ = fit(twice, np.concatenate([value, other])).correlation
        beforehand = expected(BITS, FEATURES).correlation
        assert agree > 0.95 > beforehand > differ + 0.05, (agree, beforehand, differ)


class TestEdges:
    def test_nothing_seen_leaves_the_prior(self) -> None:
        rng = seeded(0)
        h, asked = some_parameters(rng), some_points(rng, 10)
        posterior = Posterior(h, some_points(rng, 0), np.zeros(0))
        mean, deviation = posterior(asked)
        assert (mean == 0).all()
        np.testing.assert_allclose(deviation, np.sqrt(variance(h, asked)))
        np.testing.assert_allclose(posterior.between(asked, asked), covariance(h, asked, asked))

    def test_nothing_asked_is_answered_with_nothing(self) -> None:
        rng = seeded(0)
        mean, deviation = Posterior(some_parameters(rng), some_points(rng, 5), rng.normal(size=5))(some_points(rng, 0))
        assert mean.shape == deviation.shape == (0,)

    @pytest.mark.parametrize("contradict", [False, True])
    def test_one_architecture_many_times(self, contradict: bool) -> None:
        """With results that agree, and with some that do not."""
        rng = seeded(0)
        points = stack([some_points(rng, 3).take(np.zeros(1, dtype=np.int64))] * 40)
        targets = rng.normal(size=40) if contradict else np.zeros(40)
        h = fit(points, targets)
        mean, deviation = Posterior(h, points, targets)(points.take(slice(1)))
        assert np.isfinite([h.noise, *mean, *deviation]).all()
        assert mean[0] == pytest.approx(targets.mean(), abs=0.1)

    @pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 100.0])
    def test_targets_of_any_scale_are_fitted(self, scale: float) -> None:
        rng = seeded(4)
        points, targets = some_points(rng, 60, 2), scale * rng.standard_cauchy(60)
        h = fit(points, targets)
        mean, deviation = Posterior(h, points, targets)(some_points(rng, 20))
        assert np.isfinite([mean, deviation]).all()
        assert (deviation > 0).all()

    @pytest.mark.parametrize("case", ["all alike but one", "exponential"])
    def test_targets_far_from_normal_are_fitted(self, case: str) -> None:
        """Steps of the search for parameters lead where a covariance is singular."""
        for number in range(30):
            rng = seeded(number)
            points = some_points(rng, 12)
            targets = np.append(np.zeros(11), 1.0) if case == "all alike but one" else np.exp(4 * points.features[:, 0])
            found = fit(points, (targets - targets.mean()) / targets.std())
            posterior = Posterior(found, points, targets)
            assert np.isfinite(posterior(points)).all()

    def test_two_thousand_points(self) -> None:
        """Of few architectures, so that most of them come several times."""
        rng = seeded(5)
        points = some_points(rng, 200).take(rng.integers(0, 200, 2000))
        targets = rng.normal(size=2000)
        mean, deviation = Posterior(expected(BITS, FEATURES), points, targets)(some_points(rng, 50))
        assert np.isfinite(mean).all()
        assert (deviation > 0).all()

    def test_no_bits_at_all(self) -> None:
        rng = seeded(6)
        points = Points(np.zeros((5, 0)), rng.normal(size=(5, FEATURES)), np.zeros(5, dtype=np.int64))
        h = fit(points, rng.normal(size=5))
        assert np.isfinite(Posterior(h, points, np.ones(5))(points)).all()
