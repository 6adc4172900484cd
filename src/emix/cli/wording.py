"""Messages in the words of the command line: they are written in Python's, and translated where they are printed.

What stands in quotes is the user's own (a column called 'n_init') and stays as it is.
"""

from __future__ import annotations

import re

OPTIONS = {
    "n_components": "--components",
    "sample_weight": "--weights",
    "n_init": "--n-init",
    "max_iter": "--max-iter",
    "n_jobs": "--n-jobs",
    "random_state": "--seed",
    "prior_rows": "--prior-rows",
    "cross_validate": "--cross-validate",
    "n_blocks": "--n-blocks",
}
"""Arguments whose names are no words of English."""
FIRST = {
    **{name: f"--{name}" for name in ("tol", "stop", "start", "labels", "draws", "noise")},
    **{name: f"--{name}" for name in ("family", "criterion", "method", "level", "algorithm")},
    "n": "--rows",
}
"""Arguments whose names are: they are meant where a message begins with them."""
PHRASES = {
    "Correct the argument": "Correct the option",
    "eave the column out": "eave the column out (--columns)",
    "Choose the columns": "Choose the columns (--columns)",
    "choose another family": "choose another family (--family COLUMN=FAMILY)",
    "the family 'categorical'": "the family 'categorical' (--family COLUMN=categorical)",
    'Categorical(unknown="missing")': "the option --unknown-missing",
    "Categorical(levels=[...]), or levels= of a stream": "--family \"COLUMN=categorical(levels=['a', 'b'])\"",
    "Mixture(family, n_components=2)": "--components 2",
    "variance_floor=0.001 of Normal, LogNormal or MultivariateNormal": '--family "normal(variance_floor=0.001)"',
    "prior_rows=1.0 of Mixture": "--prior-rows 1",
    "with draws=1": "with --draws 1",
    "Found a scan larger than its memory_limit, or a Dask collection": "Found files of more than 64 MiB, or --dask",
    "Raise it (emix.scan(..., memory_limit=...)), or take a sample of the rows": "Leave --dask out where the rows take "
    "no more than 64 MiB (8 bytes a cell); else give a sample of them",
    "(labels, sample_weight)": "(--labels, --weights)",
    "(start=result)": "(--start MODEL)",
    "; or start from responsibilities, of any model: start=emix.responsibilities(model, data)": "",
    "Found None.": "Found nothing.",
}
"""What to do, said in Python's way -> said with options."""
_NAMES = re.compile(rf"(?<!\w)'[^'\n]*'|(?<!\w)(?P<name>{'|'.join(OPTIONS)})(?P<value>=)?(?!\w)")
_FIRST = re.compile(rf"^({'|'.join(FIRST)})(?= needs)")


def for_command_line(message: str) -> str:
    """A message of Python's as the command line says it.

    Examples
    --------
    >>> for_command_line("n_init needs a whole number >= 1.\\n  Found 0.\\n  Correct the argument.")
    '--n-init needs a whole number >= 1.\\n  Found 0.\\n  Correct the option.'
    """
    for said, meant in PHRASES.items():
        message = message.replace(said, meant)
    message = _FIRST.sub(lambda found: FIRST[found[0]], message)
    return _NAMES.sub(_as_option, message)


def _as_option(found: re.Match[str]) -> str:
    name = found["name"]
    return found[0] if name is None else OPTIONS[name] + (" " if found["value"] else "")
