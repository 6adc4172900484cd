"""Latent class analysis: published results, SciPy's statistics of tables, and the estimator's own promises."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_near
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from emix import (
    Bernoulli,
    Categorical,
    Columns,
    DataError,
    LatentClassAnalysis,
    Mixture,
    ModelError,
    Normal,
    Poisson,
    bivariate_residuals,
    fit,
    responsibilities,
    table_fit,
)
from emix.inference import item_names

PRINTED = 5e-5
"""Probabilities are printed with four digits."""


def items(reference, name: str, *columns: str) -> pd.DataFrame:
    return pd.read_csv(reference.folder / "data" / name, usecols=list(columns) or None)


def probabilities(model: LatentClassAnalysis, level: int = 0) -> np.ndarray:
    """(n_items, K): of one answer to each item, classes in the order of the model."""
    return np.stack([p[:, level] for p in model.item_response_probabilities_.values()])


# -- published results -------------------------------------------------------------------------------------------------

# poLCA (Linzer & Lewis 2011, Journal of Statistical Software 42(10)): its printed output, and the log-likelihoods in
# the comments of its examples. Its steps are plain EM until one gains less than 1e-10, which leaves a chi2, first
# order in the estimates, a few 1e-6 off where the log-likelihood and G2 have all their digits.
VALUES, CARCINOMA, GSS82 = "values.csv", "carcinoma.csv", "gss82.csv"
CHEATING = ("cheating.csv", "LIEEXAM", "LIEPAPER", "FRAUD", "COPYEXAM")
TRAITS = ("MORAL", "CARES", "KNOW", "LEAD", "DISHON", "INTEL")
ELECTION = ("election.csv", *(f"{trait}{who}" for who in "GB" for trait in TRAITS))


@pytest.mark.parametrize(
    ("data", "n_classes", "log_likelihood", "digits"),
    [
        ((VALUES,), 1, -543.6498, 4),
        ((VALUES,), 2, -504.4677, 4),
        ((VALUES,), 3, -503.3011, 4),
        ((CARCINOMA,), 1, -524.4648, 4),
        ((CARCINOMA,), 2, -317.2568, 4),
        ((CARCINOMA,), 3, -293.7050, 4),
        ((CARCINOMA,), 4, -289.2858, 4),
        ((GSS82,), 1, -2872.230, 3),  # McCutcheon (1987), Latent Class Analysis, table 3.2
        ((GSS82,), 2, -2783.268, 3),
        ((GSS82,), 3, -2754.545, 3),
        ((GSS82,), 4, -2746.621, 3),
        (CHEATING, 2, -440.0271, 4),
        (ELECTION, 1, -18647.31, 2),  # rows with all answers
        (ELECTION, 2, -17344.92, 2),
        (ELECTION, 3, -16714.66, 2),
    ],
)
def test_log_likelihoods_that_polca_prints(reference, data, n_classes, log_likelihood, digits):
    answers = items(reference, *data).dropna()
    # with four classes few starts end at the best optimum; poLCA's examples ask for more of them there, too
    model = LatentClassAnalysis(n_classes, random_state=0, n_init=40 if n_classes == 4 else 10).fit(answers)
    assert_near(model.log_likelihood_, log_likelihood, 0.5001 * 10.0**-digits)


def test_values_as_goodman_1974_and_polca_print_them(reference):
    model = LatentClassAnalysis(2, random_state=0, tol=1e-12).fit(items(reference, VALUES))
    assert (model.n_free_parameters_, model.df_) == (9, 6)
    assert_near(model.class_sizes_, [0.7208, 0.2792], PRINTED)
    assert_near(probabilities(model), [[0.2864, 0.0068], [0.6704, 0.0602], [0.6460, 0.0735], [0.8676, 0.2309]], PRINTED)
    assert_near([model.aic_, model.bic_], [1026.935, 1057.313], 5e-4)
    assert_near(model.G2_, 2.719922, 5e-7)
    assert_near(model.chi2_, 2.719764, 5e-6)
    assert_near([model.G2_p_value_, model.chi2_p_value_], stats.chi2.sf([2.719922, 2.719764], 6), 1e-6)
    assert model.table_fit_.reason == ""
    assigned = model.classification_table_.sum(axis=1) / 216  # "predicted class memberships"
    modal = np.bincount(model.predict(items(reference, VALUES))) / 216
    assert_near(modal, [0.6713, 0.3287], PRINTED)
    assert_near(assigned, modal, 1e-12)


def test_carcinoma_as_polca_prints_it(reference):
    answers = items(reference, CARCINOMA)
    two = LatentClassAnalysis(2, random_state=0, tol=1e-12).fit(answers)
    assert_near(two.class_sizes_, [0.5012, 0.4988], PRINTED)
    assert_near([two.aic_, two.bic_], [664.5137, 706.0739], PRINTED)
    assert_near([two.G2_, two.chi2_], [62.36543, 92.64814], 5.01e-6)
    three = LatentClassAnalysis(3, random_state=0, tol=1e-12).fit(answers)
    assert_near(three.class_sizes_, [0.4447, 0.3736, 0.1817], PRINTED)
    printed = [
        [0.0000, 0.9427, 0.4872],
        [0.0191, 0.8621, 0.0000],
        [0.1425, 1.0000, 1.0000],
        [0.4138, 1.0000, 0.9424],
        [0.0000, 0.9449, 0.2494],
        [0.5236, 1.0000, 1.0000],
        [0.0000, 1.0000, 0.3693],
    ]
    assert_near(probabilities(three), printed, PRINTED)
    assert_near([three.aic_, three.bic_], [633.41, 697.1357], PRINTED)
    assert_near(three.G2_, 15.26171, 5e-6)
    assert_near(three.chi2_, 20.50336, 5.01e-6)
    assert_near(np.bincount(three.predict(answers)) / 118, [0.4322, 0.3729, 0.1949], PRINTED)
    # poLCA's residual degrees of freedom, 95, are counted from the 118 rows where these are fewer than the cells
    assert (three.n_free_parameters_, three.df_) == (23, 2**7 - 1 - 23)
    assert "0.92 rows per cell" in three.table_fit_.reason


def test_independence_of_gss82_as_mccutcheon_1987_prints_it(reference):
    """Table 3.2 there, as Mplus prints it, too; the two-class model of the same table."""
    independent = LatentClassAnalysis(1).fit(items(reference, GSS82))
    assert (independent.n_free_parameters_, independent.df_) == (6, 29)
    assert_near([independent.chi2_, independent.G2_], [368.666, 257.260], 5e-4)
    assert_near([independent.aic_, independent.bic_], [5756.459, 5787.010], 5e-4)
    assert independent.entropy_r2_ == 1
    assert independent.item_levels_["PURPOSE"] == ("Depends", "Good", "Waste of time")


def test_pleural_thickening_of_dayton_1998():
    """Three readers of 1,692 radiographs (table 3.1 there): as many parameters as cells, output of LEM."""
    counts = [1513, 23, 59, 12, 21, 19, 11, 34]
    patterns = np.array(list(itertools.product([1, 2], repeat=3)))
    model = LatentClassAnalysis(2, random_state=0, tol=1e-13).fit(patterns, sample_weight=counts)
    assert_near(model.log_likelihood_, -891.14280, 5e-6)
    assert_near([model.aic_, model.bic_], [1796.2856, 1834.3213], PRINTED)
    assert_near(model.class_sizes_, [0.9455, 0.0545], PRINTED)
    # the maximum reproduces each cell; LEM stops at a gain of 7e-7 nats, up to 1.1e-4 short of it: 0.2510, 0.3566
    assert_near([model.G2_, model.chi2_], [0, 0], 1e-9)
    assert_near(probabilities(model), [[0.990, 0.251], [0.965, 0.356], [0.989, 0.235]], 5e-4)
    assert_near(model.entropy_r2_, 0.949, 5e-4)  # Mplus
    assert (model.df_, model.G2_p_value_, model.chi2_p_value_) == (0, None, None)
    assert "as many free parameters" in model.table_fit_.reason


def test_whiskey_of_flexmix(reference):
    expected, tolerance = reference.case("whiskey_lc_2")
    brands = items(reference, "whiskey.csv")
    frequency = brands.pop("Freq")
    model = LatentClassAnalysis(2, random_state=0, tol=1e-9).fit(brands, sample_weight=frequency)
    assert_near(model.log_likelihood_, expected["loglik"], tolerance["loglik"])
    assert_near(model.class_sizes_, expected["class_sizes"], tolerance["class_sizes"])
    assert model.n_free_parameters_ == expected["df"]
    assert model.G2_ is model.chi2_ is model.df_ is None
    assert "2,097,152 cells for 2,218 rows" in model.table_fit_.reason


# -- statistics of tables, against SciPy -------------------------------------------------------------------------------


@pytest.fixture
def fitted():
    """A model of three items with 2, 3 and 2 levels, and 400 rows of it."""
    tables = [[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], [[0.8, 0.2], [0.25, 0.75]]]
    truth = Mixture(Categorical(tables), mixing_proportions=[0.6, 0.4])
    rng = np.random.default_rng(3)
    labels = rng.choice(2, size=400, p=[0.6, 0.4])
    x = np.column_stack([(rng.random((400, 1)) > np.cumsum(t, axis=1)[labels, :-1]).sum(axis=1) for t in tables])
    return truth, x, np.einsum("k,ka,kb,kc->abc", [0.6, 0.4], *map(np.array, tables))


def test_g2_and_chi2_of_every_cell(fitted):
    truth, x, cells = fitted
    x = x[(x != [1, 1, 1]).any(axis=1)]  # a cell without rows counts, too
    observed, expected = np.zeros(cells.shape), len(x) * cells
    np.add.at(observed, tuple(x.T), 1)
    assert (observed == 0).any()
    found = table_fit(truth, x)
    assert_allclose(found.chi2, stats.power_divergence(observed, expected, axis=None).statistic, rtol=1e-12)
    G2 = stats.power_divergence(observed, expected, axis=None, lambda_="log-likelihood").statistic
    assert_allclose(found.G2, G2, rtol=1e-12)
    assert (found.n_patterns, found.df) == (12, 12 - 1 - 9)
    assert_allclose([found.G2_p_value, found.chi2_p_value], stats.chi2.sf([found.G2, found.chi2], 2), rtol=1e-12)


def test_bivariate_residuals_of_every_pair(fitted):
    truth, x, cells = fitted
    found = bivariate_residuals(truth, x)
    for i, j in itertools.combinations(range(3), 2):
        expected = 400 * cells.sum(axis=3 - i - j)
        observed = np.zeros(expected.shape)
        np.add.at(observed, (x[:, i], x[:, j]), 1)
        df = (expected.shape[0] - 1) * (expected.shape[1] - 1)
        chi2 = stats.power_divergence(observed, expected, axis=None).statistic
        assert_allclose([found[i, j], found[j, i]], chi2 / df, rtol=1e-12)
    assert_allclose(np.diagonal(found), 0, atol=0)


def test_residuals_of_one_class_are_tests_of_independence(fitted):
    _, x, _ = fitted
    model = LatentClassAnalysis(1).fit(x)
    test = stats.chi2_contingency(pd.crosstab(x[:, 0], x[:, 1]), correction=False)
    assert_allclose(model.bivariate_residuals_[0, 1], test.statistic / test.dof, rtol=1e-9)
    whole = np.zeros((2, 3, 2))
    np.add.at(whole, tuple(x.T), 1)
    assert_allclose(model.chi2_, stats.chi2_contingency(whole, correction=False).statistic, rtol=1e-9)
    assert model.df_ == stats.chi2_contingency(whole).dof


def test_two_dependent_items_have_the_largest_residual(fitted):
    _, x, _ = fitted
    doubled = np.column_stack([x, np.where(np.random.default_rng(0).random(400) < 0.9, x[:, 0], 1 - x[:, 0])])
    first = LatentClassAnalysis(1).fit(doubled).bivariate_residuals_
    assert np.unravel_index(np.argmax(first), first.shape) in [(0, 3), (3, 0)]


def test_weights_are_frequencies(fitted):
    _, x, _ = fitted
    patterns, counts = np.unique(x, axis=0, return_counts=True)
    rows = LatentClassAnalysis(2, random_state=0, tol=1e-12).fit(x)
    table = LatentClassAnalysis(2, random_state=0, tol=1e-12).fit(patterns, sample_weight=counts)
    for name in ("log_likelihood_", "aic_", "bic_", "G2_", "chi2_", "entropy_r2_"):
        assert_allclose(getattr(table, name), getattr(rows, name), rtol=1e-9)
    assert_allclose(table.classification_table_, rows.classification_table_, rtol=1e-8)
    assert_allclose(table.bivariate_residuals_, rows.bivariate_residuals_, rtol=1e-6, atol=1e-12)


def test_rows_that_are_told_apart_or_not(fitted):
    truth, x, _ = fitted
    model = LatentClassAnalysis(start=truth, max_iter=10_000).fit(x)
    resp = responsibilities(model.result_.model, x)
    entropy = stats.entropy(resp, axis=1).sum()
    assert_allclose(model.entropy_r2_, 1 - entropy / (400 * np.log(2)), rtol=1e-12)
    assigned = model.predict(x)
    by_hand = [[resp[assigned == k, j].sum() for j in range(2)] for k in range(2)]
    assert_allclose(model.classification_table_, by_hand, rtol=1e-12)
    assert_allclose(model.classification_table_.sum(axis=0) / 400, model.class_sizes_, atol=1e-4)


# -- what is not there, and why ----------------------------------------------------------------------------------------


def test_missing_answers(reference):
    answers = items(reference, *ELECTION)
    model = LatentClassAnalysis(3, random_state=0).fit(answers)
    assert model.G2_ is model.chi2_ is model.df_ is model.G2_p_value_ is None
    n_incomplete = int((answers.isna().any(axis=1) & ~answers.isna().all(axis=1)).sum())
    assert model.table_fit_.reason.startswith(f"{n_incomplete} rows have missing answers")
    assert model.classification_table_.sum() == pytest.approx(answers.notna().any(axis=1).sum())
    assert np.isfinite(model.bivariate_residuals_[np.triu_indices(12, 1)]).all()
    assert_allclose(model.predict_proba(answers).sum(axis=1), 1)
    silent = answers.isna().all(axis=1).to_numpy()
    assert_allclose(model.predict_proba(answers)[silent], np.tile(model.class_sizes_, (silent.sum(), 1)), rtol=1e-12)


def test_a_missing_answer_is_the_marginal(fitted):
    truth, x, cells = fitted
    model = LatentClassAnalysis(start=truth, max_iter=0)
    with pytest.warns(UserWarning, match="ran out"):
        model.fit(np.where(np.arange(400)[:, None] == [0, 1, 2], np.nan, x))
    full = sum(np.log(cells[tuple(row)]) for row in x[3:])
    part = sum(np.log(cells.sum(axis=j)[tuple(np.delete(x[j], j))]) for j in range(3))
    assert_allclose(model.log_likelihood_, full + part, rtol=1e-12)


def test_known_classes_leave_no_test_of_the_table(fitted):
    _, x, _ = fitted
    labels = np.full(400, -1)
    labels[:40] = 1 - x[:40, 0]
    model = LatentClassAnalysis(2, random_state=0).fit(x, labels=labels)
    assert model.G2_ is model.df_ is None
    assert "classes of rows were given" in model.table_fit_.reason
    names = np.where(labels < 0, "", np.where(labels == 1, "often", "never"))
    frame = pd.DataFrame(x, columns=["walks", "eats", "sleeps"])
    named = LatentClassAnalysis(2, random_state=0).fit(frame, labels=names)
    assert list(named.predict_proba(frame, as_frame=True)) == ["never", "often"]


def test_more_parameters_than_cells(fitted):
    _, x, _ = fitted
    model = LatentClassAnalysis(3, random_state=0).fit(x)
    assert (model.df_, model.G2_p_value_) == (11 - 14, None)
    assert "not identified" in model.table_fit_.reason


def test_other_families_have_no_such_table():
    for function in (table_fit, bivariate_residuals):
        with pytest.raises(ModelError, match="Categorical"):
            function(Mixture(Poisson([1.0])), [1, 2])


# -- the estimator -----------------------------------------------------------------------------------------------------


def test_text_truth_and_numbers_side_by_side():
    rng = np.random.default_rng(1)
    z = rng.random(300) < 0.4
    answers = pl.DataFrame(
        {
            "colour": np.where(rng.random(300) < 0.1 + 0.8 * z, "red", "blue"),
            "owns": rng.random(300) < 0.2 + 0.7 * z,
            "cars": rng.binomial(2, 0.1 + 0.7 * z),
        }
    )
    model = LatentClassAnalysis(2, random_state=0).fit(answers)
    assert model.item_levels_ == {"colour": ("blue", "red"), "owns": (False, True), "cars": (0, 1, 2)}
    assert (np.diff(model.class_sizes_) <= 0).all()
    for p in model.item_response_probabilities_.values():
        assert_allclose(p.sum(axis=1), 1)
    assert ((model.predict(answers) == 1) == z).mean() > 0.85
    frame = model.predict_proba(answers, as_frame=True)
    assert isinstance(frame, pl.DataFrame)
    assert_array_equal(frame.to_numpy(), model.predict_proba(answers))
    assert_allclose(model.score(answers) * 300, model.log_likelihood_, rtol=1e-12)
    with pytest.raises(DataError, match="green"):
        model.predict(pl.DataFrame({"colour": ["green"], "owns": [True], "cars": [1]}))


def test_the_order_of_classes_is_that_of_start_or_labels(fitted):
    truth, x, _ = fitted
    turned = truth.reordered(np.array([1, 0]))
    model = LatentClassAnalysis(2, start=turned).fit(x)
    assert model.class_sizes_[0] < model.class_sizes_[1]
    drawn = LatentClassAnalysis(2, random_state=0).fit(x)
    assert drawn.class_sizes_[0] > drawn.class_sizes_[1]
    assert_allclose(drawn.result_.expected_counts / 400, drawn.class_sizes_, atol=1e-3)


def test_an_item_with_a_single_answer_adds_nothing(fitted):
    _, x, _ = fitted
    without = LatentClassAnalysis(2, random_state=0).fit(x)
    model = LatentClassAnalysis(2, random_state=0).fit(np.column_stack([x, np.ones(400)]))
    assert model.item_levels_["x3"] == (1,)
    assert (model.df_, model.n_free_parameters_) == (without.df_, without.n_free_parameters_)
    assert_allclose(model.G2_, without.G2_, rtol=1e-4)
    assert not model.bivariate_residuals_[3].any()


def test_many_rows_give_the_table_of_their_patterns(fitted):
    """Where rows repeat they are counted pattern by pattern, also those with missing answers."""
    truth, x, _ = fitted
    many = np.tile(x, (30, 1))
    assert_allclose(table_fit(truth, many).G2, 30 * table_fit(truth, x).G2, rtol=1e-10)
    assert_allclose(bivariate_residuals(truth, many), 30 * bivariate_residuals(truth, x), rtol=1e-10)
    holed = np.where(np.arange(len(many))[:, None] % 10 == [0, 1, 2], np.nan, many)
    assert table_fit(truth, holed).reason.startswith("3,600 rows have missing answers")


def test_arguments_are_checked(fitted):
    _, x, _ = fitted
    for wrong in (0, 2.5, True):
        with pytest.raises(ModelError, match="n_classes"):
            LatentClassAnalysis(wrong).fit(x)


def test_summary(fitted, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _, x, _ = fitted
    model = LatentClassAnalysis(2, random_state=0).fit(pd.DataFrame(x, columns=["walks", "[eats]", "sleeps"]))
    model.summary()
    said = capsys.readouterr().out
    for part in ("2 classes, 3 items", "class 0", "p([eats] = 2)", "entropy R2", "G2 (2 df)", "walks, sleeps"):
        assert part in said
    assert f"{model.G2_:,.4f}  p = {model.G2_p_value_:.4f}" in said
    model.fit(np.where(x == 2, np.nan, x))
    model.summary()
    assert "No G2 and chi2" in capsys.readouterr().out


# -- items among other columns, and tables that are too small ----------------------------------------------------------


def test_binary_items_are_items_of_two_levels(fitted):
    _, x, _ = fitted
    x = x[:, [0, 2]].astype(float)
    p = np.array([[0.2, 0.6], [0.7, 0.3]])
    tables = [np.stack([1 - column, column], axis=1) for column in p.T]
    one, other = (Mixture(f, mixing_proportions=[0.4, 0.6]) for f in (Bernoulli(p), Categorical(tables)))
    assert table_fit(one, x) == table_fit(other, x)
    assert_array_equal(bivariate_residuals(one, x), bivariate_residuals(other, x))
    mixed = Mixture(Columns({"a": Bernoulli(p[:, 0]), "b": Categorical(tables[1])}), mixing_proportions=[0.4, 0.6])
    named = {"a": x[:, 0], "b": x[:, 1]}
    assert_allclose(table_fit(mixed, named).G2, table_fit(one, x).G2, rtol=1e-12)
    assert table_fit(mixed, named).df == table_fit(one, x).df
    assert_allclose(bivariate_residuals(mixed, named), bivariate_residuals(one, x), rtol=1e-12)


def test_items_beside_numbers_have_a_table_of_their_own(fitted):
    truth, x, _ = fitted
    tables = dict(zip("abc", truth.family.tables, strict=True))
    families = {name: Categorical(table) for name, table in tables.items()}
    model = Mixture(Columns({"age": Normal([30.0, 50.0], [9.0, 9.0]), **families}), mixing_proportions=[0.6, 0.4])
    age = np.where(np.arange(400) % 7 == 0, np.nan, 40.0 + np.arange(400) % 5)  # no item: may be missing
    data = {"age": age, **dict(zip("abc", x.T, strict=True))}
    found, alone = table_fit(model, data), table_fit(truth, x)
    assert_allclose([found.G2, found.chi2], [alone.G2, alone.chi2], rtol=1e-12)
    assert (found.df, found.G2_p_value, found.chi2_p_value) == (alone.df, None, None)
    assert "other columns took part" in found.reason
    assert_allclose(bivariate_residuals(model, data), bivariate_residuals(truth, x), rtol=1e-12)
    bound = fit(model, data, stop="iterations", max_iter=0).model
    assert item_names(bound) == ("a", "b", "c")


def test_a_mixture_without_items_has_no_table():
    with pytest.raises(ModelError, match="Categorical or Bernoulli items"):
        table_fit(Mixture(Poisson([1.0, 4.0])), [0, 1, 2])


@pytest.mark.parametrize("family", [Categorical(), Bernoulli()], ids=str)
def test_three_classes_of_three_binary_items_are_not_identified(fitted, family):
    """11 parameters, 7 numbers in the table (Goodman 1974): said by the fit, with what to do."""
    _, x, _ = fitted
    x = np.minimum(x, 1)
    said = fit(Mixture(family, 3), x, random_state=0, n_init=2).warnings[0]
    assert "11 free parameters, and 8 patterns of answers tell at most 7" in said
    assert "fewer components" in said
    for quiet in (
        fit(Mixture(family, 2), x, random_state=0, n_init=2),
        fit(Mixture(family, 3, prior_rows=1.0), x, random_state=0, n_init=2),
        fit(Mixture(family, 3), x, labels=np.arange(400) % 3),
    ):
        assert "identified" not in " ".join(quiet.warnings)


def test_few_patterns_that_occur_identify_no_more_than_they_are():
    rows = np.vstack([np.eye(8), 1 - np.eye(8)])[:10]
    warnings = fit(Mixture(Bernoulli(np.full((2, 8), [[0.4], [0.6]]))), rows, max_iter=3, stop="iterations").warnings
    assert any("11 free parameters ended away from 0 and 1" in one and "only 10 different" in one for one in warnings)


def test_answers_that_the_fit_did_not_see_are_missing_where_that_is_asked_for():
    rng = np.random.default_rng(0)
    answers = {name: rng.choice(np.array(["yes", "no"], dtype=object), 60) for name in ("a", "b", "c")}
    new = {"a": ["yes", "perhaps"], "b": ["no", "no"], "c": ["no", "yes"]}
    with pytest.raises(DataError, match=r'(?s)\'perhaps\'.*unknown="missing" of Categorical or LatentClassAnalysis'):
        LatentClassAnalysis(2, random_state=0).fit(answers).predict_proba(new)
    model = LatentClassAnalysis(2, random_state=0, unknown="missing").fit(answers)
    blank = {**new, "a": ["yes", None]}
    assert_array_equal(model.predict_proba(new), model.predict_proba(blank))
    assert model.partial_fit(new).predict(new).shape == (2,)
    with pytest.raises(ModelError, match="unknown categories"):
        LatentClassAnalysis(2, unknown="guess").fit(answers)
