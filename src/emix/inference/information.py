"""The information that rows carry about the parameters of a mixture, in its unconstrained coordinates.

With g_ik the gradient of row i's log joint with component k and r_ik the responsibilities,
    row score              s_i = sum_k r_ik g_ik                                        (Fisher's identity)
    complete information   - sum_i w_i sum_k r_ik (second derivatives of the log joint)
    missing information    sum_i w_i (sum_k r_ik g_ik g_ik' - s_i s_i')
    observed information   complete - missing, minus the second derivatives of the log-likelihood
    outer product          sum_i w_i s_i s_i'
A weight of 3 equals the row three times. Two passes over the rows, whatever the number of parameters, where
log-densities are linear in the statistics; else a pass for each of the few coordinates of one component.
Source: Louis (1982), Journal of the Royal Statistical Society B 44, 226-233; Oakes (1999), ibid. 61, 479-482.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emix.block import Array, Chunk
from emix.centred import CentredMixture
from emix.data.source import InMemorySource
from emix.errors import ImpossibleRowError
from emix.families import Columns
from emix.families.entries import to_vector as entries_to_vector
from emix.inference.derivatives import (
    FEW,
    LONGEST,
    Colours,
    Differences,
    Differentiable,
    coloured,
    differences,
    rows_of,
)
from emix.inference.readings import Reading, bounded_readings, groups_of, proportions_reading
from emix.inference.shares import share_information, share_slopes
from emix.kernels import reference
from emix.model import Mixture
from emix.spaces import Nonnegative, Probability, Simplex
from emix.threads import blas_limited

NUMBERS = 2_000_000
"""Row scores that are held at once."""
SIZEABLE = 1e3
"""Sum of a component's coefficients from which it is read about its own mean, so that differences keep their digits."""


@dataclass(frozen=True)
class Part:
    """One family's share of the coordinates, with the derivatives of what it adds to the log joint.

    Attributes
    ----------
    subject : Differentiable
        The family as a function of its coordinates.
    start : int
        Where its coordinates begin among all.
    weights : ndarray of shape (K, E)
        Of the entries: expected statistics, and 1 for the log prior.
    """

    subject: Differentiable
    start: int
    weights: Array
    count: Array
    entries: Callable[[Array], Array]

    @property
    def n_entries(self) -> int:
        """E."""
        return len(self.weights[0])

    @cached_property
    def colours(self) -> Colours:
        """Of what the family adds to the log joint, and of what people read."""
        return coloured(self._whole, self.subject.vector, by_component=not self.subject.is_linear)

    def _whole(self, vector: Array) -> Array:
        return np.concatenate([self.entries(vector), self.subject.read(vector)], axis=1)

    @cached_property
    def of_entries(self) -> Differences:
        """The entries alone, with the steps that suit them."""
        own = [owner[:, : self.n_entries] for owner in self.colours.owners]
        colours = Colours(self.colours.members, own)
        limit = np.where(self.is_bounded(), LONGEST, np.inf)
        return differences(self.entries, self.subject.vector, colours, self.weights, self.count, limit)

    @cached_property
    def _first(self) -> list[Array]:
        """Of each colour, derivatives of entries and readings (K, E + R)."""
        whole = Differences(self._whole, self.subject.vector, self.colours, self.of_entries.steps)
        return [whole.first(c) for c in range(len(self.colours.members))]

    def jacobian(self, k: int) -> tuple[NDArray[np.intp], Array]:
        """Coordinates that move component k, (a,), and derivatives of its entries and readings, (E + R, a)."""
        owners = [owner[k] for owner in self.colours.owners]
        members = np.unique(np.concatenate([np.zeros(0, dtype=np.intp), *(own[own >= 0] for own in owners)]))
        J = np.zeros((self.n_entries + len(self.subject.readings), len(members)))
        for own, slope in zip(owners, self._first, strict=True):
            used = np.flatnonzero(own >= 0)
            J[used, np.searchsorted(members, own[used])] = slope[k, used]
        return members, J

    @cached_property
    def jacobians(self) -> list[tuple[NDArray[np.intp], Array]]:
        """Of all components."""
        return [self.jacobian(k) for k in range(len(self.count))]

    def held_at_bound(self) -> NDArray[np.bool_]:
        """(p,) coordinates whose parameters lie at a finite bound."""
        held = np.zeros(len(self.subject.vector), dtype=np.bool_)
        for r, is_held in bounded_readings(self.subject.family, self.subject.readings).items():
            for owner in self.colours.owners:
                moved = owner[is_held, self.n_entries + r]
                held[moved[moved >= 0]] = True
        return held

    def is_bounded(self) -> NDArray[np.bool_]:
        """(p,) coordinates that are infinite where their parameter is at its boundary."""
        family, parts = self.subject.family, [np.zeros(0, dtype=np.bool_)]
        for name, value in family.parameters.items():
            if name not in family.fixed:
                space = family.space(name)
                bounded = isinstance(space, Nonnegative | Probability | Simplex)
                own = family.constraints.of(name)
                n = len(entries_to_vector(family, name)) if own else space.n_free(value)
                parts.append(np.full(n, bounded))
        return np.concatenate(parts)

    def scores(self, cells: Array) -> list[Array]:
        """Of each component, derivatives of the log-density of rows (B, d) by its coordinates, (a, B)."""
        subject, B = self.subject, len(cells)
        if subject.is_linear:
            found = []
            for ks, reader in subject.readers:
                T = reader.statistics(cells)
                own = range(len(self.count)) if ks is None else ks
                found += [self.jacobians[k][1][: len(T)].T @ T for k in own]
            return found
        owners = []
        for owner in self.colours.owners:  # one coordinate of each component
            owners.append(np.broadcast_to(owner.max(axis=1)[:, None], (len(owner), B)))
        rows = Differences(
            lambda vector: np.concatenate([one.log_prob(cells) for one in subject.families(vector)]),
            subject.vector,
            Colours(self.colours.members, owners),
            self.of_entries.steps,
        )
        slopes = [rows.first(c) for c in range(len(owners))]
        found = []
        for k, (members, _) in enumerate(self.jacobians):
            G = np.zeros((len(members), B))
            for owner, slope in zip(owners, slopes, strict=True):
                if owner[k, 0] >= 0:
                    G[np.searchsorted(members, owner[k, 0])] = slope[k]
            found.append(G)
        return found


