"""Leaps: from a few plain EM steps to statistics further along the way.

Both methods work on the expected statistics, the state of EM: no transform of parameters, so that tied, fixed and
user-written models accelerate too. They propose; the driver tries the proposal and falls back to the plain step if the
M-step refuses it or the log-likelihood falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


MAX_STORED = 4_000_000
"""Numbers that the remembered points of a run may hold at most, and its steps as many again."""


class Accelerator(Protocol):
    """Proposes leaps. One object serves one run."""

    step: float
    """Length of the last leap in plain steps."""

    @property
    def chains(self) -> bool:
        """Whether a leap may follow a leap without a plain step between them."""

    def propose(self, point: Array, image: Array) -> Array | None:
        """After the plain step from statistics `point` to `image`: where to leap, or None for the plain step."""

    def told(self, accepted: bool) -> None:
        """How the last proposal ended."""


@dataclass
class Squarem:
    """SQUAREM, scheme S3: S0, S1, S2 -> S0 + 2 a r + a^2 v, r = S1 - S0, v = (S2 - S1) - r, a = |r| / |v| >= 1.

    Source: Varadhan & Roland (2008), Scandinavian Journal of Statistics 35, 335-353, section 4.
    """

    first: Array | None = None
    step: float = 0.0
    """a of the last cycle; 1 - 1 / a estimates EM's slowest rate."""
    limit: float = math.inf
    """Largest a that is tried: four times as much after a leap of that length, a quarter of it after a refusal."""
    tried: float = 0.0
    chains: ClassVar[bool] = False

    def propose(self, point: Array, image: Array) -> Array | None:
        """See `Accelerator`."""
        if self.first is None:
            self.first = point
            return None
        r, second = point - self.first, image - point
        v = second - r
        size = float(np.linalg.norm(v))
        self.step = float(np.linalg.norm(r)) / size if size > 0 else 1.0
        first, self.first = self.first, None
        if not self.step > 1:
            return None
        self.tried = min(self.step, self.limit)
        return np.asarray(first + 2 * self.tried * r + self.tried**2 * v)

    def told(self, accepted: bool) -> None:
        """See `Accelerator`."""
        if accepted and self.tried >= self.limit:
            self.limit *= 4
        elif not accepted and math.isfinite(self.limit):
            self.limit = max(2.0, self.tried / 4)


