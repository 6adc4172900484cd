"""Constraints on single parameters: the laws for every family, references, the grammar, bad input, the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, columns_of, expected_under, law, proportions
from fits import NOTICES
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats
from sklearn.mixture import GaussianMixture

import emix
from emix import (
    Binomial,
    Categorical,
    Columns,
    Exponential,
    Gamma,
    Mixture,
    ModelError,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    VonMises,
    ZeroInflatedPoisson,
)
from emix.constraints import parse_constraint
from emix.constraints.simplex import water_filling
from emix.families.entries import flat, groups_of
from emix.persistence import save

# -- the laws, for every family ----------------------------------------------------------------------------------------


def texts_of(case) -> list[tuple[str, ...]]:
    """For each family: its last parameter tied, one entry held, one bounded; and what it can have of these together."""
    name, family = list(case.family.spaces)[-1], case.family
    if name in ("covariance", "scale") and family.parameters[name].ndim == 3:
        held = f"mean[0, x{case.n_columns - 1}] = 0.3"
        texts = [("mean tied",), ("mean[1] >= 1.5", "mean[0] <= 1"), (held, f"{name}[1] fixed")]
        if family.structure in ("full", "diag", "spherical"):
            return texts
        return texts[:2] if family.structure == "tied" else texts[1:2]
    if name == "degrees_of_freedom":
        texts = [(f"{name} tied",), (f"{name}[0] = 7",), (f"{name} <= 4", "mean[0] >= 0.2"), ("mean tied",)]
        return texts if family.structure == "tied" else [*texts, ("scale[0] fixed", f"{name} tied")]
    if name == "probabilities":
        one = "x0, 1" if case.family.name == "categorical" else "x1"
        return [
            (f"{name} tied",),
            (f"{name}[0, {one}] = 0",),
            (f"{name}[*, {one}] >= 0.6",),
            (f"{name}[*, {one}] tied",),
        ]
    first = next(iter(family.spaces))
    value = np.ravel(flat(family.parameters[name]))
    found = [(f"{name} tied",), (f"{name}[0] = {float(0.8 * value[0] + 0.1 * value[-1])!r}",)]
    found.append((f"{name}[1] <= {float(0.7 * value.min())!r}",))
    if first != name:
        low = float(1.05 * np.mean(flat(family.parameters[first])))
        found += [(f"{first} tied",), (f"{first} tied", f"{name}[0] fixed"), (f"{first}[0] >= {low!r}", f"{name} tied")]
    return found


def constrained(family, texts):
    """Under these constraints, without parameters: those of the case do not satisfy them; what is fixed stays known."""
    K = family.n_components
    parsed = [parse_constraint(text) for text in texts]
    free = replace(family, **dict.fromkeys(family.spaces))
    unbound = replace(free, binding=None).with_constraints(parsed, K).holding(family)
    return replace(unbound, binding=family.binding)


def objective(family, expected: np.ndarray) -> float:
    return float(family.cell_objective(expected).sum())


def is_feasible(family) -> bool:
    for name, value in family.parameters.items():
        if not all(family.space(name).contains(one) for one in columns_of(value)):
            return False
        entries = flat(value)
        if not np.allclose(groups_of(family, name).projected(entries), entries, rtol=1e-9, atol=0):
            return False
    return True


def has_q(case) -> bool:
    """Whether `cell_objective` is all that the M-step climbs, and all the way."""
    return case.family.name not in ("student_t", "censored_weibull")


@law(CASES)
def test_the_constrained_maximum_is_feasible_and_no_feasible_neighbour_scores_better(case):
    x, _ = case.draw(150)
    family, expected, _ = expected_under(case, x)
    rng = np.random.default_rng(3)
    for texts in texts_of(case)[: None if has_q(case) or case.id == "student-t-full" else 2]:
        start = constrained(family, texts)
        fitted = start.maximize(expected)
        assert is_feasible(fitted), texts
        assert fitted.n_free_parameters == len(fitted.to_vector())
        assert fitted.n_free_parameters < family.n_free_parameters or all(">=" in t or "<=" in t for t in texts)
        if not has_q(case):
            continue
        best = objective(fitted, expected)
        assert objective(fitted.maximize(expected), expected) >= best - 1e-12 * abs(best)
        vector = fitted.to_vector()
        spread = np.maximum(np.abs(vector), 1e-3)
        spread = np.where(np.isfinite(spread), spread, 0.0)
        for size in (1e-3, 0.1):
            for direction in rng.standard_normal((2, len(vector))):
                with np.errstate(all="ignore"):
                    try:
                        other = fitted.from_vector(vector + size * direction * spread)
                    except emix.EmixError:
                        continue
                if is_feasible(other):
                    assert objective(other, expected) <= best + 1e-11 * abs(best), (texts, size)


ONE_EACH = list({case.family.name: case for case in reversed(CASES) if has_q(case)}.values())


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.family.name)
def test_no_solver_of_scipy_finds_a_higher_point(case):
    """L-BFGS-B in the free coordinates, from another point; ties and what is held leave them unconstrained."""
    x, _ = case.draw(100)
    family, expected, _ = expected_under(case, x)
    for texts in [texts for texts in texts_of(case) if not any(">" in t or "<" in t for t in texts)][:1]:
        fitted = constrained(family, texts).maximize(expected)
        vector, best = fitted.to_vector(), objective(fitted, expected)
        if len(vector) == 0 or not np.isfinite(vector).all():
            continue

        def lost(v, fitted=fitted, expected=expected):
            with np.errstate(all="ignore"):
                try:
                    value = -objective(fitted.from_vector(v), expected)
                except (emix.EmixError, np.linalg.LinAlgError):
                    return 1e10
            return value if np.isfinite(value) else 1e10

        found = optimize.minimize(lost, vector + 0.1 * np.cos(np.arange(len(vector))), method="L-BFGS-B")
        assert -found.fun <= best + 1e-9 * abs(best)
        assert -found.fun >= best - 1e-3 * abs(best)  # it looked at the same hill


@law(CASES)
def test_vectors_and_files_know_the_constraints(case, tmp_path):
    x, _ = case.draw(200)
    family, expected, _ = expected_under(case, x)
    start = constrained(family, texts_of(case)[0])
    fitted = start.maximize(expected)
    vector = fitted.to_vector()
    again = fitted.from_vector(vector)
    for name, value in fitted.parameters.items():
        for one, other in zip(columns_of(getattr(again, name)), columns_of(value), strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=3e-5 if "factors" in case.id else 1e-12)
    model = Mixture(fitted, mixing_proportions=proportions(family), constraints=texts_of(case)[0])
    save(model, tmp_path / "m.json")
    loaded = emix.load(tmp_path / "m.json")
    assert str(loaded) == str(model)
    assert loaded.n_free_parameters == model.n_free_parameters
    assert_array_equal(loaded.to_vector(), model.to_vector())


@pytest.mark.parametrize("case", [*ONE_EACH, *(case for case in CASES if not has_q(case) and "diag" not in case.id)],
                         ids=lambda case: case.id)  # fmt: skip
def test_fits_climb_and_end_feasible(case):
    """The driver raises if the log-likelihood falls."""
    x, _ = case.draw(100)
    K, free = case.family.n_components, replace(case.family, **dict.fromkeys(case.family.spaces))
    for texts in texts_of(case)[:2]:
        model = Mixture(free, K, constraints=texts)
        result = emix.fit(model, x, n_init=1, random_state=0, max_iter=6, stop="iterations")
        assert is_feasible(result.model.family)
        assert result.n_free_parameters <= Mixture(case.family).n_free_parameters


def test_families_that_climb_in_steps_arrive():
    """With known labels; SciPy's optimizer on SciPy's densities."""
    rng = np.random.default_rng(4)
    z = np.repeat([0, 1], 60)
    t = np.stack([rng.weibull(2.0, 120) * np.where(z, 9.0, 3.0), np.ones(120)], axis=1)
    model = Mixture(emix.CensoredWeibull(event="x1"), 2, constraints=("shape tied", "scale[1] <= 8"))
    result = emix.fit(model, t, labels=z, tol=1e-9)

    def lost(v):
        scale = np.where(z, np.exp(v[2]), np.exp(v[1]))
        return -stats.weibull_min.logpdf(t[:, 0], np.exp(v[0]), scale=scale).sum()

    found = optimize.minimize(lost, [0.5, 1.0, 1.5], bounds=[(None, None)] * 2 + [(None, np.log(8))], method="L-BFGS-B")
    family = result.model.family
    assert_allclose(np.concatenate([family.shape[:1], family.scale]), np.exp(found.x), rtol=1e-4)
    assert result.n_free_parameters == 4
    x = np.where(z, rng.standard_t(4, 120), 5 + 2 * rng.standard_t(4, 120))[:, None]
    texts = ("degrees_of_freedom tied", "mean[1] = 0.2", "mean[0] <= 4.5")
    result = emix.fit(Mixture(StudentT(), 2, constraints=texts), x, labels=z, tol=1e-10)

    def lost_t(v):
        at, scale = np.where(z, 0.2, v[1]), np.where(z, np.exp(v[2]), np.exp(v[3]))
        return -stats.t.logpdf(x[:, 0], np.exp(v[0]), at, scale).sum()

    bounds = [(None, None), (None, 4.5), (None, None), (None, None)]
    found = optimize.minimize(lost_t, [1.0, 4.0, 0.0, 0.5], bounds=bounds, method="L-BFGS-B")
    family = result.model.family
    assert_allclose(family.degrees_of_freedom, np.exp(found.x[0]), rtol=1e-3)
    assert_allclose(family.mean[:, 0], [found.x[1], 0.2], rtol=1e-5)
    assert_allclose(np.sqrt(family.scale[:, 0, 0]), np.exp(found.x[[3, 2]]), rtol=1e-3)


# -- what others found -------------------------------------------------------------------------------------------------


def test_tied_deviations_are_those_of_mclust(reference, iris, faithful):
    """Independent columns whose variances are equal over components; R output of mclust, all printed digits."""
    published = reference.output("mclust_me.json")
    for name, (x, labels) in {"iris": iris, "faithful": faithful}.items():
        wanted = published[name]["models"]["EEI"]
        result = emix.fit(Mixture(Normal(), labels.max() + 1, constraints="sd tied"), x, start=labels, tol=1e-9)
        assert_allclose(result.log_likelihood, wanted["loglik"], atol=2e-3)  # where mclust stopped
        assert result.log_likelihood >= wanted["loglik"] - 1e-9
        assert result.n_free_parameters == wanted["df"]
        same = emix.fit(Mixture(MultivariateNormal(structure="EEI"), labels.max() + 1), x, start=labels, tol=1e-9)
        assert_allclose(result.log_likelihood, same.log_likelihood, rtol=1e-12)
        assert_allclose(result.model.family.variance[0], np.diag(same.model.family.covariance[0]), rtol=1e-6)


def test_a_tied_deviation_is_scikit_learns_tied_covariance():
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(0, 1, 80), rng.normal(4, 1.5, 120)])[:, None]
    peer = GaussianMixture(2, covariance_type="tied", tol=1e-13, max_iter=10_000, reg_covar=0, random_state=0).fit(x)
    result = emix.fit(Mixture(Normal(), 2, constraints=("sd tied",)), x, random_state=0, tol=1e-10)
    assert_allclose(result.log_likelihood, peer.score(x) * len(x), rtol=1e-10)
    assert_allclose(result.model.family.variance, peer.covariances_[0, 0], rtol=1e-5)
    assert result.n_free_parameters == 4


def test_equal_proportions_are_mclusts(reference, iris):
    """mclust's `equalPro`."""
    expected, _ = reference.case("mclust_eqpro_iris")
    x, labels = iris
    model = Mixture(MultivariateNormal(structure="EEE"), 3, constraints=("mixing_proportions tied",))
    result = emix.fit(model, x, start=labels)
    assert_allclose(result.log_likelihood, expected["EEE"]["loglik"], atol=1e-3)
    assert_allclose(result.model.mixing_proportions, 1 / 3, rtol=1e-15)
    assert result.n_free_parameters == 12 + 10


