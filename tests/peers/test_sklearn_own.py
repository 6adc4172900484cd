"""scikit-learn's own tests of its GaussianMixture, run on ours.

They come with scikit-learn. Each test function is taken from where it is installed and sees our class by the name
`GaussianMixture`. What is left out is left out by name: a test that is not in the table is run, also one that a later
version of scikit-learn adds.
"""

import types

import pytest
import sklearn.mixture
from sklearn.mixture.tests import test_gaussian_mixture as of_gaussians
from sklearn.mixture.tests import test_mixture as of_mixtures

from emix import GaussianMixture

MADE_FOR = "1.9"
"""The version whose tests the table was made for."""

PRIVATE = "calls scikit-learn's private functions alone, and fits nothing"
ARRAY_API = "arrays of other libraries: emix computes on NumPy arrays"
LEFT_OUT = {
    "test_suffstat_sk_full": PRIVATE,
    "test_suffstat_sk_tied": PRIVATE,
    "test_suffstat_sk_diag": PRIVATE,
    "test_gaussian_suffstat_sk_spherical": PRIVATE,
    "test_compute_log_det_cholesky": PRIVATE,
    "test_gaussian_mixture_log_probabilities": PRIVATE,
    "test_gaussian_mixture_precisions_init": "sets the start by the private methods _set_parameters and _initialize",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": "counts calls of a private function",
    "test_gaussian_mixture_setting_best_params": "asks a component of one row to go on with the variance of 4e-16 that "
    "rounding leaves it (it is 0: the next row has a responsibility of exp(-58646)); for emix it collapsed",
    "test_gaussian_mixture_array_api_compliance": ARRAY_API,
    "test_gaussian_mixture_raises_where_array_api_not_implemented": ARRAY_API,
}

# scikit-learn's suite does not turn warnings into errors; what its tests expect of warnings they say themselves
pytestmark = pytest.mark.filterwarnings("default")


def own_tests(module):
    """The module's test functions, each seeing our class in the place of scikit-learn's."""
    names = {**vars(module), "GaussianMixture": GaussianMixture}
    found = {name: one for name, one in vars(module).items() if name.startswith("test_") and callable(one)}
    return {name: _with_names(one, names) for name, one in found.items() if name not in LEFT_OUT}


def _with_names(test, names):
    copy = types.FunctionType(test.__code__, names, test.__name__, test.__defaults__, test.__closure__)
    copy.pytestmark = [_of_ours(mark) for mark in getattr(test, "pytestmark", [])]
    return copy


def _of_ours(mark):
    """Of estimators among the parameters ours alone."""
    if mark.name != "parametrize" or not any(type(one) is sklearn.mixture.GaussianMixture for one in mark.args[1]):
        return mark
    return pytest.mark.parametrize(mark.args[0], [GaussianMixture()]).mark


globals().update(own_tests(of_gaussians) | own_tests(of_mixtures))


def test_table_names_only_tests_that_exist():
    if not sklearn.__version__.startswith(MADE_FOR):  # its tests are its own to rename; those left out do no harm
        pytest.skip(f"scikit-learn {MADE_FOR} is what the table names tests of; another version may have renamed some")
    assert set(LEFT_OUT) <= {*vars(of_gaussians), *vars(of_mixtures)}
