"""Constraints on parameters: their grammar, what they make of a parameter's entries, and the maximum under them."""

from emix.constraints.grammar import NO_CONSTRAINTS, Constraint, Constraints, Entry, parse_constraint
from emix.constraints.groups import Groups, Layout, check_feasible, group, with_held

__all__ = [
    "NO_CONSTRAINTS",
    "Constraint",
    "Constraints",
    "Entry",
    "Groups",
    "Layout",
    "check_feasible",
    "group",
    "parse_constraint",
    "with_held",
]