@dataclass(frozen=True)
class Information:
    """Of a mixture and its rows, over its p free coordinates.

    Attributes
    ----------
    log_likelihood : float
        Total, weighted, in nats.
    is_free : ndarray of shape (p,)
        Which coordinates the rows can tell: not those at a boundary, nor of a component without rows. The matrices are
        of these alone.
    complete, observed, outer : ndarray of shape (q, q)
        See the module; with the prior's second derivatives, where there is a prior.
    score : ndarray of shape (q,)
        Gradient of the log-likelihood: 0 at a maximum, without a prior.
    """

    model: Mixture
    source: InMemorySource
    parts: list[Part]
    log_likelihood: float
    is_free: NDArray[np.bool_]
    complete: Array
    observed: Array
    outer: Array
    score: Array

    @property
    def vector(self) -> Array:
        """(p,) the coordinates."""
        return self.model.to_vector()

    def row_scores(self) -> Iterator[tuple[slice, Array]]:
        """Rows and their scores (B, q), tile by tile."""
        for tile, scores in _row_scores(self.model, self.source, self.parts, self.is_free):
            yield slice(tile.start, tile.start + len(tile.x)), scores.total.T

    def readings(self) -> list[tuple[Reading, int, float, Array]]:
        """Everything people read, of every component: what, component, value, derivatives (p,) by all coordinates."""
        model, p = self.model, len(self.is_free)
        found: list[tuple[Reading, int, float, Array]] = []
        shares, slopes = model.latent.mixing_proportions, share_slopes(model)
        for k, share in enumerate(shares):
            gradient = np.zeros(p)
            gradient[: len(slopes[k])] = share * slopes[k]
            found.append((proportions_reading(), k, float(share), gradient))
        for part in self.parts:
            values = part.subject.family.parameters
            for r, one in enumerate(part.subject.readings):
                numbers = one.read(values)
                for k, (members, J) in enumerate(part.jacobians):
                    gradient = np.zeros(p)
                    if len(members):
                        gradient[part.start + members] = J[part.n_entries + r]
                    found.append((one, k, float(numbers[k]), gradient))
        return found


def information(model: Mixture, source: InMemorySource) -> Information:
    """Of a model with parameters, bound to the rows of the source.

    Raises
    ------
    ImpossibleRowError
        A row that counts is impossible under every component.
    """
    with blas_limited(), np.errstate(under="ignore"):
        subjects = _subjects(model, source)
        log_likelihood, counts, sums = _first_pass(model, source, subjects)
        n_latent = model.latent.n_free_parameters
        parts, start = [], n_latent
        for subject, S in zip(subjects, sums, strict=True):
            parts.append(_part(model, source, subject, S, counts[: len(S)], start))
            start += len(subject.vector)
        complete, is_free = np.zeros((start, start)), np.zeros(start, dtype=np.bool_)
        if n_latent:
            complete[:n_latent, :n_latent] = share_information(model, counts)
            is_free[:n_latent] = np.diagonal(complete)[:n_latent] >= FEW
        for part in parts:
            own = slice(part.start, part.start + len(part.subject.vector))
            complete[own, own] = -_second(model, source, part)
            is_free[own] = _is_told(part, np.diagonal(complete)[own])
        M, outer, score = _second_pass(model, source, parts, is_free)
        complete = complete[np.ix_(is_free, is_free)]
        return Information(model, source, parts, log_likelihood, is_free, complete, complete - M + outer, outer, score)


