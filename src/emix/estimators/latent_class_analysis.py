"""Latent class analysis: a mixture of categorical items, in the words of those who use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from sklearn.utils.validation import check_is_fitted, validate_data

from emix.block import Array, Level
from emix.data.knowledge import read_weights
from emix.data.table import Table, from_matrix
from emix.errors import ModelError
from emix.estimators.base import MixtureEstimator
from emix.families import Categorical, Family
from emix.fitting import responsibilities
from emix.fitting.settings import whole_number
from emix.inference.frames import component_column, responsibilities_frame
from emix.inference.tables import (
    TableFit,
    bivariate_residuals,
    classification_table,
    counted_weight,
    entropy_r2,
    table_fit,
)
from emix.model import Mixture

MAX_PAIRS = 10
"""Pairs of items that a summary shows, those that the classes explain least first."""


class LatentClassAnalysis(MixtureEstimator):
    """Latent class analysis: answers to categorical items, independent given the class.

        z_i ~ Categorical(class_sizes_);   x_ij | z_i = k ~ Categorical(item_response_probabilities_[j][k]).

    Classes are in the order of their size, the largest first, unless `labels` or a `start` other than a text number
    them.

    Parameters
    ----------
    n_classes : int, default=2
        K.
    start, n_init, tol, max_iter, random_state, n_jobs, accelerate
        As in `emix.fit`.
    unknown : {'error', 'missing'}, default='error'
        What an answer is, after the fit, that the fit did not see.
    step_exponent : float, default=0.6
        Of `partial_fit`, as in `emix.OnlineEM`.

    Attributes
    ----------
    class_sizes_ : ndarray of shape (n_classes,)
        Share of each class; they sum to 1.
    item_response_probabilities_ : dict of ndarray of shape (n_classes, n_levels)
        For each item the probability of each answer in each class; rows sum to 1.
    item_levels_ : dict of tuple
        For each item its answers, in the order of the columns above: as found in X, sorted.
    log_likelihood_ : float
        Total, weighted, in nats.
    n_free_parameters_ : int
        K - 1, and K (levels - 1) for each item; probabilities that ended at 0 or 1 included.
    aic_, bic_ : float
        Smaller is better.
    entropy_r2_ : float
        1 where each row's class is certain, 0 where nothing is known of it.
    classification_table_ : ndarray of shape (n_classes, n_classes)
        Expected rows by the class that they are assigned to (row) and their own (column).
    G2_, chi2_ : float or None
        Likelihood-ratio and Pearson statistic over all patterns of answers; None where `table_fit_.reason` says why.
    df_ : int or None
        Patterns - 1 - free parameters.
    G2_p_value_, chi2_p_value_ : float or None
        Of the chi-squared distribution with `df_` degrees of freedom; None where there are none.
    table_fit_ : TableFit
        All of these and why one is missing.
    bivariate_residuals_ : ndarray of shape (n_items, n_items)
        Pearson chi2 of each pair of items divided by its degrees of freedom; 0 on the diagonal.
    converged_, n_iter_, stop_reason_, history_, result_
        As in `MixtureModel`.
    online_, n_samples_seen_
        After `partial_fit`, which leaves of those above sizes, probabilities and levels; classes keep the order that
        they have in the first call.

    Raises
    ------
    DataError
        An item without any answer, fewer distinct rows than classes, or, after the fit, an answer that is new, unless
        `unknown` is 'missing'.

    References
    ----------
    Goodman (1974), Biometrika 61, 215-231. Linzer & Lewis (2011), Journal of Statistical Software 42(10).

    Examples
    --------
    >>> from emix import LatentClassAnalysis
    >>> answers = {"swims": ["yes"] * 6 + ["no"] * 6, "dives": ["yes"] * 5 + ["no"] * 7, "sails": ["yes", "no"] * 6}
    >>> LatentClassAnalysis(2, random_state=0).fit(answers).class_sizes_.shape
    (2,)
    """

    def __init__(
        self,
        n_classes: int = 2,
        *,
        start: Any = None,
        n_init: int = 10,
        tol: float | None = None,
        max_iter: int = 10_000,
        random_state: Any = None,
        n_jobs: int | None = None,
        accelerate: bool | str = True,
        step_exponent: float = 0.6,
        unknown: str = "error",
    ) -> None:
        self.n_classes = n_classes
        self.start = start
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.accelerate = accelerate
        self.step_exponent = step_exponent
        self.unknown = unknown

    def fit(self, X: Any, y: Any = None, *, labels: Any = None, sample_weight: Any = None) -> Self:
        """Fit to the rows of X.

        Parameters
        ----------
        X : array-like, data frame or dict of columns, of shape (n_samples, n_items)
            Answers: text, numbers or true/false. NaN, null and None are missing; such rows count with what they do
            answer (full-information maximum likelihood).
        y : ignored
            Knowledge about classes is `labels`.
        labels : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            Known classes, -1 or missing where unknown; or q >= 0.
        sample_weight : array-like of shape (n_samples,), optional
            Weight 3 equals the row three times: the frequencies of a table of patterns.
        """
        n_classes = whole_number("n_classes", self.n_classes, least=1)
        table = self._read(X, Categorical(), reset=True)
        weight = read_weights(sample_weight, n_rows=table.n_rows, table=table)
        result = self._run(
            Mixture(Categorical(unknown=self.unknown), n_classes),
            table,
            labels=labels,
            sample_weight=weight,
            start=self.start,
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
            accelerate=self.accelerate,
        )
        if labels is None and (self.start is None or isinstance(self.start, str)):
            order = np.argsort(-result.model.latent.mixing_proportions, kind="stable")
            result = replace(result, model=result.model.reordered(order), expected_counts=result.expected_counts[order])
        self.result_ = result
        self.log_likelihood_ = result.log_likelihood
        self.n_free_parameters_ = result.n_free_parameters
        self.aic_, self.bic_ = result.aic, result.bic
        self.history_ = result.history
        self.stop_reason_ = result.stop_reason
        self.converged_ = result.converged
        self.n_iter_ = result.n_iter
        self._describe(result.model, table, labels, weight)
        return self

    def partial_fit(
        self, X: Any, y: Any = None, *, levels: Any = None, labels: Any = None, sample_weight: Any = None
    ) -> Self:
        """Learn from the next answers of a stream, each of which is seen once (`emix.OnlineEM`).

        The first call fits its rows with `n_init` starts. After `fit` the stream begins with the parameters of that
        fit, whose rows count no further.

        Parameters
        ----------
        X, y, labels, sample_weight
            As in `fit`; a batch may be a single row.
        levels : mapping of item to answers, optional
            In the first call: all answers that an item may have. Default: those of the first rows. Later answers that
            are not among them are an error.

        Raises
        ------
        DataError, ModelError
            As in `emix.OnlineEM.update`; or levels are given to a stream that has begun.
        """
        n_classes = whole_number("n_classes", self.n_classes, least=1)
        is_first = not (hasattr(self, "online_") or hasattr(self, "result_"))
        if levels is not None and not is_first:
            raise ModelError.argument(name="levels", requirement="the first call of partial_fit", found="a later one")
        table = self._read(X, Categorical(), reset=is_first)
        weight = read_weights(sample_weight, n_rows=table.n_rows, table=table)
        options = {
            "step_exponent": self.step_exponent,
            "levels": levels,
            "n_init": self.n_init,
            "n_jobs": self.n_jobs,
            "random_state": self.random_state,
        }
        self._learn(
            Mixture(Categorical(unknown=self.unknown), n_classes), table, options, labels=labels, sample_weight=weight
        )
        self._name_parameters(self._model)
        return self

    def _name_parameters(self, model: Mixture) -> None:
        """Parameters item by item."""
        family: Any = model.family  # Categorical, and bound by the fit
        names, levels = family.binding.schema.names, family.binding.schema.levels
        self.class_sizes_ = model.latent.mixing_proportions
        self.item_response_probabilities_ = dict(zip(names, family.tables, strict=True))
        self.item_levels_: dict[str, tuple[Level, ...]] = dict(zip(names, levels, strict=True))

    def _describe(self, model: Mixture, table: Table, labels: Any, weight: Array | None) -> None:
        """Parameters, and how well the model tells the table and its rows apart."""
        self._name_parameters(model)
        resp = responsibilities(model, table, labels=labels)
        counted = counted_weight(model, table, sample_weight=weight)
        self.entropy_r2_ = entropy_r2(resp, counted)
        self.classification_table_ = classification_table(resp, counted)
        found = table_fit(model, table, sample_weight=weight)
        if labels is not None:  # the estimates are then not those that the table of the items alone would give
            found = TableFit.without(found.n_patterns, "classes of rows were given beside their answers")
        self.table_fit_ = found
        self.G2_, self.chi2_, self.df_ = found.G2, found.chi2, found.df
        self.G2_p_value_, self.chi2_p_value_ = found.G2_p_value, found.chi2_p_value
        self.bivariate_residuals_ = bivariate_residuals(model, table, sample_weight=weight)

    def _checked(self, X: Any, family: Family, *, reset: bool) -> Table:
        """Arrays are checked as scikit-learn does, whatever their cells are; frames by their columns."""
        if not _is_array(X):
            return super()._checked(X, family, reset=reset)
        array = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
        return from_matrix(np.asarray(array), tuple(f"x{j}" for j in range(array.shape[1])), has_names=False)

    def predict_proba(self, X: Any, *, as_frame: bool = False) -> Any:
        """Probability of each class given the answers of each row.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_items)
            With answers that the fit has seen, or others where `unknown` is 'missing'; missing ones as in `fit`.
        as_frame : bool, default=False
            As a data frame of the library of X (with its index in pandas), one column per class.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_classes)
            Rows sum to 1; the class sizes for a row without an answer.
        """
        if not as_frame:
            return super().predict_proba(X)
        table = self._read(X, self._model.family, reset=False)
        return responsibilities_frame(self._model, table if _is_array(X) else X)

    def summary(self) -> None:
        """Print class sizes, item-response probabilities, fit, and the pairs of items explained least."""
        check_is_fitted(self, "result_")
        console = Console()
        titles = [component_column(self._model, k).replace("component", "class") for k in range(len(self.class_sizes_))]
        classes = f"{len(titles)} class" + "es" * (len(titles) != 1)
        items = f"{len(self.item_levels_)} item" + "s" * (len(self.item_levels_) != 1)
        console.print(Text(f"Latent class analysis: {classes}, {items}"))
        console.print()
        console.print(self._probabilities(titles))
        console.print()
        console.print(self._criteria())
        if self.table_fit_.reason:
            said = "Note on" if self.G2_ is not None else "No"
            console.print(Text(f"{said} G2 and chi2: {self.table_fit_.reason}."))
        if len(self.item_levels_) > 1:
            console.print()
            console.print(self._largest_residuals())
        console.print(Text(f"{self.stop_reason_.sentence[0].upper()}{self.stop_reason_.sentence[1:]}."))
        for warning in self.result_.warnings:
            console.print(Text(f"Warning: {warning}"))

    def _probabilities(self, titles: list[str]) -> RichTable:
        lines = _table("", *titles)
        lines.add_row("class size", *(f"{size:.4f}" for size in self.class_sizes_))
        for name, probabilities in self.item_response_probabilities_.items():
            for level, column in zip(self.item_levels_[name], probabilities.T, strict=True):
                lines.add_row(Text(f"p({name} = {level})"), *(f"{p:.4f}" for p in column))
        return lines

    def _criteria(self) -> RichTable:
        lines = _table("", "")
        lines.show_header = False
        lines.add_row("log-likelihood", f"{self.log_likelihood_:,.4f}")
        lines.add_row("free parameters", str(self.n_free_parameters_))
        lines.add_row("AIC", f"{self.aic_:,.4f}")
        lines.add_row("BIC", f"{self.bic_:,.4f}")
        lines.add_row("entropy R2", f"{self.entropy_r2_:.4f}")
        misplaced = 1 - np.trace(self.classification_table_) / self.classification_table_.sum()
        lines.add_row("expected share misplaced", f"{misplaced:.4f}")
        if self.G2_ is not None:
            for name, value, p in (("G2", self.G2_, self.G2_p_value_), ("chi2", self.chi2_, self.chi2_p_value_)):
                lines.add_row(f"{name} ({self.df_} df)", f"{value:,.4f}" + ("" if p is None else f"  p = {p:.4f}"))
        return lines

    def _largest_residuals(self) -> RichTable:
        names, residuals = list(self.item_levels_), self.bivariate_residuals_
        pairs = [(i, j) for i in range(len(names)) for j in range(i)]
        pairs.sort(key=lambda pair: -residuals[pair])
        lines = _table("pairs of items, least explained first", "bivariate residual")
        for i, j in pairs[:MAX_PAIRS]:
            lines.add_row(Text(f"{names[j]}, {names[i]}"), f"{residuals[i, j]:.3f}")
        return lines

    def __sklearn_tags__(self) -> Any:
        """Cells are categories, and may be missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _is_array(X: Any) -> bool:
    """Whether scikit-learn is to look at it; the rest are tables with columns of their own types."""
    return isinstance(X, np.ndarray | list | tuple) or hasattr(X, "toarray")


def _table(first: str, *others: str) -> RichTable:
    """Lines of text and numbers to their right."""
    lines = RichTable(box=None, pad_edge=False, padding=(0, 2))
    lines.add_column(first, overflow="fold")
    for title in others:
        lines.add_column(title, justify="right", no_wrap=True)
    return lines
