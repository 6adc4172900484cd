"""Comparison with numbers as they are printed."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose


def assert_printed(found, text: str) -> None:
    """Each number agrees with the printed one to half a unit of its last printed digit: '0.80' is 0.795 to 0.805."""
    words = text.replace(",", " ").split()
    half_units = [0.5 * 10.0 ** -len(word.partition(".")[2]) for word in words]
    found = np.ravel(found)
    assert len(found) == len(words), f"{len(found)} numbers found, {len(words)} printed"
    for number, word, half_unit in zip(found, words, half_units, strict=True):
        assert_allclose(number, float(word), rtol=0, atol=half_unit, err_msg=f"printed: {text}")
