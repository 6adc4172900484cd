"""Comparison with published numbers."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from emix import Mixture


def assert_printed(found, text: str) -> None:
    """Each number agrees with the printed one to half a unit of its last printed digit: '0.80' is 0.795 to 0.805."""
    words = text.replace(",", " ").split()
    half_units = [0.5 * 10.0 ** -len(word.partition(".")[2]) for word in words]
    found = np.ravel(found)
    assert len(found) == len(words), f"{len(found)} numbers found, {len(words)} printed"
    for number, word, half_unit in zip(found, words, half_units, strict=True):
        assert_allclose(number, float(word), rtol=0, atol=half_unit, err_msg=f"printed: {text}")


def assert_near(found, expected, tolerance) -> None:
    assert_allclose(found, expected, rtol=0, atol=tolerance)


def assert_relative(found, expected, tolerance) -> None:
    """Relative to the size of each number."""
    assert_allclose(found, expected, rtol=tolerance, atol=1e-12)


def sorted_by(model, parameter) -> Mixture:
    """Components in the order of a parameter, of its first column where it has several."""
    values = np.asarray(getattr(model.family, parameter))
    return model.reordered(np.argsort(values.reshape(len(values), -1)[:, 0]))
