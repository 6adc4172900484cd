"""Standard errors under constraints and priors: those of the curvature of what was maximized."""

import numpy as np
import pytest

import emix


def rows():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, 400), rng.normal(3, 1, 600)])


def items():
    rng = np.random.default_rng(1)
    return (rng.random((500, 4)) < np.where(rng.random(500)[:, None] < 0.4, 0.8, 0.3)).astype(int)


def covariance(model, data):
    """Of the free coordinates: the inverse of minus the curvature, by differences of what was maximized."""
    v, h = model.to_vector(), 1e-4
    steps = np.eye(len(v)) * h

    def objective(u):
        at = model.from_vector(u)
        return emix.score_samples(at, data).sum() + at.log_prior()

    def mixed(a, b):
        return (objective(v + a + b) - objective(v + a - b) - objective(v - a + b) + objective(v - a - b)) / (4 * h * h)

    return np.linalg.inv(-np.array([[mixed(a, b) for b in steps] for a in steps]))


CASES = {
    "tied": (emix.Normal(), rows, {"constraints": ("sd tied",)}),
    "held": (emix.Normal(), rows, {"constraints": ("mean[0] = 0", "sd tied")}),
    "held share": (emix.Normal(), rows, {"constraints": ("mixing_proportions[0] = 0.4",)}),
    "equal items": (emix.Bernoulli(), items, {"constraints": ("probability[0, x0] = probability[0, x1]",)}),
    "bounded share": (emix.Bernoulli(), items, {"constraints": ("mixing_proportions[0] <= 0.9",)}),
    "prior": (emix.Bernoulli(prior=emix.BetaPrior(3, 2)), items, {"mixing_prior": emix.DirichletPrior(4)}),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_are_those_of_the_curvature(case):
    family, make, how = CASES[case]
    data = make()
    model = emix.Mixture(family, 2, **how)
    result = emix.fit(model, data, random_state=0, tol=1e-9)
    found = emix.standard_errors(result, data)
    inverse, v = covariance(result.model, data), result.model.to_vector()

    def read(u):
        family = result.model.from_vector(u)
        values = family.parameters
        return np.concatenate([np.asarray(one).reshape(2, -1).ravel() for one in values.values()])

    J = np.stack([(read(v + 1e-5 * e) - read(v - 1e-5 * e)) / 2e-5 for e in np.eye(len(v))], axis=1)
    want = np.sqrt(np.diagonal(J @ inverse @ J.T))
    names = {"mixing_proportion": "mixing_proportions"}
    own = [e for e in found.estimates if names.get(e.parameter, e.parameter) in result.model.parameters]
    order = {name: i for i, name in enumerate(result.model.parameters)}
    own.sort(key=lambda e: (order[names.get(e.parameter, e.parameter)], e.component))
    errors = [0.0 if e.standard_error is None else e.standard_error for e in own]
    assert errors == pytest.approx(want, rel=2e-4, abs=1e-7)
    assert all((e.note == "fixed") == (w < 1e-9) for e, w in zip(own, want, strict=True))


def test_an_active_bound_is_the_boundary():
    data = rows()
    result = emix.fit(emix.Mixture(emix.Normal(), 2, constraints=("variance[0] >= 1.3",)), data, random_state=0)
    found = emix.standard_errors(result, data)
    at = [e for e in found.estimates if e.parameter == "variance" and e.component == 0]
    assert [(e.value, e.note, e.standard_error) for e in at] == [(1.3, "at the boundary", None)]
    assert all(e.standard_error for e in found.estimates if e.parameter == "mean")
