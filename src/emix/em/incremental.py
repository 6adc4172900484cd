"""Incremental EM: the parameters move after every block of rows, not only after all of them.

A block b is a fixed group of consecutive chunks. Its expected statistics S_b are those of the parameters theta_b under
which it was last visited; a visit replaces them and an M-step on the sums of all blocks follows. Both steps climb

    F(theta) = sum over blocks of ( S_b . coefficients(theta) + base_b + entropy_b ) + log prior(theta)
    base_b + entropy_b = L_b(theta_b) - S_b . coefficients(theta_b)

which is at most the log-likelihood (and log prior) of theta, and equals it where all blocks were visited under theta.
L_b is a block's log-likelihood. So a maximum of F is one of the log-likelihood, and F has at least as much still to
gain as the log-likelihood: a stopping rule that looks at F promises no less.

In the directions in which EM is slow, a pass over many blocks shrinks what is left as two of plain EM do: with e(s) the
error after s passes, e(t) = c times the mean of e over [t - 1, t], whose solution for a rate c = 1 - epsilon near 1 is
exp(-2 epsilon t). Leaps do better there. So once the gains shrink steadily and slowly, and leaps are allowed, one plain
pass hands over to accelerated EM.

Source: Neal & Hinton (1998), in Jordan (ed.), Learning in Graphical Models, 355-368.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from emix.block import Array, Expectation
from emix.em.acceleration import Accelerator
from emix.em.driver import (
    EMResult,
    Run,
    RunState,
    Source,
    audit_of,
    check_fall,
    objective_of,
    parameter_change,
    run_em,
)
from emix.em.stopping import StoppingRule
from emix.errors import DegenerateError, FileError, ModelError
from emix.model import Mixture
from emix.results import Record

N_BLOCKS = 16
"""Blocks, where there are so many chunks and the number was not given."""
SPILL_FROM = 256 * 1024 * 1024
"""Bytes of block statistics (16 a number and block) from which they go to a temporary file."""
PIECE = 1 << 24
"""Bytes of such a file that are written at a time."""
SLOW = 0.2
"""Share of its predecessor's gain that a pass gains where leaps do better."""


STEADY = 0.1
"""By which these shares of three passes differ at most where the climb has become steady."""


class BlockedSource(Source, Protocol):
    """Rows that are visited block by block."""

    def in_blocks(self, n_blocks: int) -> Iterator[Source]:
        """Consecutive groups of chunks, one after the other, all of them in one pass."""


@dataclass(frozen=True)
class IncrementalState(RunState):
    """Where a run stands at the end of an incremental pass: the sums of each block with the rest."""

    statistics: Array
    """(n_blocks, K, D)."""
    scalars: Array
    """(n_blocks, 4): base and entropy, weight, magnitude, log_map."""


class Blocks:
    """The sums of all blocks.

    They are the leaves of a binary tree whose nodes hold sums: to replace one costs log2(n_blocks) additions, and the
    total is at any time a fixed tree of additions of what the blocks are now, so that no rounding is carried on. From
    `SPILL_FROM` bytes on the tree lies in a temporary file that is mapped into memory.
    """

    def __init__(self, n_blocks: int) -> None:
        self.n_blocks = n_blocks
        self.scalars = np.zeros((n_blocks, 4))
        self.is_spilled = False
        self._nodes: Any = None

    @property
    def leaves(self) -> Array:
        """(n_blocks, K, D) statistics of the blocks."""
        return np.asarray(self._nodes[self.n_blocks :])

    @property
    def total(self) -> Array:
        """(K, D): their sum."""
        return np.array(self._nodes[1])

    def put(self, b: int, model: Mixture, expectation: Expectation) -> None:
        """What a visit of block b under `model` summed."""
        S = expectation.statistics
        constant = expectation.log_likelihood - expected_log_joint(model, S)
        self.scalars[b] = constant, expectation.weight, expectation.magnitude, expectation.log_map
        self._put(b, S)

    def _put(self, b: int, statistics: Array) -> None:
        if self._nodes is None:
            self._nodes = self._room(statistics.shape)
        at = self.n_blocks + b
        self._nodes[at] = statistics
        while at > 1:
            at //= 2
            np.add(self._nodes[2 * at], self._nodes[2 * at + 1], out=self._nodes[at])

    def restore(self, state: IncrementalState) -> None:
        """The blocks as they were."""
        self.scalars[:] = state.scalars
        for b, statistics in enumerate(state.statistics):
            self._put(b, statistics)

    def _room(self, shape: tuple[int, ...]) -> Any:
        whole = (2 * self.n_blocks, *shape)
        n_bytes = 8 * math.prod(whole)
        if n_bytes < SPILL_FROM:
            return np.zeros(whole)
        self.is_spilled = True
        try:
            with tempfile.TemporaryFile(prefix="emix-blocks-") as file:  # lives on as long as its map
                for start in range(0, n_bytes, PIECE):  # a full disk is an error here; when a page is touched, a crash
                    file.write(bytes(min(PIECE, n_bytes - start)))
                file.flush()
                return np.memmap(file, dtype=np.float64, mode="r+", shape=whole)
        except OSError as error:
            raise FileError.no_room(tempfile.gettempdir(), n_bytes=n_bytes, detail=error.strerror or "") from error

    def expectation(self, model: Mixture) -> Expectation:
        """The sums over all blocks, with the bound F (without the log prior) in the place of the log-likelihood."""
        total = self.total
        constant, weight, magnitude, log_map = (math.fsum(column) for column in self.scalars.T.tolist())
        return Expectation(total, expected_log_joint(model, total) + constant, weight, magnitude, log_map)