def test_death_notices_beside_a_known_rate():
    """One rate held at a number: the rest against SciPy, which sees two parameters of the observed log-likelihood."""
    values, counts = np.unique(NOTICES, return_counts=True)

    def lost(v):
        p = 1 / (1 + np.exp(-v[0]))
        return -counts @ np.log(p * stats.poisson.pmf(values, 1.5) + (1 - p) * stats.poisson.pmf(values, np.exp(v[1])))

    found = optimize.minimize(lost, [0.0, 1.0], method="BFGS", options={"gtol": 1e-7})
    result = emix.fit(Mixture(Poisson(), 2, constraints=("rate[0] = 1.5",)), NOTICES[:, None], random_state=1, tol=1e-9)
    assert_allclose(result.log_likelihood, -found.fun, atol=1e-6)
    assert_allclose(result.model.family.rate, [1.5, np.exp(found.x[1])], rtol=1e-4)
    assert result.n_free_parameters == 2


def test_two_coins_tied_are_one_coin():
    model = Mixture(Binomial(10), 2, constraints=("probability tied", "mixing_proportions[0] = 0.3"))
    result = emix.fit(model, [5, 9, 8, 4, 7], random_state=0)
    assert_allclose(result.model.family.probability, 33 / 50, rtol=1e-12)
    assert_array_equal(result.model.mixing_proportions, [0.3, 0.7])
    assert result.n_free_parameters == 1


