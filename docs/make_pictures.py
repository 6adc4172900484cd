"""Runs the code of plots.md, from the root of the repository, and saves the picture after each block that shows one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DPI = 90
COLOURS = 64
"""Enough for pictures of this kind, in a third of the bytes."""


def blocks(page: str) -> Iterator[tuple[str, str | None]]:
    """Each block of Python, and the file of the picture that follows it before the next block."""
    pieces = re.split(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    for code, text in zip(pieces[1::2], pieces[2::2], strict=True):
        picture = re.search(r"!\[[^\]]*\]\((pictures/[^)]+)\)", text)
        yield code, None if picture is None else picture.group(1)


def figure_of(names: dict[str, Any], code: str) -> Any:
    """The figure that a block drew last: on `ax` or `axes`."""
    found = names["axes"].flat[0] if re.search(r"^axes = ", code, re.MULTILINE) else names["ax"]
    return found.figure


def main() -> None:
    """Write all pictures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image  # Matplotlib requires it

    names: dict[str, Any] = {}
    for code, picture in blocks((DOCS / "plots.md").read_text()):
        exec(code, names)
        if picture is not None:
            (DOCS / picture).parent.mkdir(exist_ok=True)
            whole = BytesIO()
            figure_of(names, code).savefig(whole, format="png", dpi=DPI)
            few = Image.open(whole).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            few.save(DOCS / picture, optimize=True)
            print(f"{picture}: {(DOCS / picture).stat().st_size / 1000:.0f} kB")
        plt.close("all")


if __name__ == "__main__":
    main()