def _subjects(model: Mixture, source: InMemorySource) -> list[Differentiable]:
    """The families, each with how it is to be read."""
    found = []
    for group in groups_of(model.family):
        family, is_apart = group.family, False
        is_linear = family.is_linear(is_complete=source.is_complete)
        if family.can_be_centred and not model.prior_rows and is_linear:
            sizes = np.abs(family.coefficients()).sum(axis=1)
            is_apart = isinstance(model, CentredMixture) or bool((sizes > SIZEABLE).any())
        found.append(Differentiable(group, is_apart, is_linear))
    return found


def _is_told(part: Part, complete: Array) -> NDArray[np.bool_]:
    """(p,) which coordinates the rows tell."""
    subject, p = part.subject, len(part.subject.vector)
    rows = np.zeros(p)
    for owner in part.colours.owners:
        rows = np.maximum(rows, rows_of(owner, part.count, p))
    told = np.isfinite(subject.vector) & (rows >= FEW) & ~part.held_at_bound()
    return np.asarray(told & (~part.is_bounded() | (complete >= FEW)))


# -- passes over the rows --------------------------------------------------------------------------------------------


def _tiles(source: InMemorySource, size: int) -> Iterator[Chunk]:
    """Chunks of at most so many rows."""
    for chunk in source.chunks:
        for start in range(0, len(chunk.x), size):
            rows = slice(start, start + size)
            yield replace(
                chunk,
                x=chunk.x[rows],
                weight=chunk.weight[rows],
                start=chunk.start + start,
                labels=None if chunk.labels is None else chunk.labels[rows],
                knowledge=None if chunk.knowledge is None else chunk.knowledge[rows],
                log_base=None,
                statistics=None,
                codes=None,
                coding=None,
                plan=None,
                patterns=None,
            )


def _weighted(model: Mixture, tile: Chunk) -> tuple[Array, Array]:
    """Responsibilities (K, B), 0 for rows of weight 0, and log-densities (B,)."""
    resp, log_evidence = reference.responsibilities(model.log_joint(tile))
    counts = tile.weight > 0
    bad = counts & ~np.isfinite(log_evidence)
    if bad.any():
        raise ImpossibleRowError.at(tile.start + int(np.argmax(bad)))
    resp[:, ~counts] = 0.0
    return resp, np.where(counts, log_evidence, 0.0)


