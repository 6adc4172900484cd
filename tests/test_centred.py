"""Components far apart or narrow: the guard sends the fit to statistics about each component's own mean."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import emix
from emix import Gamma, LogNormal, Mixture, MultivariateNormal, Normal, fit
from emix.centred import CentredMixture, centred, well_conditioned


def groups(distance, n=300, d=1, seed=0):
    rng = np.random.default_rng(seed)
    return np.vstack([rng.normal(size=(n, d)), rng.normal(size=(n, d)) + np.eye(1, d) * distance])


@pytest.mark.parametrize("distance", [1e3, 1e5, 1e6, 1e9])
def test_far_groups_have_their_own_variance_to_the_last_digits(distance):
    x = groups(distance)
    result = fit(Mixture(Normal(), 2), x, random_state=0)
    model = result.model.reordered(np.argsort(result.model.family.mean))
    rtol = 1e-6 if distance == 1e3 else 1e-12  # near enough for one pivot, where the digits that are lost do not count
    assert result.converged
    assert_allclose(model.family.mean, [x[:300].mean(), x[300:].mean()], rtol=1e-13, atol=1e-10)
    assert_allclose(model.family.variance, [x[:300].var(), x[300:].var()], rtol=rtol)
    assert type(result.model) is Mixture
    assert not any("collapsed: in" in warning or "equal" in warning for warning in result.warnings)


@pytest.mark.parametrize("ratio", [1e2, 1e5])
def test_far_gamma_groups_have_their_own_shape(ratio):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.gamma(1e6, 1e-6, 300), ratio * rng.gamma(1e6, 1e-6, 300)])
    model = fit(Mixture(Gamma(), 2), x, random_state=0).model
    model = model.reordered(np.argsort(model.family.shape / model.family.rate))
    for k, rows in enumerate((x[:300], x[300:])):
        alone = fit(Mixture(Gamma(), 1), rows / rows.mean()).model.family
        assert_allclose(model.family.shape[k], alone.shape[0], rtol=1e-9)


@pytest.mark.parametrize("structure", ["full", "diag", "spherical"])
def test_far_groups_in_several_columns(structure):
    x = groups(1e7, d=3)
    result = fit(Mixture(MultivariateNormal(structure=structure), 2), x, random_state=0)
    model = result.model.reordered(np.argsort(result.model.family.mean[:, 0]))
    for k, rows in enumerate((x[:300], x[300:])):
        full = np.cov(rows.T, bias=True)
        wanted = {"full": full, "diag": np.diag(np.diag(full)), "spherical": np.eye(3) * np.trace(full) / 3}[structure]
        assert_allclose(model.family.covariance[k], wanted, rtol=1e-8, atol=1e-10)


def test_a_narrow_group_among_wide_ones_is_no_collapse():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, 400), rng.normal(2, 1e-6, 200)])
    result = fit(Mixture(Normal([0.0, 2.0], [1.0, 1e-6])), x)
    assert_allclose(result.model.family.variance.min(), x[400:].var(), rtol=0.2)


def test_a_single_outlier_still_collapses():
    x = np.concatenate([np.random.default_rng(0).normal(size=200), [1e7]])
    with pytest.raises(emix.FitError, match="collapsed"):
        fit(Mixture(Normal(), 2), x, random_state=0)


FAMILIES = {
    "normal": (Normal([0.0, 2.0], [1.0, 2.0]), lambda rng: rng.normal(size=80) + 2 * (np.arange(80) % 2)),
    "normal, columns": (Normal([[0.0, 1], [2, 3]], [[1.0, 2], [2, 1]]), lambda rng: rng.normal(1, 1, (80, 2))),
    "gamma": (Gamma([2.0, 30.0], [1.0, 3.0]), lambda rng: rng.gamma(3.0, 2.0, 80)),
    "lognormal": (LogNormal([0.0, 1.0], [1.0, 0.5]), lambda rng: rng.lognormal(0.5, 1.0, 80)),
    **{
        structure: (
            MultivariateNormal([[0.0, 0], [2, 1]], [np.eye(2), 2 * np.eye(2)], structure=structure),
            lambda rng: rng.normal(1, 1, (80, 2)),
        )
        for structure in ("full", "diag", "spherical")
    },
}


@pytest.mark.parametrize("name", FAMILIES)
def test_both_paths_agree_where_both_are_valid(name):
    family, draw = FAMILIES[name]
    x = draw(np.random.default_rng(0))
    if name == "normal, columns":
        x[::7, 0] = np.nan
    step = emix.e_step(Mixture(family), x)
    other = emix.e_step(centred(step.model), x)
    assert isinstance(other.model, CentredMixture)
    assert_allclose(other.responsibilities, step.responsibilities, rtol=1e-10, atol=1e-14)
    assert_allclose(other.log_prob, step.log_prob, rtol=1e-10)
    assert_allclose(other.log_likelihood, step.log_likelihood, rtol=1e-12)
    assert_allclose(other.expected_statistics, step.expected_statistics, rtol=1e-9, atol=1e-10)
    for key, value in step.maximize().parameters.items():
        assert_allclose(other.maximize().parameters[key], value, rtol=1e-10, atol=1e-12)


def test_a_fitted_model_of_far_groups_predicts_on_the_centred_path_too():
    x = groups(1e8)
    result = fit(Mixture(Normal(), 2), x, random_state=0)
    assert isinstance(well_conditioned(result.model), CentredMixture)
    assert_allclose(emix.score_samples(result.model, x).sum(), result.log_likelihood, rtol=1e-12)
    assert not isinstance(
        well_conditioned(fit(Mixture(Normal(), 2), groups(5.0), random_state=0).model), CentredMixture
    )


@pytest.mark.parametrize("n_components", [1, 2])
def test_nearly_collinear_columns_are_whitened(n_components):
    """Correlation 1 - 1e-12: far beyond what sums about one pivot resolve."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=600) + np.repeat([0.0, 40.0 * (n_components - 1)], 300)
    x = np.column_stack([z, z + 1e-6 * rng.normal(size=600)])
    result = fit(Mixture(MultivariateNormal(), n_components), x, random_state=0)
    model = result.model.reordered(np.argsort(result.model.family.mean[:, 0]))
    parts = [x] if n_components == 1 else [x[:300], x[300:]]
    turn = np.array([[1.0, 0], [-1, 1]])  # to (z, x2 - x1), in which nothing cancels
    for covariance, rows in zip(model.family.covariance, parts, strict=True):
        wanted = np.cov((rows @ turn.T).T, bias=True)
        assert_allclose((turn @ covariance @ turn.T)[0, 0], wanted[0, 0], rtol=1e-9)
        assert_allclose((turn @ covariance @ turn.T)[1, 1], wanted[1, 1], rtol=1e-3)  # the stored matrix itself rounds


@pytest.mark.parametrize(
    "family",
    [
        emix.InverseGaussian([[0.2, 0.3], [0.8, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
        emix.Normal([[0.2, 0.3], [0.8, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
        emix.LogNormal([[-2.0, 0.3], [0.0, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
        emix.Gamma([[0.2, 0.3], [0.8, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
        emix.Beta([[0.2, 0.3], [0.8, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
        emix.VonMises([[0.2, 0.3], [0.8, 0.5]], [[3.0, 2.0], [9.0, 1.0]]),
    ],
    ids=lambda family: family.name,
)
def test_a_component_without_observed_cells_keeps_its_parameters(family):
    x = np.array([[0.1, np.nan], [0.2, np.nan], [0.15, np.nan], [0.9, 0.5], [0.8, 0.7], [0.88, 0.4]])
    labels, options = [0, 0, 0, 1, 1, 1], {"stop": "iterations", "max_iter": 2}
    found = emix.fit(centred(emix.Mixture(family)), x, labels=labels, **options).model.family
    wanted = emix.fit(emix.Mixture(family), x, labels=labels, **options).model.family
    for name, value in family.parameters.items():
        assert getattr(found, name)[0, 1] == value[0, 1]
        assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9)