def test_latent_classes_with_structural_zeros_and_equal_errors():
    """Answers that one class cannot give; and one probability of error for both classes, across levels.

    Against SciPy's SLSQP on the observed log-likelihood."""
    rng = np.random.default_rng(2)
    z = rng.random(400) < 0.6
    x = np.where(rng.random((400, 3)) < np.where(z[:, None], 0.8, 0.1), "yes", "no")
    x[~z, 0] = "no"
    texts = ("probabilities[0, x0, yes] = 0", "probabilities[0, x1, yes] = probabilities[1, x1, no]")
    result = emix.fit(Mixture(Categorical(), 2, constraints=texts), x, random_state=0, tol=1e-10)
    tables = result.model.family.tables
    assert tables[0][0, 1] == 0.0
    assert_allclose(tables[1][0, 1], tables[1][1, 0], rtol=1e-12)
    assert result.n_free_parameters == 1 + 6 - 1 - 1
    yes = (x == "yes").astype(float)

    def lost(v):  # proportion, then p(yes) of both classes with p01 = 0 and p12 = 1 - p02
        p, a, b, c, d = v
        of_0, of_1 = np.array([0.0, b, c]), np.array([a, 1 - b, d])
        rows = [np.prod(np.where(yes == 1, q, 1 - q), axis=1) for q in (of_0, of_1)]
        return -np.log(p * rows[0] + (1 - p) * rows[1]).sum()

    start = [0.4, 0.7, 0.2, 0.2, 0.7]
    found = optimize.minimize(lost, start, bounds=[(1e-6, 1 - 1e-6)] * 5, method="L-BFGS-B", options={"ftol": 1e-14})
    assert_allclose(result.log_likelihood, -found.fun, atol=1e-5)


