"""scikit-learn's own checks of its estimator contract; one cannot be met by an estimator of categories."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from emix import GaussianMixture, LatentClassAnalysis, MixtureModel

pytestmark = [
    # the checks fit unweighted noise for a handful of iterations and look at other things than convergence
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # skips of checks that a missing optional package would need are announced by a warning
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


CONTINUOUS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "draws cells from a continuum whatever the estimator's tags say: each is a level of its own, and the "
        "prediction meets levels that the fit left out"
    )
}


def expected_to_fail(estimator):
    return CONTINUOUS if isinstance(estimator, LatentClassAnalysis) else {}


@parametrize_with_checks(
    [MixtureModel(), MixtureModel(family="normal", n_init=2), GaussianMixture(), LatentClassAnalysis()],
    expected_failed_checks=expected_to_fail,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)
