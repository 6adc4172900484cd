"""The fixed tree of additions: the same bits for any number of threads and any source."""

from __future__ import annotations

from collections.abc import Iterable

from emix.block import Expectation


class TreeSum:
    """Pairwise sum of parts that come one by one: rounding, and memory, grow with the depth of the tree alone."""

    def __init__(self) -> None:
        self._sums: list[tuple[int, Expectation]] = []

    def add(self, part: Expectation) -> None:
        """The next part; subtrees of equal depth are added at once."""
        depth = 0
        while self._sums and self._sums[-1][0] == depth:
            part = self._sums.pop()[1] + part
            depth += 1
        self._sums.append((depth, part))

    def add_all(self, parts: Iterable[Expectation]) -> None:
        """The next parts."""
        for part in parts:
            self.add(part)

    @property
    def total(self) -> Expectation:
        """Of all parts so far; there must be one."""
        total = self._sums[-1][1]
        for _, sums in self._sums[-2::-1]:
            total = sums + total
        return total


def tree_sum(parts: Iterable[Expectation]) -> Expectation:
    """The sum of a `TreeSum` over all parts."""
    tree = TreeSum()
    tree.add_all(parts)
    return tree.total
