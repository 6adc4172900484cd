"""What is asked of a distribution of scipy.stats: its parameters and their spaces, its support, where to start.

SciPy is asked by name and the answers are kept; scipy.stats itself is imported when the first one is asked for.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from emix.block import Array
from emix.errors import ModelError
from emix.spaces import POSITIVE, REAL, Interval, Space

PROBES = (-3.0, -1.0, 0.1, 1.0, 3.0)
"""Unconstrained coordinates of the shapes that are tried: not 0, where many a skewness has a saddle."""
MOST_PROBES = 64
QUARTILES = (0.25, 0.5, 0.75)
UNIT_SCALE = ("vonmises",)
"""Distributions on the circle: another scale is no density."""


@dataclass(frozen=True)
class Law:
    """A distribution of scipy.stats, by name."""

    name: str

    @cached_property
    def distribution(self) -> Any:
        """SciPy's object."""
        from scipy import stats

        return getattr(stats, self.name)

    @cached_property
    def is_discrete(self) -> bool:
        """Whether it has masses and not a density."""
        from scipy import stats

        return isinstance(self.distribution, stats.rv_discrete)

    @cached_property
    def shapes(self) -> dict[str, Space]:
        """Shape parameters and their spaces, in SciPy's order."""
        found: dict[str, Space] = {}
        for one in self.distribution._shape_info():
            lower, upper = (float(end) for end in one.domain)
            lower = 0.0 if 0 < lower < np.finfo(np.float64).tiny else lower  # SciPy's way to leave out an end
            found[one.name] = Interval(lower, upper, (one.inclusive[0] and lower > -np.inf, one.inclusive[1]))
        return found

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """All parameters and their spaces, in SciPy's order."""
        rest: dict[str, Space] = {"loc": REAL} if self.is_discrete else {"loc": REAL, "scale": POSITIVE}
        return {**self.shapes, **rest}

    @cached_property
    def whole(self) -> frozenset[str]:
        """Shapes that may be nothing but whole numbers: SciPy refuses the fractions next to them."""
        names, found = list(self.shapes), set()
        named = [one.name for one in self.distribution._shape_info() if one.integrality]
        for values in itertools.product((1.0, 2.0, 5.0, 9.0, 0.5), repeat=len(names)):
            if not named or not self.allows(values):
                continue
            for name in named:
                moved = [v + 0.5 if name == n else v for n, v in zip(names, values, strict=True)]
                if values[names.index(name)] >= 1 and not self.allows(moved):
                    found.add(name)
            break
        return frozenset(found)

    def allows(self, shapes: Any) -> bool:
        """Whether SciPy takes these shapes together."""
        with np.errstate(all="ignore"):
            return not np.isnan(self.distribution.support(*shapes)).any()

    def log_density(self, x: Array, values: Mapping[str, float]) -> Array:
        """Log density or mass at x; NaN for parameters that cannot be."""
        shapes = [values[name] for name in self.shapes]
        loc, scale = values["loc"], values.get("scale", 1.0)
        with np.errstate(all="ignore"):
            if self.is_discrete:
                return np.asarray(self.distribution.logpmf(x, *shapes, loc=loc))
            return np.asarray(self.distribution.logpdf(x, *shapes, loc=loc, scale=scale))

    def cdf(self, x: Array, values: Mapping[str, float], *, is_upper: bool) -> Array:
        """P(X <= x), or P(X > x)."""
        own = {"loc": values["loc"]} if self.is_discrete else {"loc": values["loc"], "scale": values.get("scale", 1.0)}
        function = self.distribution.sf if is_upper else self.distribution.cdf
        return np.asarray(function(x, *(values[name] for name in self.shapes), **own))

    def moments(self, values: Mapping[str, float]) -> tuple[float, float]:
        """Mean and variance."""
        own = {"loc": values["loc"]} if self.is_discrete else {"loc": values["loc"], "scale": values.get("scale", 1.0)}
        mean, variance = self.distribution.stats(*(values[name] for name in self.shapes), **own, moments="mv")
        return float(mean), float(variance)

    @cached_property
    def defaults(self) -> dict[str, float]:
        """Parameters that are held unless told otherwise, and at what.

        The location where the support has an end (an end that moves with it would make the likelihood unbounded) and of
        counts, the scale too where the support has two.
        """
        a, b = float(self.distribution.a), float(self.distribution.b)
        held = {}
        if self.is_discrete or np.isfinite(a) or np.isfinite(b):
            held["loc"] = 0.0
        if not self.is_discrete and (self.name in UNIT_SCALE or (np.isfinite(a) and np.isfinite(b))):
            held["scale"] = 1.0
        return held

    def probes(self, held: Mapping[str, float]) -> list[dict[str, float]]:
        """Shapes to try, of which `held` ones are as they are."""
        free = [name for name in self.shapes if name not in held]
        n = next(n for n in (5, 4, 3, 2, 1) if n ** len(free) <= MOST_PROBES or n == 1)
        at = np.array(PROBES)[np.linspace(0, len(PROBES) - 1, n).round().astype(int)]
        found = []
        for point in itertools.product(at, repeat=len(free)):
            shapes = dict(held)
            for name, u in zip(free, point, strict=True):
                shapes[name] = float(self.shapes[name].from_vector(np.array([u]), np.zeros(1))[0][0])
            if self.allows([shapes[name] for name in self.shapes]):
                found.append({name: shapes[name] for name in self.shapes})
        return found


