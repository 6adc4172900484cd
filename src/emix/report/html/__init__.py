"""The HTML report: one file, without a network. The only part of emix that knows Plotly and Jinja2."""

from emix.report.html.write import write_report

__all__ = ["write_report"]
