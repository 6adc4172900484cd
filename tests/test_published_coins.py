"""Worked examples of coins whose identity is hidden, compared with every printed digit."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_printed
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import binom

from emix import Bernoulli, Binomial, Mixture, e_step, fit

A, B = 0, 1
SEQUENCES = ["HTTTHHTHTH", "HHHHTHHHHH", "HTHHHHHTHH", "HTHTTTHHTT", "THHHTHHHTH"]
TO_THE_END = {"stop": "parameters", "tol": 1e-12, "max_iter": 100_000}


def two_coins(family=None, **options) -> Mixture:
    return Mixture(Binomial(10, probability=[0.6, 0.5]) if family is None else family, **options)


@pytest.fixture(scope="module")
def heads(published):
    return published("coins_do_batzoglou.csv")["heads"]


# -- five sets of ten tosses: Do & Batzoglou (2008), Nature Biotechnology 26, 897-899, figure 1 ------------------------


def test_first_expectation_step_of_do_batzoglou_2008(heads):
    """Figure 1b prints the responsibilities to two digits and the expected tosses to one; here also to eight."""
    step = e_step(two_coins(), heads)
    assert_printed(step.responsibilities[:, A], "0.45 0.80 0.73 0.35 0.65")
    assert_printed(step.responsibilities[:, A], "0.44914893 0.80498552 0.73346716 0.35215613 0.64721512")
    assert step.statistic_names[1:] == ("heads", "tails")
    assert_printed(step.expected_statistics[:, 1:], "21.3 8.6  11.7 8.4")
    assert_printed(step.maximize().family.probability, "0.71 0.58")


def test_tenth_iteration_of_do_batzoglou_2008(heads):
    """Figure 1b, step 4."""
    result = fit(two_coins(fixed={"mixing_proportions"}), heads, stop="iterations", max_iter=10)
    assert_printed(result.model.family.probability, "0.80 0.52")
    assert result.n_iter == 10


def test_optimum_with_equal_proportions(heads):
    """Do & Batzoglou (2008) with more digits."""
    result = fit(two_coins(fixed={"mixing_proportions"}), heads, **TO_THE_END)
    assert_printed(result.model.family.probability, "0.79678907 0.51958312")
    assert_allclose(result.model.mixing_proportions, [0.5, 0.5], rtol=0, atol=0)
    assert result.converged
    assert result.n_free_parameters == 2


def test_sequences_are_read_as_counts(heads):
    """Do & Batzoglou (2008), figure 1: the sequences themselves."""
    result = fit(two_coins(fixed={"mixing_proportions"}), SEQUENCES, **TO_THE_END)
    assert_printed(result.model.family.probability, "0.79678907 0.51958312")
    counted = fit(two_coins(fixed={"mixing_proportions"}), heads, **TO_THE_END)
    assert result.log_likelihood == counted.log_likelihood


def test_sequences_as_items_lack_the_binomial_coefficients(heads):
    """The same estimates; the likelihood is that of the sequences, not of the number of heads in them."""
    items = two_coins(Bernoulli(probability=[0.6, 0.5], shared=True), fixed={"mixing_proportions"})
    result = fit(items, SEQUENCES, **TO_THE_END)
    assert_printed(result.model.family.probability, "0.79678907 0.51958312")
    counted = fit(two_coins(fixed={"mixing_proportions"}), heads, **TO_THE_END)
    sequences_per_count = [252, 10, 45, 210, 120]  # 10 choose 5, 9, 8, 4, 7
    assert_allclose(counted.log_likelihood - result.log_likelihood, np.log(sequences_per_count).sum(), rtol=1e-13)
    assert_printed(counted.log_likelihood, "-9.79692429")


@pytest.mark.parametrize(
    "labels",
    [[B, A, A, B, A], ["B", "A", "A", "B", "A"], [[0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]],
    ids=["numbers", "names", "q"],
)
def test_all_coins_known(heads, labels):
    """Do & Batzoglou (2008), figure 1a: 24 heads of 30 tosses and 9 of 20."""
    result = fit(Mixture(Binomial(10), 2, fixed={"mixing_proportions"}), heads, labels=labels)
    assert_printed(result.model.family.probability, "0.80 0.45")
    assert_allclose(result.model.family.probability, [24 / 30, 9 / 20], rtol=1e-15)
    joint = np.log(0.5) + binom.logpmf(heads, 10, np.array([0.8, 0.45])[[B, A, A, B, A]])
    assert_allclose(result.log_likelihood, joint.sum(), rtol=1e-14)
    assert result.converged
    assert result.n_iter <= 2


def test_all_coins_known_and_proportions_learned(heads):
    """Figure 1a once more: three of the five sets are from coin A."""
    result = fit(Mixture(Binomial(10), 2), heads, labels=[B, A, A, B, A])
    assert_allclose(result.model.mixing_proportions, [3 / 5, 2 / 5], rtol=1e-15)
    assert_allclose(result.model.family.probability, [24 / 30, 9 / 20], rtol=1e-15)


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("coin", [A, B])
def test_one_coin_known(heads, row, coin):
    """The partially labelled likelihood, maximised directly."""
    labels = np.full(5, -1)
    labels[row] = coin

    def minus_log_likelihood(probability):
        joint = 0.5 * binom.pmf(heads[:, None], 10, probability)
        return -np.log(np.where(labels < 0, joint.sum(axis=1), joint[:, coin])).sum()

    result = fit(two_coins(fixed={"mixing_proportions"}), heads, labels=labels, **TO_THE_END)
    direct = minimize(
        minus_log_likelihood,
        result.model.family.probability + np.array([0.02, -0.03]),
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-15, "maxiter": 2000},
    )
    assert_allclose(result.model.family.probability, direct.x, rtol=0, atol=1e-7)
    assert_allclose(result.log_likelihood, -direct.fun, rtol=1e-13)


def test_known_coin_moves_the_estimates(heads):
    """To know that the first set, of 5 heads, is from coin A draws coin A down to 5 of 10."""
    free = fit(two_coins(fixed={"mixing_proportions"}), heads, **TO_THE_END)
    told = fit(two_coins(fixed={"mixing_proportions"}), heads, labels=[A, -1, -1, -1, -1], **TO_THE_END)
    assert told.model.family.probability[A] < free.model.family.probability[A] - 0.05
    assert_allclose(e_step(told.model, heads, labels=[A, -1, -1, -1, -1]).responsibilities[0], [1, 0], rtol=0, atol=0)


def test_optimum_with_proportions_learned(heads):
    """The five coins of Do & Batzoglou (2008) without the assumption that both coins are drawn equally often."""
    result = fit(two_coins(), heads, **TO_THE_END)
    assert_printed(result.model.family.probability, "0.79336765 0.51391659")
    assert_printed(result.model.mixing_proportions[A], "0.52275132")
    assert_printed(result.log_likelihood, "-9.79541896")
    assert result.n_free_parameters == 3


# -- three coins, twenty sequences of ten: a textbook's worked example -------------------------------------------------

THREE_COINS = [6, 5, 4, 2, 2, 6, 5, 5, 4, 2, 5, 2, 4, 4, 6, 4, 5, 6, 3, 3]
BY_OUTCOME = {
    2: (4, "0.5674795 0.4124300 0.0200905"),
    3: (2, "0.4568744 0.4980674 0.0450583"),
    4: (5, "0.3436451 0.5619435 0.0944114"),
    5: (5, "0.2370680 0.5814960 0.1814361"),
    6: (4, "0.1468149 0.5401758 0.3130094"),
}


@pytest.fixture(scope="module")
def three_coins():
    return Mixture(Binomial(10, probability=[0.4, 0.5, 0.65]), mixing_proportions=[0.25, 0.5, 0.25])


def test_likelihoods_and_joint_of_the_first_sequence(three_coins):
    """Three coins: 6 heads under each coin, and times the coin's proportion."""
    x = np.array([[6.0]])
    likelihood = np.exp(three_coins.family.log_prob(x) + three_coins.family.log_base_measure(x))[:, 0]
    assert_printed(likelihood, "0.1114767 0.2050781 0.2376685")
    assert_printed(likelihood * three_coins.mixing_proportions, "0.0278692 0.1025391 0.0594171")


