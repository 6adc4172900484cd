"""Data and comparisons that the tests of the driver and of fits share."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

import emix

NOTICES = np.repeat(np.arange(10.0), [162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
"""Death notices per day (Hasselblad 1969): two Poissons that overlap so much that EM takes thousands of steps."""


def two_normals(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.4, rng.normal(-1, 1, n), rng.normal(2, 1.5, n))


def assert_same_bits(one: emix.FitResult, other: emix.FitResult) -> None:
    assert one.log_likelihood == other.log_likelihood
    assert [r.log_likelihood for r in one.history] == [r.log_likelihood for r in other.history]
    assert one.starts == other.starts
    assert one.model.parameters.keys() == other.model.parameters.keys()
    for name, value in one.model.parameters.items():
        assert_array_equal(value, other.model.parameters[name])


def assert_same_fit(one: emix.FitResult, other: emix.FitResult, rtol: float = 1e-9) -> None:
    """Components in the same order: the starts are the same too."""
    assert_allclose(one.log_likelihood, other.log_likelihood, rtol=rtol)
    for name, value in one.model.parameters.items():
        pairs = zip(value, other.model.parameters[name], strict=True)  # of one array per column, or per component
        for own, its in pairs:
            assert_allclose(own, its, rtol=rtol, atol=1e-12, err_msg=name)