def _first_pass(
    model: Mixture, source: InMemorySource, subjects: list[Differentiable]
) -> tuple[float, Array, list[Array]]:
    """Log-likelihood, expected counts (K,) and of each family the sums (K, D), those of None for no coefficients."""
    log_likelihood, counts = 0.0, np.zeros(model.latent_size)
    sums: list[Array] = [np.zeros(())] * len(subjects)
    for tile in _tiles(source, max(256, NUMBERS // (8 * len(model.family.statistic_names)))):
        resp, log_evidence = _weighted(model, tile)
        counted = tile.weight > 0
        base = model.family.log_base_measure(tile.cells)
        log_likelihood += float(tile.weight @ log_evidence + tile.weight[counted] @ base[counted])
        resp *= tile.weight
        counts += resp.sum(axis=1)
        for i, subject in enumerate(subjects):
            cells = _cells(tile, subject)
            own = [reader.accumulate(cells, _rows(resp, ks, subject)) for ks, reader in subject.readers]
            sums[i] = sums[i] + np.concatenate(own)
    return log_likelihood, counts, sums


def _cells(tile: Chunk, subject: Differentiable) -> Array:
    return np.ascontiguousarray(tile.cells[:, subject.group.columns])


def _rows(resp: Array, ks: NDArray[np.intp] | None, subject: Differentiable) -> Array:
    """Responsibilities of these components; of all that the family has, noise left out, for None."""
    return resp[: subject.family.n_components] if ks is None else resp[ks]


def _part(model: Mixture, source: InMemorySource, subject: Differentiable, S: Array, count: Array, start: int) -> Part:
    if subject.has_coefficients:
        if model.prior_statistics is not None:
            S = S + _prior_sums(model, subject)
        weights = np.concatenate([S, np.ones((len(S), 1))], axis=1)
        return Part(subject, start, weights, count, subject.entries)

    tiles = [(_cells(tile, subject), tile) for tile in _tiles(source, NUMBERS // 8)]
    rows = [(cells, _rows(_weighted(model, tile)[0] * tile.weight, None, subject)) for cells, tile in tiles]

    def entries(vector: Array) -> Array:
        """(K, 1) expected log-density of the rows."""
        family = subject.families(vector)[0]
        return np.asarray(sum((family.log_prob(cells) * resp).sum(axis=1) for cells, resp in rows))[:, None]

    return Part(subject, start, np.ones((len(count), 1)), count, entries)


def _prior_sums(model: Mixture, subject: Differentiable) -> Array:
    """(D,) what the prior adds to the sums of each component of one family."""
    whole = model.prior_rows * model.prior_statistics
    if not isinstance(model.family, Columns):
        return np.asarray(whole)
    for part, rows in zip(model.family.parts, model.family.rows, strict=True):
        if part.family is subject.family:
            return np.asarray(whole[rows])
    raise AssertionError("a part of the family is none of its parts")


def _second(model: Mixture, source: InMemorySource, part: Part) -> Array:
    """(p, p) derivatives of the expected score with the responsibilities held."""
    H = part.of_entries.second(part.weights)
    subject = part.subject
    if subject.is_linear or not subject.has_coefficients:
        return H
    changes: list[Any] = [0.0] * len(part.colours.members)  # of the sums, which depend on the parameters too
    steps = part.of_entries
    for tile in _tiles(source, NUMBERS // 8):
        resp = _rows(_weighted(model, tile)[0] * tile.weight, None, subject)
        cells = _cells(tile, subject)

        def sums(vector: Array, cells: Array = cells, resp: Array = resp) -> Array:
            return subject.families(vector)[0].accumulate(cells, resp)

        K, D = len(resp), part.n_entries - 1
        owners = [np.broadcast_to(owner.max(axis=1)[:, None], (K, D)) for owner in part.colours.owners]
        own = Differences(sums, subject.vector, Colours(part.colours.members, owners), steps.steps)
        changes = [before + own.first(c) for c, before in enumerate(changes)]
    extra = np.zeros_like(H)
    for change, owner in zip(changes, part.colours.owners, strict=True):
        for k, (members, J) in enumerate(part.jacobians):
            b = int(owner[k].max())
            if b >= 0:
                extra[members, b] += J[: part.n_entries - 1].T @ np.asarray(change)[k]
    return H + (extra + extra.T) / 2


@dataclass(frozen=True)
class _Scores:
    """Of a tile: row scores (q, B), and of each component its coordinates, gradients (a, B) and responsibilities."""

    total: Array
    of_components: list[tuple[NDArray[np.intp], Array, Array]]


def _row_scores(
    model: Mixture, source: InMemorySource, parts: list[Part], is_free: NDArray[np.bool_]
) -> Iterator[tuple[Chunk, _Scores]]:
    place = np.cumsum(is_free) - 1
    n_latent, slopes = model.latent.n_free_parameters, share_slopes(model)
    free_latent = np.flatnonzero(is_free[:n_latent])
    size = max(64, NUMBERS // max(1, int(is_free.sum())))
    for tile in _tiles(source, size):
        resp, _ = _weighted(model, tile)
        total = np.zeros((int(is_free.sum()), len(tile.x)))
        gradients = [part.scores(_cells(tile, part.subject)) for part in parts]
        own = []
        for k, r in enumerate(resp):
            members = [place[free_latent]]
            G = [np.broadcast_to(slopes[k][free_latent][:, None], (len(free_latent), len(r)))]
            for part, found in zip(parts, gradients, strict=True):
                if k < len(part.count):  # else it is noise
                    where = part.start + part.jacobians[k][0]
                    used = is_free[where]
                    members.append(place[where[used]])
                    G.append(found[k] if used.all() else found[k][used])
            rows, gradient = np.concatenate(members), np.concatenate(G)
            total[rows] += gradient * r
            own.append((rows, gradient, r))
        yield tile, _Scores(total, own)


def _second_pass(
    model: Mixture, source: InMemorySource, parts: list[Part], is_free: NDArray[np.bool_]
) -> tuple[Array, Array, Array]:
    """Sums of w r g g' and of w s s' (q, q), and of w s (q,)."""
    q = int(is_free.sum())
    M, outer, score = np.zeros((q, q)), np.zeros((q, q)), np.zeros(q)
    for tile, scores in _row_scores(model, source, parts, is_free):
        for members, G, r in scores.of_components:
            M[np.ix_(members, members)] += (G * (tile.weight * r)) @ G.T
        weighted = scores.total * tile.weight
        outer += weighted @ scores.total.T
        score += weighted.sum(axis=1)
    return M, outer, score