@pytest.mark.parametrize("outcome", BY_OUTCOME)
def test_responsibilities_of_each_outcome(three_coins, outcome):
    """Three coins: all rows with as many heads share their responsibilities."""
    n_rows, text = BY_OUTCOME[outcome]
    found = e_step(three_coins, THREE_COINS).responsibilities[np.array(THREE_COINS) == outcome]
    assert len(found) == n_rows
    for row in found:
        assert_printed(row, text)


def test_expected_counts_and_heads(three_coins):
    """Three coins: the sums over the rows."""
    step = e_step(three_coins, THREE_COINS)
    counts, heads, tails = step.expected_statistics.T
    assert_printed(counts, "6.6744913 10.5237552 2.8017535")
    assert_allclose(counts.sum(), 20, rtol=1e-14)
    assert_printed(heads, "23.60424 45.02833 14.36743")
    assert_allclose(heads + tails, 10 * counts, rtol=1e-13)


def test_one_iteration_of_three_coins(three_coins):
    """Three coins: the M-step, by `e_step(...).maximize()` and by a fit of one iteration."""
    by_hand = e_step(three_coins, THREE_COINS).maximize()
    by_fit = fit(three_coins, THREE_COINS, stop="iterations", max_iter=1).model
    for model in (by_hand, by_fit):
        assert_printed(model.mixing_proportions, "0.3337246 0.5261878 0.1400877")
        assert_printed(model.family.probability, "0.3536485 0.4278732 0.5128013")


@pytest.mark.parametrize("ending", [{}, TO_THE_END], ids=["default", "to the end"])
def test_the_data_do_not_support_three_coins(three_coins, ending):
    """Three coins: 83 heads in 200 tosses are as well explained by a single coin, and emix says so."""
    result = fit(three_coins, THREE_COINS, **ending)
    assert_printed(result.model.family.probability, "0.415 0.415 0.415")
    assert_printed(result.log_likelihood, "-35.15260583" if ending else "-35.152606")
    assert len(result.warnings) == 1
    assert "the data do not support 3 components, only 1" in result.warnings[0]


def test_the_limit_of_three_coins_is_one_coin(three_coins):
    """Three coins: the log-likelihood is that of one coin of bias 83 / 200."""
    result = fit(three_coins, THREE_COINS, **TO_THE_END)
    assert_allclose(result.model.family.probability, 83 / 200, rtol=0, atol=1e-9)
    assert_allclose(result.log_likelihood, binom.logpmf(THREE_COINS, 10, 83 / 200).sum(), rtol=1e-13)


def test_two_coins_that_differ_are_not_called_equal(heads):
    """The warning of the three coins can fail to come."""
    assert fit(two_coins(), heads).warnings == []