@cache
def is_possible(law: Law, held: tuple[tuple[str, float], ...]) -> bool:
    """Whether there are shapes that SciPy takes beside those that are held."""
    return bool(law.probes(dict(held)))


@cache
def ends(law: Law, held: tuple[tuple[str, float], ...]) -> tuple[float, float, bool, bool]:
    """Lower and upper end of the support and whether a cell may lie there, as far as no free parameter decides."""
    known = dict(held)
    if "loc" not in known:
        return -np.inf, np.inf, False, False
    probes = law.probes(known)
    supports = np.array([law.distribution.support(*one.values()) for one in probes]).reshape(-1, 2)
    found, allowed = [-np.inf, np.inf], [False, False]
    scale = known.get("scale", 1.0)
    for side in range(2):
        end = float(supports[0, side]) if len(supports) else np.inf
        if not np.isfinite(end) or not (supports[:, side] == end).all():
            continue
        if end != 0 and not law.is_discrete and "scale" not in known:
            continue
        found[side] = known["loc"] + scale * end
        at = np.array([found[side]])
        heights = [law.log_density(at, {**one, "loc": known["loc"], "scale": scale}) for one in probes]
        allowed[side] = law.is_discrete or bool(np.isfinite(heights).all())
    return found[0], found[1], allowed[0], allowed[1]


def starts(law: Law, held: Mapping[str, float], values: Array, weight: Array) -> list[dict[str, float]]:
    """Parameters to start from: shapes that are tried, location and scale from the quartiles (V,) values with weights.

    Where the scale is held or there is none, shapes are also taken from mean and variance.
    """
    mean = float(weight @ values / weight.sum())
    variance = float(weight @ (values - mean) ** 2 / weight.sum())
    share = np.cumsum(weight) / weight.sum()
    low, middle, high = values[np.minimum(np.searchsorted(share, QUARTILES), len(values) - 1)]
    spread = float(high - low) or 1.35 * float(np.sqrt(variance)) or 1.0
    probes = law.probes(held)
    if "scale" not in law.spaces or "scale" in held:
        probes += _by_moments(law, held, mean - held.get("loc", 0.0), variance)
    if "loc" in held and ("scale" not in law.spaces or "scale" in held):
        return [{**held, **shapes} for shapes in probes]
    found = []
    for shapes in probes:
        with np.errstate(all="ignore"):
            q = np.asarray(law.distribution.ppf(QUARTILES, *shapes.values()), dtype=np.float64)
        width = q[2] - q[0] if np.isfinite(q).all() and q[2] > q[0] else 1.35
        centre = float(q[1]) if np.isfinite(q[1]) else 0.0
        scale = held.get("scale", spread / width)
        if "scale" not in held and "loc" in held and (middle - held["loc"]) * centre > 0:
            scale = (middle - held["loc"]) / centre
        loc = held.get("loc", float(middle) - scale * centre)
        found.append({**shapes, "loc": loc, "scale": scale})
        lower, upper = (scale * float(end) for end in law.distribution.support(*shapes.values()))
        if not {"loc", "scale"} & held.keys() and np.isfinite(lower) and np.isfinite(upper):  # room for all values
            ratio = 1.1 * float(values[-1] - values[0]) / (upper - lower)
            room = {"loc": float(values[0] + values[-1]) / 2 - ratio * (lower + upper) / 2, "scale": scale * ratio}
            found.append({**shapes, **room})
            continue
        if "loc" not in held and np.isfinite(lower) and values[0] <= loc + lower:
            found.append({**shapes, "loc": float(values[0]) - lower - 0.1 * spread, "scale": scale})
        if "loc" not in held and np.isfinite(upper) and values[-1] >= loc + upper:
            found.append({**shapes, "loc": float(values[-1]) - upper + 0.1 * spread, "scale": scale})
    return found


