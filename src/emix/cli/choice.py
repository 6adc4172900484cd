"""Several candidates in the options of `emix fit`: told apart from one before anything heavy is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emix.errors import ModelError

OUTSIDE = r",(?![^()]*\))"
"""A comma that is not within parentheses."""


@dataclass(frozen=True)
class Choice:
    """What there is to choose from, as the options have it."""

    components: str
    families: tuple[str, ...]
    covariance: str | None
    criterion: str | None
    cross_validate: int | None

    @property
    def is_asked_for(self) -> bool:
        """Whether there is more than one candidate, or a way to choose."""
        several = re.search(r"[:,]", self.components) is not None or len(self.families) > 1
        several |= self.covariance is not None and (self.covariance == "all" or "," in _bare(self.covariance))
        return several or self.criterion is not None or self.cross_validate is not None

    @property
    def numbers(self) -> list[int]:
        """`3`; `2,3,5`; `1:9`, with both ends; or these side by side.

        Raises
        ------
        ModelError
            It is none of these.
        """
        found: list[int] = []
        for part in self.components.split(","):
            ends = re.fullmatch(r"\s*([+-]?\d+)\s*(?::\s*([+-]?\d+)\s*)?", part)
            if ends is None or (ends[2] is not None and int(ends[2]) < int(ends[1])):
                requirement = "whole numbers >= 1, such as 3, 2,3,5 or 1:9"
                raise ModelError.argument(name="--components", requirement=requirement, found=self.components)
            found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
        return found


def read_choice(
    components: str, family: list[str] | None, covariance: str | None, criterion: str | None, folds: int | None
) -> Choice:
    """The options; a list of families is told from families of columns, which are one family together."""
    pieces = [piece.strip() for text in family or [] for piece in re.split(OUTSIDE, text)]
    is_by_column = any(re.match(r"[^=()]+=", piece) for piece in pieces)
    return Choice(components, () if is_by_column else tuple(pieces), covariance, criterion, folds)


def _bare(text: str) -> str:
    """Without what is in parentheses."""
    return re.sub(r"\([^()]*\)", "", text)