def test_at_the_ends_of_a_space_a_family_is_the_simpler_one():
    """Without structural zeros a Poisson; without concentration uniform; of shape 1 exponential."""
    counts = np.random.default_rng(0).poisson(3, (200, 1))
    zeros = emix.fit(Mixture(ZeroInflatedPoisson(), 2, constraints=("zero_probability = 0",)), counts, random_state=0)
    plain = emix.fit(Mixture(Poisson(), 2), counts, random_state=0)
    assert_allclose(zeros.log_likelihood, plain.log_likelihood, rtol=1e-9)
    assert zeros.n_free_parameters == plain.n_free_parameters
    angles = np.random.default_rng(0).uniform(0, 360, (100, 1))
    texts = ("concentration = 0", "direction[0] = 90", "direction[1] fixed")
    uniform = Mixture(VonMises([90.0, 0.0], [0.0, 0.0], unit="degrees"), constraints=texts)
    assert_allclose(emix.fit(uniform, angles).log_likelihood, -100 * np.log(360))
    tied = emix.fit(Mixture(VonMises(unit="degrees"), 2, constraints=("concentration tied",)), angles, random_state=0)
    assert tied.converged
    times = np.random.default_rng(0).exponential(2, (200, 1))
    gamma = emix.fit(Mixture(Gamma(), 2, constraints=("shape = 1",)), times, random_state=0, n_init=2)
    exponential = emix.fit(Mixture(Exponential(), 2), times, random_state=0, n_init=2)
    assert_allclose(gamma.log_likelihood, exponential.log_likelihood, rtol=1e-8)


def test_a_start_numbers_components_as_constraints_need_it():
    """Of three components the middle one is held: whatever number a seed gives it, all starts find it."""
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.normal(m, 1, 100) for m in (-10, 0, 10)])[:, None]
    for k in range(3):
        result = emix.fit(Mixture(Normal(), 3, constraints=(f"mean[{k}] = 0",)), x, n_init=1, random_state=k)
        others = np.sort(np.delete(result.model.family.mean, k))
        assert_allclose(others, [-10, 10], atol=0.5)


