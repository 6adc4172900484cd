"""One HTML file that needs nothing else: template, style, script and Plotly inlined; a policy that forbids more."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import import_module
from importlib.resources import files
from typing import Any

from emix.errors import FileError
from emix.report.html.colours import short
from emix.report.html.figures import Figure
from emix.report.html.glossary import GLOSSARY

EXTRA = "report"


def require_packages() -> None:
    """Raise if Jinja2 or Plotly is missing: found before the work, not after it.

    Raises
    ------
    FileError
        One of them is not installed; the message says what to install.
    """
    for package in ("jinja2", "plotly"):
        try:
            import_module(package)
        except ImportError as error:
            raise FileError.no_extra(package=package, extra=EXTRA) from error


def render(content: dict[str, Any], figures: list[Figure], steps: dict[str, Any] | None) -> str:
    """The page.

    Parameters
    ----------
    content : dict
        What the templates name.
    figures : list of Figure
        All charts; the templates place them by name.
    steps : dict or None
        The step-through, as `steps_payload` makes it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    folder = files("emix.report.html") / "templates"
    scripts = [get_plotlyjs(), (folder / "report.js").read_text(encoding="utf-8")]
    environment = Environment(
        loader=PackageLoader("emix.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = {one.name: {"data": one.data, "layout": one.layout, "height": one.height} for one in figures}
    page = environment.get_template("report.html.j2").render(
        **content,
        figures={one.name: one for one in figures},
        glossary=GLOSSARY,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        policy=_policy(scripts),
        data=_embedded({"charts": charts, "steps": steps}),
        plotly=scripts[0],
        script=scripts[1],
        has_steps=steps is not None,
        short=short,
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a name has no place in a file


def _policy(scripts: list[str]) -> str:
    """A Content-Security-Policy that runs these scripts and nothing else, and loads nothing from anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    # charts set the style of their elements, and are saved as pictures from memory
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Any) -> str:
    """JSON that no text of the user's can end early: it stands inside a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
