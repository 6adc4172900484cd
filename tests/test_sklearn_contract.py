"""scikit-learn's own checks of its estimator contract, none excluded."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from emix import GaussianMixture, MixtureModel

pytestmark = [
    # the checks fit unweighted noise for a handful of iterations and look at other things than convergence
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # skips of checks that a missing optional package would need are announced by a warning
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks([MixtureModel(), MixtureModel(family="normal", n_init=2), GaussianMixture()])
def test_scikit_learn_check(estimator, check):
    check(estimator)
