"""What a statistician would point out about a fit, in words."""

from __future__ import annotations

import itertools
import math

import numpy as np

from emix.block import Array
from emix.centred import CentredMixture
from emix.data.protocol import RowSource
from emix.data.source import parts_of
from emix.em.driver import EMResult
from emix.families import Bernoulli, Categorical, Columns, Family
from emix.kernels.reference import responsibilities
from emix.model import Mixture
from emix.results import StartRecord, StopReason

NARROW = 1e-4
"""A variance below this share of the column's (a standard deviation of 1 %) is pointed out."""
FEW_ROWS = 10
"""Rows per column and one more, of average weight, from which a narrow component is believed."""
NAMED = 5
"""Rows that are named of a component that collapsed."""
REMEDIES = (
    "Remedies: fewer components or a simpler covariance; more starts (n_init); a floor for the variances "
    "(variance_floor=0.001 of Normal, LogNormal or MultivariateNormal); or a weak prior (prior_rows=1.0 of Mixture)."
)
BOUNDARY = 1e-6
"""A probability this near to 0 or 1 ended there."""
EQUAL = 0.01
"""Nats: two components are called equal if the log-likelihood, even were the labels known, would not lose more by
merging them. Components that differ by one standard error of one parameter would lose 1/2."""


def advice(run: EMResult, starts: list[StartRecord], source: RowSource) -> list[str]:
    """Warnings, most serious first; empty where there is nothing to say."""
    model: Mixture = run.model
    S = run.expectation.statistics
    found = [*_empty(model, S, source.n_rows), *_collapsed(model, S, source), *_disagreement(run, starts)]
    found += [f"component {name_of(model, k)} {text}" for k, text in model.family.remarks()]
    if not isinstance(model, CentredMixture):  # whose components lie far apart, or are narrow
        found[:0] = _equal(model, model.family.whole(S))
    found[:0] = _unidentified(model, source)
    n_failed = sum(start.stop_reason is StopReason.DEGENERATE for start in starts)
    if n_failed:
        first = next(start.message for start in starts if start.stop_reason is StopReason.DEGENERATE)
        found.append(
            f"{n_failed} of {len(starts)} starts ended in a degenerate component and were left out. {first} {REMEDIES}"
        )
    if source.n_unobserved:
        found.append(_unobserved(source.n_unobserved, model.family))
    if not run.is_monotone:
        found.append(
            "a constant is added to each variance (reg_covar): whether the log-likelihood falls was not checked."
        )
    return found


def _unobserved(n: int, family: Family) -> str:
    """That rows count for nothing, and why: all of their cells are missing, or some of columns that go together."""
    rows, have, lack, count = (
        ("1 row", "has", "lacks", "counts") if n == 1 else (f"{n:,} rows", "have", "lack", "count")
    )
    parts = [] if family.binding is None else parts_of(family, family.binding.schema)
    joint = [family.columns[group] for one, group in parts if one.support.missing_is_joint]
    groups = [[f"'{name}'" for name in group] for group in joint if len(group) > 1]
    if not groups:
        return f"{rows} {have} no observed cell and {count} for nothing."
    if len(parts) == 1:
        return f"{rows} {lack} a value of {' or '.join(groups[0])}, which count only together, and {count} for nothing."
    some = ", or ".join(" and ".join(group) for group in groups)
    return (
        f"{rows} {have} no observed cell but perhaps one of {some}, which count only together, and {count} for nothing."
    )


def _unidentified(model: Mixture, source: RowSource) -> list[str]:
    """Items whose table has too few cells for the parameters, or too few that occur for those off the boundary.

    The log-likelihood depends on the parameters through the probabilities of the patterns alone (Goodman 1974).
    Known labels and a prior tell more.
    """
    if source.knowledge is not None or model.prior_rows or model.latent_size == 1:
        return []
    families = [part.family for part in model.family.parts] if isinstance(model.family, Columns) else [model.family]
    if not all(isinstance(one, Categorical | Bernoulli) and one.options.get("prior") is None for one in families):
        return []
    n_patterns, n_free = math.prod(_n_answers(one) for one in families), model.n_free_parameters
    remedy = "ask for fewer components, bring more items, or hold parameters fixed."
    if n_patterns - 1 < n_free:
        return [
            f"the model is not identified: it has {n_free} free parameters, and {n_patterns} patterns of answers tell "
            f"at most {n_patterns - 1}. Other parameters fit as well; {remedy}"
        ]
    n_inside = min(n_free, model.latent.n_free_parameters + sum(_n_inside(one) for one in families))
    n_distinct = source.n_distinct(n_inside)
    if n_distinct < n_inside:
        return [
            f"the model may not be identified: {n_inside} free parameters ended away from 0 and 1, and the rows have "
            f"only {n_distinct} different patterns of answers. Other parameters may fit as well; {remedy}"
        ]
    return []


def _n_answers(family: Family) -> int:
    """Cells of the table of a family's items; of tosses of one coin only their number of heads matters."""
    if isinstance(family, Categorical):
        return math.prod(p.shape[1] for p in family.tables)
    d = len(family.columns)
    return d + 1 if getattr(family, "shared", False) else 2**d