def test_missing_cells_weights_and_a_prior_go_with_constraints(faithful):
    x, _ = faithful
    x = np.where(np.random.default_rng(1).random(x.shape) < 0.1, np.nan, x)[:120]
    for family in (Normal(), MultivariateNormal()):
        model = Mixture(family, 2, constraints=("mean[0, x1] = 55",))
        once = emix.fit(model, x, random_state=0, n_init=1)
        assert once.model.family.mean[0, 1] == 55
        thrice = emix.fit(model, x, sample_weight=np.full(len(x), 3.0), random_state=0, n_init=1)
        assert_allclose(thrice.log_likelihood, 3 * once.log_likelihood, rtol=1e-7)
    result = emix.fit(
        Mixture(Gamma(), 2, prior_rows=2.0, constraints=("shape tied",)), x[:, :1], random_state=0, n_init=1
    )
    assert result.converged
    assert len(np.unique(result.model.family.shape)) == 1


def test_tables_of_several_kinds():
    rng = np.random.default_rng(0)
    z = rng.random(300) < 0.5
    table = {"age": rng.normal(np.where(z, 30, 50), 5), "visits": rng.poisson(np.where(z, 2, 9)),
             "plan": np.where(rng.random(300) < np.where(z, 0.9, 0.3), "a", "b")}  # fmt: skip
    family = Columns({"age": Normal(), "visits": Poisson(), "plan": Categorical()})
    texts = ("age.mean[0] = 40", "age.sd tied", "visits.rate[1] >= 8", "plan.probabilities[0, a] = 0.5")
    result = emix.fit(Mixture(family, 2, constraints=texts), table, random_state=0)
    own = result.model.family.parameters
    assert own["age.mean"][0] == 40
    assert own["age.variance"][0] == own["age.variance"][1]
    assert own["visits.rate"][1] >= 8
    assert own["plan.probabilities"][0, 0] == 0.5
    free = emix.fit(Mixture(family, 2), table, random_state=0)
    assert result.n_free_parameters == free.n_free_parameters - 3
    assert result.log_likelihood < free.log_likelihood


def test_fixed_at_the_start_and_reordered(tmp_path, faithful):
    x = faithful[0][:, 1:]
    first = emix.fit(Mixture(Normal(), 2), x, random_state=0).model
    result = emix.fit(Mixture(Normal(), 2, constraints=("mean[1] fixed",)), x, start=first)
    assert result.model.family.mean[1] == first.family.mean[1]
    assert result.n_free_parameters == 4
    turned = result.model.reordered(np.array([1, 0]))
    assert str(turned).endswith("mean[0] fixed")
    assert turned.family.mean[0] == first.family.mean[1]
    emix.fit(turned, x).save(tmp_path / "m.json")
    assert emix.fit(emix.load(tmp_path / "m.json"), x).model.family.mean[0] == first.family.mean[1]
    scale = StudentT(np.zeros((2, 1)), np.ones((2, 1, 1)), [5.0, 5.0])
    held = emix.fit(Mixture(scale, constraints=("scale[1] fixed", "degrees_of_freedom tied")), x - x.mean(), max_iter=9,
                    stop="iterations")  # fmt: skip
    assert held.model.family.scale[1, 0, 0] == 1.0
    assert np.ptp(held.model.family.degrees_of_freedom) == 0


# -- the parts ---------------------------------------------------------------------------------------------------------


def test_water_filling_satisfies_the_first_order_conditions():
    rng = np.random.default_rng(0)
    for _ in range(200):
        G = int(rng.integers(1, 7))
        n = rng.exponential(size=G) * (rng.random(G) < 0.8)
        m = rng.integers(1, 3, size=G).astype(float)
        middle = rng.dirichlet(np.ones(G)) / m
        lower, upper = middle * rng.random(G), middle + (1 - middle) * rng.random(G)
        p = water_filling(n, m, lower, upper)
        assert_allclose(m @ p, 1, rtol=1e-12)
        assert (p >= lower - 1e-15).all()
        assert (p <= upper + 1e-15).all()
        slope = n / (m * np.maximum(p, 1e-300))  # of what could grow none above what could shrink
        can_grow, can_shrink = p < upper - 1e-12, p > lower + 1e-12
        if can_grow.any() and can_shrink.any():
            assert slope[can_grow].max() <= slope[can_shrink].min() * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("sd tied", "sd tied"),
        ("mean[0]=0", "mean[0] = 0"),
        ("1/4 <= mixing_proportions[1]", "mixing_proportions[1] >= 0.25"),
        ("3 >= mean[*, age] >= -1e-3", "-0.001 <= mean[*, age] <= 3"),
        ("mean[0] = mean[1] = mean[2]", "mean[0] = mean[1] = mean[2]"),
        ("p[ 0 , 'a, b' , \"no = yes\"] = 0.5", 'p[0, "a, b", no = yes] = 0.5'),
        ("height,weight.mean[coin A] fixed", "height,weight.mean[coin A] fixed"),
    ],
)
def test_texts_are_read_and_written(text, written):
    one = parse_constraint(text)
    assert str(one) == written
    assert parse_constraint(written) == one