def expected_log_joint(model: Mixture, statistics: Array) -> float:
    """S . coefficients: the expected complete-data log-likelihood without the base measure."""
    own = model.family.coefficients()
    K = len(own)
    value = float(model.latent.coefficients() @ statistics[:, 0] + (own * statistics[:K, 1:]).sum())
    return value - float(np.log(model.noise) * statistics[-1, 0]) if model.has_noise else value


def run_incremental(
    model: Mixture,
    source: BlockedSource,
    *,
    stop: StoppingRule,
    max_iter: int,
    n_blocks: int,
    accelerator: Accelerator | None = None,
    resumed: EMResult | RunState | None = None,
    on_iteration: Callable[[Record, Any], None] | None = None,
    keep: Callable[[RunState], None] | None = None,
) -> EMResult:
    """Incremental EM until the rule stops, or with an accelerator until it slows down and accelerated EM goes on.

    Parameters
    ----------
    model : Mixture
        Where to start.
    source : BlockedSource
        The rows.
    stop : StoppingRule
        Asked after each pass, of the bound that incremental EM climbs.
    max_iter : int
        Passes at most. At the end of the run one more, which is not counted, tells the log-likelihood of its
        parameters.
    n_blocks : int
        Blocks, at most as many as there are chunks.
    accelerator, resumed, on_iteration, keep
        As in `run_em`.

    Raises
    ------
    InvariantError
        The bound fell after a block, or the expected counts do not add up to the total weight.
    ModelError
        A checkpoint is asked for and the blocks are so large that they lie in a file.
    """
    how: dict[str, Any] = {"stop": stop, "max_iter": max_iter, "on_iteration": on_iteration, "keep": keep}
    if resumed is not None and not isinstance(resumed, IncrementalState):  # handed over before
        return run_em(model, source, accelerator=accelerator, resumed=resumed, **how)
    run, blocks = Run(source, stop, max_iter, on_iteration, resumed), Blocks(n_blocks)
    if resumed is None:
        expectation = _fill(model, source, blocks, is_kept=keep is not None)
        run.n_maps += 1
        run.record(model, expectation, math.nan)
    else:
        blocks.restore(resumed)
        model, expectation, accelerator = resumed.model, resumed.expectation, resumed.accelerator
    while True:
        state = run.state(model, expectation, accelerator)
        if keep is not None:
            keep(IncrementalState(**vars(state), statistics=blocks.leaves, scalars=blocks.scalars))
        reason = run.ending()
        if reason is not None:
            expectation = _close(model, run) if run.n_maps else expectation
            return EMResult(model, expectation, run.history, reason, run.is_monotone)
        if accelerator is not None and _is_slow(run.history):
            point = blocks.total
            del blocks, state, expectation  # what accelerated EM needs no more may be large
            return run_em(model, source, resumed=_handed_over(model, point, run, accelerator), **how)
        previous = model
        try:
            model = _one_pass(model, source, blocks, run)
        except DegenerateError as error:
            return run.collapse(model, expectation, error)
        run.n_maps += 1
        expectation = blocks.expectation(model)
        run.record(model, expectation, parameter_change(previous, model), is_bound=True)


def _fill(model: Mixture, source: BlockedSource, blocks: Blocks, *, is_kept: bool) -> Expectation:
    """The first pass: all blocks under the same parameters, whose log-likelihood this is."""
    total = None
    for b, part in enumerate(source.in_blocks(blocks.n_blocks)):
        expectation = part.sum_over_chunks(model.expect)
        blocks.put(b, model, expectation)
        if is_kept and blocks.is_spilled:
            raise ModelError.spilled_checkpoint(limit=SPILL_FROM)
        total = expectation if total is None else total + expectation
    assert total is not None  # there is a row
    return replace(total, statistics=blocks.total)


def _close(model: Mixture, run: Run) -> Expectation:
    """A plain pass for the log-likelihood itself, which takes the place of the bound in the last record."""
    last, bound = run.history[-1], run.objective
    expectation = run.source.sum_over_chunks(model.expect)
    found = objective_of(model, expectation)
    check_fall(run.n_maps, found, found - bound, audit_of(model, expectation))
    run.objective -= run.history.pop().gain
    run.record(model, expectation, last.parameter_change)
    return expectation


def _handed_over(model: Mixture, point: Array, run: Run, accelerator: Accelerator) -> RunState:
    """The state of accelerated EM after a plain pass; what the pass gains over the bound is no gain of an EM map.

    The parameters are the M-step of the blocks' total, so that the pass maps that point to its image as every pass of
    EM does: it is the first that the accelerator hears of.
    """
    expectation = run.source.sum_over_chunks(model.expect)
    run.n_maps += 1
    run.record(model, expectation, math.nan, step=1.0)
    return run.state(*run.leap(accelerator, point, model, expectation), accelerator)


def _one_pass(model: Mixture, source: BlockedSource, blocks: Blocks, run: Run) -> Mixture:
    """Visit all blocks, with an M-step after each; F is checked after each pair of steps."""
    if run.n_maps == 0:
        model = model.maximize(blocks.total)
    before = run.objective
    for b, part in enumerate(source.in_blocks(blocks.n_blocks)):
        blocks.put(b, model, part.sum_over_chunks(model.expect))
        model = model.maximize(blocks.total)
        expectation = blocks.expectation(model)
        found = objective_of(model, expectation)
        check_fall(run.n_maps + 1, found, found - before, audit_of(model, expectation))
        before = found
    return model


def _is_slow(history: list[Record]) -> bool:
    """Whether the gains of the last passes shrink steadily and slowly: then leaps do better."""
    gains = [record.gain for record in history[-4:]]
    if len(history) < 5 or not all(gain > 0 for gain in gains):
        return False
    ratios = [after / before for before, after in itertools.pairwise(gains)]
    return SLOW < ratios[-1] < 1 and max(ratios) - min(ratios) < STEADY
