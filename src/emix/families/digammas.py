"""Roots and differences of log Gamma and digamma that keep their digits: what Gamma, Beta and Student-t solve.

Source: Abramowitz & Stegun (1964), 6.1.41, 6.3.18 and 6.4.12 (series); Minka (2002), Estimating a Gamma distribution
(start values, equation 13).
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from emix.block import Array
from emix.errors import RootNotFoundError
from emix.families.normal import LOG_2PI

MAX_NEWTON = 50
ASYMPTOTIC = 20.0
"""Above this shape log a - digamma(a) is summed as its asymptotic series: the difference would lose its digits."""


def log_minus_digamma(a: Array) -> Array:
    """Log a - digamma(a) > 0, elementwise, with all its digits."""
    u = 1 / (a * a)
    tail = u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u * (1 / 132)))))  # next: 1e-16 of it at 20
    return np.where(a > ASYMPTOTIC, 1 / (2 * a) + tail, np.log(a) - digamma(a))


def gap_slope(a: Array) -> Array:
    """Derivative of `log_minus_digamma`."""
    u = 1 / (a * a)
    tail = u * (1 / 6 - u * (1 / 30 - u * (1 / 42 - u * (1 / 30 - u * (5 / 66)))))
    return np.where(a > ASYMPTOTIC, -u / 2 - tail / a, 1 / a - polygamma(1, a))


def log_normaliser_at_scale(a: Array, r: Array) -> Array:
    """Return a log r - log Gamma(a) - r, (K, d).

    Each term is about a log a, the sum about log(a) / 2: above a shape of 20 Stirling's series replaces log Gamma, and
    what is left of a log(r / a) + a - r is written in the small number (r - a) / a.
    """
    e = (r - a) / a
    u = 1 / (a * a)
    remainder = (1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u * (1 / 1188))))) / a
    with np.errstate(invalid="ignore"):
        stirling = a * (np.log1p(e) - e) + 0.5 * (np.log(a) - LOG_2PI) - remainder
    return np.where(a > ASYMPTOTIC, stirling, a * np.log(r) - gammaln(a) - r)


def shape_from_gap(gap: Array) -> Array:
    """The root a of log a - digamma(a) = gap > 0, elementwise.

    Newton's method on 1 / a (Minka 2002): the function is convex there and the start, which is right to 1.5 %, needs
    about four steps. A step that leaves the positive numbers is halved.

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-13 of the shape after 50 steps; rounding moves the root by less than 3e-14.
    """
    root = np.sqrt((gap - 3) ** 2 + 24 * gap)
    # 3 - gap + root cancels where gap > 3: there use the conjugate, 24 gap / (root + gap - 3)
    a = np.where(gap < 3, 3 - gap + root, 24 * gap / (root + np.abs(gap - 3))) / (12 * gap)
    for _ in range(MAX_NEWTON):
        value = log_minus_digamma(a) - gap
        slope = gap_slope(a)
        step = value / slope
        new = np.where(a - step > 0, a - step, a / 2)
        if (np.abs(new - a) <= 1e-13 * a).all():
            return np.asarray(new)
        a = new
    found = {"log mean minus mean log": gap}
    raise RootNotFoundError.newton(what="the Gamma shape", max_steps=MAX_NEWTON, found=found)


def shape_from_digamma(target: Array) -> Array:
    """The root a of digamma(a) = target, elementwise, by Newton's method from Minka's start (2002, appendix C).

    Raises
    ------
    RootNotFoundError
        A step is still larger than 1e-12 of the shape after 50 steps; digamma is concave, so it never overshoots.
    """
    a = np.where(target >= -2.22, np.exp(target) + 0.5, -1 / (np.minimum(target, -2.22) - digamma(1.0)))
    for _ in range(MAX_NEWTON):
        step = (digamma(a) - target) / polygamma(1, a)
        new = np.where(a - step > 0, a - step, a / 2)
        if (np.abs(new - a) <= 1e-12 * a).all():
            return np.asarray(new)
        a = new
    found = {"digamma of it": target}
    raise RootNotFoundError.newton(what="the Gamma shape", max_steps=MAX_NEWTON, found=found)
