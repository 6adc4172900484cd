"""The command line: arguments -> fitting -> report."""

from emix.cli.app import app, main

__all__ = ["app", "main"]