def _by_moments(law: Law, held: Mapping[str, float], mean: float, variance: float) -> list[dict[str, float]]:
    """Shapes of the size of a mean or of a ratio of moments, as those of most counts are."""
    sizes = [mean, np.sqrt(variance), mean**2 / max(variance - mean, 1e-3 * abs(mean) + 1e-9), 1.0]
    shares = [mean / max(variance, 1e-9), 1 / (1 + abs(mean)), 1 / max(abs(mean), 1e-9), mean, 0.5]
    shares += [mean / held[name] for name in law.whole if held.get(name)]
    free = [name for name in law.shapes if name not in held]
    found = []
    for point in itertools.islice(itertools.product([*sizes, *shares], repeat=len(free)), 10 * MOST_PROBES):
        inside = all(law.shapes[n].contains(np.array([v])) for n, v in zip(free, point, strict=True))
        shapes = {**held, **dict(zip(free, map(float, point), strict=True))}
        if inside and law.allows([shapes[name] for name in law.shapes]):
            found.append({name: shapes[name] for name in law.shapes})
    return found


@cache
def law_named(name: str) -> Law:
    """A distribution by its name in scipy.stats.

    Raises
    ------
    ModelError
        There is none of that name, or it has several dimensions.
    """
    from scipy import stats

    found = getattr(stats, name, None)
    if isinstance(found, stats.rv_continuous | stats.rv_discrete):
        return Law(name)
    if found is not None and hasattr(found, "rvs"):
        raise ModelError.no_distribution(f"'{name}', which has several dimensions or no parameters to fit")
    known = [n for n in dir(stats) if isinstance(getattr(stats, n), stats.rv_continuous | stats.rv_discrete)]
    raise ModelError.unknown_distribution(found=name, close=difflib.get_close_matches(name.lower(), known, 4, 0.5))


def law_of(given: Any) -> Law:
    """A distribution from its name, or from SciPy's object.

    Raises
    ------
    ModelError
        It is no distribution of scipy.stats with one dimension and parameters of its own.
    """
    if isinstance(given, str):
        return law_named(given.strip())
    from scipy import stats

    if isinstance(given, stats.rv_continuous | stats.rv_discrete):
        name = str(given.name)
        if getattr(stats, name, None) is given:
            return Law(name)
        raise ModelError.no_distribution(f"a distribution that is not part of scipy.stats: {name!r}")
    frozen: Any = given.dist if hasattr(given, "dist") else given
    if isinstance(frozen, stats.rv_continuous | stats.rv_discrete):
        held = {**dict(zip(Law(frozen.name).spaces, given.args, strict=False)), **given.kwds}
        said = ", ".join([repr(frozen.name), *(f"{name}={value!r}" for name, value in held.items())])
        raise ModelError.no_distribution(f"a frozen one. Hold its parameters instead: ScipyDistribution({said})")
    raise ModelError.no_distribution(repr(given))