def _n_inside(family: Family) -> int:
    """Free parameters of a family that are not at 0 or 1."""
    if family.fixed.issuperset(family.spaces):
        return 0
    if isinstance(family, Categorical):
        return sum(int(np.maximum((p > BOUNDARY).sum(axis=1) - 1, 0).sum()) for p in family.tables)
    p = family.parameters["probability"]
    return int(((p > BOUNDARY) & (p < 1 - BOUNDARY)).sum())


def rows_of(model: Mixture, k: int, source: RowSource) -> str:
    """A sentence that names the rows, of those that count, that are most of a component; empty where none are."""
    shares = [responsibilities(model.log_joint(chunk))[0][k] for chunk in source.chunks]
    share = np.concatenate(shares)
    rows = np.argsort(-share, kind="stable")[: NAMED + 1]
    rows = rows[share[rows] > 0.5]
    if len(rows) == 0:
        return ""
    n_more = int((share > 0.5).sum()) - len(rows[:NAMED])
    places = [int(row if source.rows is None else source.rows[row]) for row in rows[:NAMED]]
    return f"It holds {', '.join(source.where(row) for row in places)}{f' and {n_more:,} more' if n_more else ''}."


def name_of(model: Mixture, k: int) -> str:
    """A component in words."""
    if model.has_noise and k == model.latent_size - 1:
        return f"{k} (noise)"
    return str(k) if model.component_names is None else f"{k} ({model.component_names[k]})"


def _empty(model: Mixture, S: Array, n_rows: int) -> list[str]:
    """Components that hold less than a thousandth of an average row."""
    return [
        f"component {name_of(model, k)} is empty: its expected count is {count:.2g}. "
        + ("Leave the noise out." if model.has_noise and k == model.latent_size - 1 else "Ask for fewer components.")
        for k, count in enumerate(S[:, 0])
        if count < 1e-3 * S[:, 0].sum() / max(n_rows, len(S))
    ]


def _equal(model: Mixture, S: Array) -> list[str]:
    """Groups of components that ended up equal.

    For members of an exponential family the symmetric Kullback-Leibler divergence is (c_i - c_j) . (mean T under i -
    mean T under j); with the counts it bounds what the complete-data log-likelihood would lose by merging the two.
    """
    if not model.family.is_linear(is_complete=True):
        return []
    S = S[: len(S) - model.has_noise]
    K, C, counts = len(S), model.family.coefficients(), S[:, 0]
    alive = np.flatnonzero(counts > 1e-8 * counts.sum())
    if len(alive) < 2 or model.family.fixed.issuperset(model.family.spaces):
        return []
    means = S[:, 1:] / np.maximum(counts, 1e-300)[:, None]
    group = np.arange(K)
    for i, j in itertools.combinations(alive, 2):
        difference = np.where((C[i] > -1e25) & (C[j] > -1e25), C[i] - C[j], np.sign(C[i] - C[j]) * 1e3)
        divergence = float(difference @ (means[i] - means[j]))
        if counts[i] * counts[j] / (counts[i] + counts[j]) * divergence / 2 < EQUAL:
            group[group == group[j]] = group[i]
    found = []
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        if len(members) > 1:
            names = ", ".join(name_of(model, int(k)) for k in members[:-1]) + f" and {name_of(model, int(members[-1]))}"
            n_different = len(np.unique(group))
            found.append(
                f"components {names} ended up equal: the data do not support {K} components, "
                f"only {n_different}. Ask for {n_different}."
            )
    return found


def _collapsed(model: Mixture, S: Array, source: RowSource) -> list[str]:
    """Components that are very narrow, and on few rows."""
    few = FEW_ROWS * (len(model.family.columns) + 1) * S[:, 0].sum() / source.n_rows
    ratio, names = model.family.narrowness()
    found = []
    for k in range(len(ratio)):
        if ratio.shape[1] and ratio[k].min() < NARROW and S[k, 0] < few:
            j = int(ratio[k].argmin())
            found.append(
                f"the variance of component {name_of(model, k)} has nearly collapsed: in '{names[j]}' it is "
                f"{ratio[k, j]:.1e} of the whole column's, on rows of total weight {S[k, 0]:.4g}. Its likelihood may "
                f"mean nothing: ask for fewer components or a simpler covariance."
            )
    return found


def _disagreement(run: EMResult, starts: list[StartRecord]) -> list[str]:
    ended = [start for start in starts if start.stop_reason.converged]
    if len(ended) < 2:
        return []
    best = max(start.log_likelihood + start.log_prior for start in ended)
    far = [start for start in ended if best - start.log_likelihood - start.log_prior > 0.01]
    if not far:
        return []
    worst = min(start.log_likelihood + start.log_prior for start in far)
    alone = len(ended) - len(far) == 1
    return [
        f"the starts disagree on the optimum: {len(far)} of {len(ended)} that ran to the end stopped lower, by up to "
        f"{best - worst:.3g} nats{'; only one found the best' if alone else ''}. Try more starts (n_init)."
    ]