@dataclass
class Daarem:
    """Damped Anderson acceleration with restarts: the next point from the last `order` steps by damped least squares.

    Anderson's method looks for a fixed point, and a saddle is one: near it the proposals lead downhill and are refused.
    After two refusals in a row SQUAREM, which keeps the direction in which EM climbs, makes the next leaps.

    Source: Henderson & Varadhan (2019), Journal of Computational and Graphical Statistics 28, 834-846, algorithm 1 with
    its defaults: order min(10, D / 2), kappa 25, alpha 1.2.
    """

    order: int = 10
    kappa: float = 25.0
    alpha: float = 1.2
    points: list[Array] = field(default_factory=list)
    steps: list[Array] = field(default_factory=list)
    successes: int = 0
    step: float = 1.0
    refused: int = 0
    helper: Squarem | None = None
    helped: int = 0

    @property
    def chains(self) -> bool:
        """See `Accelerator`."""
        return self.helper is None

    def propose(self, point: Array, image: Array) -> Array | None:
        """See `Accelerator`."""
        if self.helper is not None:
            target = self.helper.propose(point, image)
            self.step = self.helper.step
            return target
        order = max(1, min(self.order, point.size // 2, MAX_STORED // point.size))
        if len(self.points) > order:  # restart
            self.points, self.steps = self.points[-1:], self.steps[-1:]
        self.points.append(point.ravel())
        self.steps.append((image - point).ravel())
        if len(self.points) < 2:
            return None
        m = len(self.points) - 1
        columns = _condensed(self.points, self.steps)
        X, F, f = columns[:, :m], columns[:, m : 2 * m], columns[:, -1]
        self.step = _slowest(X, F)
        U, d, Vt = np.linalg.svd(F, full_matrices=False)
        if not (d[-1] > 1e-14 * d[0] and d[-1] > 1e-140):  # the steps are all alike, or there are none any more
            return None
        target = 1 / (1 + self.alpha ** (self.kappa - self.successes))
        uf = U.T @ f
        gamma = Vt.T @ (d * uf / (d**2 + _damping(d, uf, target)))
        if point.size <= PIECE:
            return np.asarray((self.points[-1] + f - (X + F) @ gamma).reshape(point.shape))
        leapt = self.points[-1] + self.steps[-1]
        for i, share in enumerate(gamma.tolist()):
            for ones in (self.points, self.steps):
                rise = ones[i + 1] - ones[i]
                rise *= share
                leapt -= rise
        return np.asarray(leapt.reshape(point.shape))

    def told(self, accepted: bool) -> None:
        """See `Accelerator`."""
        if self.helper is not None:
            self.helper.told(accepted)
            self.helped += accepted
            if self.helped >= HELP:
                self.helper, self.refused = None, 0
            return
        self.successes = self.successes + 1 if accepted else max(self.successes - 2, 0)
        self.refused = 0 if accepted else self.refused + 1
        if self.refused >= 2:
            self.points, self.steps = [], []
            self.helper, self.helped = Squarem(limit=4.0), 0


PIECE = 16_384
"""Numbers of each point that are looked at together."""
HELP = 5
"""Leaps of SQUAREM before Anderson's method is tried again."""


def _condensed(points: Sequence[Array], steps: Sequence[Array]) -> Array:
    """The columns (X, F, f): differences of m + 1 points and of their steps, and the last step; of many rows the R.

    That of their QR decomposition has the same inner products, and not their squares' condition. It is updated piece by
    piece, so that the columns are never held as a whole: that would be more memory than the points themselves.
    """
    found = np.zeros((0, 2 * len(points) - 1))
    for start in range(0, len(points[0]), PIECE):
        part = slice(start, start + PIECE)
        rises = [np.diff(np.array([one[part] for one in ones]), axis=0) for ones in (points, steps)]
        columns = np.concatenate([*rises, steps[-1][None, part]]).T
        if len(points[0]) <= PIECE:
            return columns
        found = np.asarray(np.linalg.qr(np.concatenate([found, columns]), mode="r"))
    return found


def _slowest(X: Array, F: Array) -> float:
    """1 / (1 - rate) of EM's slowest direction among those seen: F = (J - I) X, J the Jacobian of the EM map."""
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    keep = s > 1e-7 * s[0]
    if not keep.any():
        return 1.0
    smallest = float(np.linalg.svd(F @ Vt[keep].T / s[keep], compute_uv=False)[-1])
    return max(1.0, 1 / max(smallest, 1e-12))


def _damping(d: Array, uf: Array, target: float) -> float:
    """Lambda at which the squared norm of the damped solution is `target` times that of the undamped one, to 1 %.

    By bisection of its logarithm on plain numbers: there are at most ten, for which NumPy's calls cost more.
    """
    pairs = [(a * a, (a * u) * (a * u)) for a, u in zip(d.tolist(), uf.tolist(), strict=True)]
    wanted = target * float(((uf / d) ** 2).sum())
    largest = pairs[0][0]
    low, high = math.log(1e-20 * largest), math.log(1e10 * largest)
    while high - low > 0.01:
        middle = (low + high) / 2
        damping = math.exp(middle)
        is_large = sum(top / (square + damping) ** 2 for square, top in pairs) > wanted
        low, high = (middle, high) if is_large else (low, middle)
    return math.exp(low)


ACCELERATORS: dict[str, Callable[[], Accelerator]] = {"squarem": Squarem, "daarem": Daarem}
