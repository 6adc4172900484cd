"""Student-t rows with missing cells, grouped by which cells are observed.

The observed cells of a row are a Student-t of their own, with the same degrees of freedom v, so that the row's weight u
has, with d_o the number of observed cells and delta_o their squared distance,
    u = (v + d_o) / (v + delta_o)      E log u = digamma((v + d_o) / 2) - log((v + delta_o) / 2)
Given u the missing cells are normal: their mean is that of a normal row, their covariance is divided by u, so that its
part in the sum of u y y' is the same whatever u.
Source: Liu & Rubin (1995), Statistica Sinica 5, 19-39, section 3; Liu, Rubin & Wu (1998), Biometrika 85, 755-770.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import betaln, gammaln

from emix.block import Array
from emix.families.patterns import Moments, find_patterns, rows_of


class Distances(NamedTuple):
    """What the observed cells of rows say."""

    squared: Array
    """(K, B) delta_o, in units of each component's scale."""
    half_log_det: Array
    """(K, B) log |scale of the observed cells| / 2, in the units of the data."""
    n_seen: Array
    """(B,) d_o."""

    def log_density(self, v: Array) -> Array:
        """(K, B), for degrees of freedom v (K,); 0 for rows of which nothing is observed."""
        v, d = v[:, None], np.maximum(self.n_seen, 1.0)
        # log Gamma((v + d) / 2) - log Gamma(v / 2) by the beta function: no cancellation for large v
        log_normaliser = gammaln(d / 2) - betaln(v / 2, d / 2) - d / 2 * np.log(v * np.pi) - self.half_log_det
        found = log_normaliser - (v + d) / 2 * np.log1p(self.squared / v)
        return np.asarray(np.where(self.n_seen > 0, found, 0.0))


def distances_by_pattern(moments: Moments, x: Array, mean: Array, unit: Array) -> Distances:
    """Of rows (B, d) from means (K, d), in the units of the data; `unit` (d,) is that of the moments."""
    patterns, K = find_patterns(x), len(mean)
    squared, half_log_det, n_seen = np.empty((K, len(x))), np.empty((K, len(x))), np.empty(len(x))
    for part in moments.blocks(len(patterns.observed)):
        observed = patterns.observed[part]
        whitening, log_det = moments.whitening(observed)
        for p, seen in enumerate(observed):
            rows = rows_of(patterns, part.start + p)
            apart = (np.where(seen > 0, x[rows], 0.0) - (mean * seen)[:, None]) / unit
            z = apart @ whitening[p].swapaxes(-1, -2)
            squared[:, rows] = (z * z).sum(axis=-1)
            half_log_det[:, rows] = (log_det[p] / 2 + seen @ moments.log_scale)[:, None]
            n_seen[rows] = seen.sum()
    return Distances(squared, half_log_det, n_seen)


def sum_by_pattern(moments: Moments, x: Array, T: Array, weighted_resp: Array, u: Array) -> Array:
    """Expected sums (K, D) of u T, rows (B, d) with T (D, B) 0 where a cell is missing, and u (K, B)."""
    patterns, total = find_patterns(x), np.zeros(())
    weighted = weighted_resp * u
    for part in moments.blocks(len(patterns.observed)):
        observed = patterns.observed[part]
        rows = [rows_of(patterns, part.start + p) for p in range(len(observed))]
        sums = np.stack([weighted[:, own] @ T[:, own].T for own in rows])
        counts = np.stack([weighted_resp[:, own].sum(axis=1) for own in rows])
        total = total + moments.complete(observed, sums, moments.coefficients(observed)[1], counts)
    return np.asarray(total)