BAD = [
    (("sdd tied",), ["'sdd'", "'variance'", "'sd'"]),
    (("mean[2] = 0",), ["component 2", "'0', '1'"]),
    (("mean[left] = 0",), ["component 'left'"]),
    (("mean[0, x9] = 0",), ["column 'x9'", "'x0'"]),
    (("mean",), ["tied or fixed"]),
    (("mean[0] = 1", "mean[0] = 2"), ["value 2", "1"]),
    (("mean tied", "mean[0] = 1", "mean[1] = 2"), ["another constraint"]),
    (("mean[0] >= 2", "mean[0] <= 1"), [">= 2", "<= 1"]),
    (("mean[0] = 3", "mean[0] <= 1"), ["value 3"]),
    (("variance[0] = 0",), ["above 0"]),
    (("sd >= -1",), ["at or above 0"]),
    (("mean[0] = variance[0]",), ["different parameters"]),
    (("mean[0] < 1",), ["<="]),
    (("mean[0] = 1 <= 2",), ["different signs"]),
    (("1 = 1",), ["no parameter"]),
    (("mean[0 = 1",), ["tied or fixed"]),
    (("mean]0[ = 1",), ["no entry"]),
    (("mean[0] tied",), ["itself"]),
    (("mean[0] fixed",), ["'mean[0]'", "value"]),
    (("mixing_proportions[0] >= 0.7", "mixing_proportions[1] >= 0.4"), ["sum to 1", "1.1"]),
    (("mixing_proportions[0] <= 0.3", "mixing_proportions[1] <= 0.4"), ["sum to 1", "0.7"]),
    (("mixing_proportions[0] >= 1.5",), ["from 0 to 1"]),
    ((3,), ["text"]),
]


@pytest.mark.parametrize(("texts", "said"), BAD, ids=lambda value: str(value[0]))
def test_impossible_constraints_are_refused_before_any_computation(texts, said):
    with pytest.raises(ModelError) as caught:
        emix.fit(Mixture(Normal(), 2, constraints=texts), [[0.0], [1.0], [3.0]], random_state=0)
    for one in said:
        assert one in str(caught.value)


def test_what_else_is_refused():
    rows = np.random.default_rng(0).normal(size=(20, 2))
    for structure, text, said in (("full", "covariance tied", "EEE"), ("EEE", "covariance[0] fixed", "shares parts")):
        with pytest.raises(ModelError, match=said):
            emix.fit(Mixture(MultivariateNormal(structure=structure), 2, constraints=(text,)), rows)
    with pytest.raises(ModelError, match="must satisfy"):
        emix.fit(Mixture(Poisson([1.0, 2.0]), constraints=("rate tied",)), [[1], [2], [4]])
    with pytest.raises(ModelError, match="must satisfy"):
        Mixture(Poisson(), 2, [0.5, 0.5], constraints=("mixing_proportions[0] = 0.3",))


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line(run, file, tmp_path):
    rng = np.random.default_rng(0)
    cells = np.concatenate([rng.normal(0, 1, 60), rng.normal(6, 2, 60)])
    data = file("x.csv", "x\n" + "\n".join(f"{value:.6f}" for value in cells) + "\n")
    how = ("--family", "normal", "--constrain", "sd tied", "--constrain", "mean[0] = 0", "--seed", 1)
    out = run("fit", data, *how, "--out", tmp_path / "m.json")
    assert out.exit_code == 0
    assert "constraints: sd tied; mean[0] = 0" in out.stdout
    assert "constraints: sd tied; mean[0] = 0" in run("show", tmp_path / "m.json").stdout
    found = json.loads(run("fit", data, *how, "--json").stdout)
    assert found["n_free_parameters"] == 3
    assert found["model"]["family"]["parameters"]["mean"][0] == 0
    worked = run("explain", data, *how).stdout
    assert "variance = the maximum under: sd tied" in worked
    bad = run("fit", data, "--constrain", "mean[7] = 0", "--family", "normal")
    assert bad.exit_code == 2
    assert "component 7" in bad.stderr
