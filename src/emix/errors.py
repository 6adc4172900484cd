"""Every error and warning of emix, one factory per message.

A message says what is required, what was found and where, and what to do.
All errors derive from `EmixError`; those about data, models and files are also `ValueError`, those about a
fit that failed are also `RuntimeError`, so that callers who know only the built-in classes still catch them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
DATE = re.compile(r"\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{4})([T ].*)?")
"""What a date looks like: 2024-05-31, 31.5.2024 or 5/31/2024."""


def listed(names: Iterable[object], limit: int = 24) -> str:
    """Names in quotes, in a line: `'a', 'b', 'c' (and 4 more)`."""
    shown = [repr(str(name)) for name in names]
    more = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" (and {more} more)" if more > 0 else "")


class EmixError(Exception):
    """The parent of every error that emix raises on purpose."""


class DataError(EmixError, ValueError):
    """The data cannot be what they are said to be; the row and the column are named."""

    @classmethod
    def outside_support(
        cls,
        *,
        family: str,
        requirement: str,
        found: object,
        where: str,
        column: str,
        n_bad: int,
        n_rows: int,
        hint: str,
    ) -> Self:
        first = f": the first of {n_bad:,} such values in {n_rows:,} rows" if n_bad > 1 else ""
        return cls(
            f"family '{family}' needs {requirement}.\n  Found {found} in {where}, column '{column}'{first}.\n  {hint}"
        )

    @classmethod
    def not_a_number(cls, *, family: str, found: object, where: str, column: str) -> Self:
        text = str(found)
        if DATE.fullmatch(text):
            return cls.dates(column=column, found=text, where=where)
        if DECIMAL_COMMA.fullmatch(text):
            return cls.decimal_comma(column=column, found=text, where=where)
        return cls(
            f"family '{family}' needs numbers.\n  Found the text {found!r} in {where}, column '{column}'.\n"
            f"  Correct the cell, leave the column out, or use the family 'categorical'."
        )

    @classmethod
    def decimal_comma(cls, *, column: str, found: object, where: str) -> Self:
        text = str(found).strip()
        remedy = text.replace(",", ".")
        if len(text.partition(",")[2]) == 3:  # or is it between thousands?
            remedy += f" or {text.replace(',', '')}, whichever is meant"
        return cls(
            f"numbers need a decimal point.\n  Found {found!r} in {where}, column '{column}': a decimal comma.\n"
            f"  Write {remedy}. (Between semicolons or tabs decimal commas can be read.)"
        )

    @classmethod
    def dates(cls, *, column: str, found: object = None, where: str = "") -> Self:
        example = "" if found is None else f"  Found {found!r} in {where}.\n"
        return cls(
            f"column '{column}' holds dates: numbers, text or true/false are required.\n{example}"
            f"  Give a number, such as days since the first of them, or leave the column out."
        )

    @classmethod
    def not_plain_numbers(cls, *, column: str, kind: str) -> Self:
        return cls(
            f"Complex data not supported, nor dates or other objects: numbers, text or true/false are required.\n"
            f"  Found {kind} in column '{column}'.\n  Convert the column to numbers first, or leave it out."
        )

    @classmethod
    def missing(cls, *, family: str, where: str, column: str, n_bad: int) -> Self:
        return cls(
            f"family '{family}' cannot take missing values (NaN, null or an empty cell) yet.\n"
            f"  Found one in {where}, column '{column}' ({n_bad:,} in all).\n"
            f"  Drop these rows, or use a family that treats the columns as independent, such as 'normal'."
        )

    @classmethod
    def constant_column(cls, *, family: str, column: str, value: object) -> Self:
        return cls(
            f"family '{family}' needs columns that vary.\n"
            f"  Column '{column}' has the same value, {value}, in every row.\n"
            f"  Leave the column out: a constant says nothing about components."
        )

    @classmethod
    def units_differ(cls, *, structure: str, low: float, high: float) -> Self:
        return cls(
            f"the structure {structure} compares the variances of the columns: they must be in similar units.\n"
            f"  Found standard deviations from {low:.3g} to {high:.3g}.\n"
            f"  Scale the columns, or choose a structure that any units will do for: VVV, EEE, VEE, EVV, VVI, EEI."
        )

    @classmethod
    def scale(cls, *, family: str, column: str, low: float, high: float) -> Self:
        return cls(
            f"family '{family}' needs columns whose squares a computer can hold (a spread from 1e-140 to 1e140).\n"
            f"  Column '{column}' runs from {low:g} to {high:g}.\n  Change its unit."
        )

    @classmethod
    def all_missing(cls, *, column: str) -> Self:
        return cls(
            f"each column needs at least one observed value.\n  Column '{column}' is missing in every row.\n"
            f"  Leave the column out."
        )

    @classmethod
    def too_few_distinct(cls, *, n_distinct: int, n_rows: int, n_components: int) -> Self:
        rows = "1 sample" if n_rows == 1 else f"{n_rows:,} samples"
        return cls(
            f"{n_components} components need at least {n_components} distinct rows.\n"
            f"  Found {n_distinct} distinct among {rows}.\n"
            f"  Ask for at most {n_distinct} components, or bring more data."
        )

    @classmethod
    def unknown_column(cls, *, column: object, available: Sequence[object]) -> Self:
        return cls(f"there is no column {str(column)!r}.\n  The columns are: {listed(available)}.\n  Correct the name.")

    @classmethod
    def repeated_column(cls, *, column: str) -> Self:
        return cls(f"column names must be distinct.\n  Found '{column}' more than once.\n  Rename or drop one of them.")

    @classmethod
    def n_columns(cls, *, family: str, required: str, found: int) -> Self:
        return cls(f"family '{family}' needs {required}.\n  Found {found}.\n  Choose the columns.")

    @classmethod
    def width_changed(cls, *, required: Sequence[str], found: int) -> Self:
        return cls(
            f"the model was fitted to {len(required)} columns ({listed(required)}).\n  Found {found} columns.\n"
            f"  Give the same columns in the same order, or a data frame with these names."
        )

    @classmethod
    def unknown_level(cls, *, found: object, where: str, column: str, levels: Sequence[object]) -> Self:
        return cls(
            f"column '{column}' may only hold the levels that the model knows: {listed(levels)}.\n"
            f"  Found {found!r} in {where}.\n  Make the cell missing, let it count as missing with "
            f'Categorical(unknown="missing"), or fit the model again with such rows '
            f"(a stream: name all levels at its start, levels=)."
        )

    @classmethod
    def no_columns_beside(cls) -> Self:
        return cls("at least one column is required to fit.\n  Found none beside those of labels and weights.")

    @classmethod
    def no_rows(cls, what: str = "the data") -> Self:
        return cls(
            f"at least one row is required.\n  Found none in {what}.\n  Check the file or the selection of rows."
        )

    @classmethod
    def other_rows(cls, *, required: tuple[float, float], found: tuple[float, float]) -> Self:
        return cls(
            f"the report needs the rows that the model was fitted to, with the labels and weights of the fit.\n"
            f"  The fit had rows of total weight {required[0]:,.10g} and the log-likelihood {required[1]:.6f}.\n"
            f"  Found rows of total weight {found[0]:,.10g} and the log-likelihood {found[1]:.6f}.\n"
            f"  Give the same data, and labels and weights (--labels, --weights) where the fit had them."
        )

    @classmethod
    def no_columns(cls, shape: tuple[int, ...]) -> Self:
        return cls(f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required.")

    @classmethod
    def shape(cls, *, what: str, required: str, found: object) -> Self:
        return cls(f"{what} needs the shape {required}.\n  Found {found}.\n  Reshape your data.")

    @classmethod
    def unreadable(cls, kind: object) -> Self:
        return cls(
            f"data must be an array, a data frame (pandas, polars, pyarrow), a dict of columns or a path.\n"
            f"  Found {kind}.\n  Convert it first, for instance with numpy.asarray."
        )

    @classmethod
    def sample_weight(cls, *, found: object, where: str) -> Self:
        return cls(
            f"sample weights must be finite numbers >= 0.\n  Found {found} in {where}.\n"
            f"  Correct it; a weight of 0 leaves a row out."
        )

    @classmethod
    def weights_all_zero(cls) -> Self:
        return cls("sample weights must not all be zero.\n  Found only zeros.\n  Correct the weights.")

    @classmethod
    def label_range(cls, *, found: object, where: str, n_components: int) -> Self:
        return cls(
            f"labels must be 0..{n_components - 1} for {n_components} components, or -1 (or missing) where unknown.\n"
            f"  Found {found} in {where}.\n  Correct it, or ask for more components."
        )

    @classmethod
    def label_names(cls, *, names: Sequence[object], n_components: int) -> Self:
        return cls(
            f"labels may name at most {n_components} components.\n  Found {len(names)} names: {listed(names)}.\n"
            f"  Ask for more components, or correct the labels."
        )

    @classmethod
    def unknown_label(cls, *, found: object, where: str, names: Sequence[object]) -> Self:
        return cls(
            f"labels must name components that the model has: {listed(names)}.\n  Found {found!r} in {where}.\n"
            f"  Correct it, or make it missing where the component is unknown."
        )

    @classmethod
    def mixed_labels(cls, *, where: str) -> Self:
        return cls(
            f"labels are numbers or names of components, not both.\n  Found both in {where} and above it.\n"
            f"  Use one kind throughout."
        )

    @classmethod
    def new_label(cls, *, found: object, where: str, names: Sequence[object]) -> Self:
        return cls(
            f"labels of a batch are numbers, or names that the first fit knew: {listed(names) or 'none'}.\n"
            f"  Found {found!r} in {where}.\n  Correct it, or let the first rows hold every name."
        )

    @classmethod
    def knowledge(cls, *, found: object, where: str) -> Self:
        return cls(
            f"label knowledge (n, K) needs finite numbers >= 0 and a positive one in each row.\n"
            f"  Found {found} in {where}.\n  Use a row of ones where nothing is known."
        )

    @classmethod
    def tosses(cls, *, found: str, line: int) -> Self:
        return cls(
            f"a file of coin tosses holds only H and T, one sequence per line.\n  Found {found!r} in line {line}.\n"
            f"  Correct the line."
        )

    @classmethod
    def toss_counts(cls, *, where: str, found: int, required: int) -> Self:
        return cls(
            f"each sequence needs {required} tosses (n_trials={required}).\n  Found {found} in {where}.\n"
            f"  Use n_trials='tosses' where the numbers differ."
        )

    @classmethod
    def no_file(cls, path: Path | str) -> Self:
        return cls(f"a file is required.\n  There is none at '{path}'.\n  Check the path.")

    @classmethod
    def in_start(cls, detail: Exception) -> Self:
        return cls(f"start: {detail}")

    @classmethod
    def no_header(cls, path: Path | str, *, found: Sequence[str]) -> Self:
        return cls(
            f"the first line of a table names its columns.\n  In '{path}' it holds numbers: {listed(found)}.\n"
            f"  Add a line with names."
        )

    @classmethod
    def empty_file(cls, path: Path | str) -> Self:
        return cls(f"a table needs a header and rows.\n  The file '{path}' has none.\n  Check the path.")

    @classmethod
    def binary_file(cls, path: Path | str) -> Self:
        return cls(
            f"text (CSV, TSV, coin tosses) or Parquet is required.\n  The file '{path}' holds other binary data.\n"
            f"  Convert it first."
        )

    @classmethod
    def damaged_file(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"the file '{path}' cannot be read as a table.\n  {detail}\n  Correct the file.")

    @classmethod
    def vanished_file(cls, path: Path | str) -> Self:
        return cls(
            f"the files of a scan are read again at each pass.\n  '{path}' is no longer there, or cannot be opened.\n"
            f"  Put it back and fit again."
        )

    @classmethod
    def changed_file(cls, path: Path | str, *, before: int, now: int) -> Self:
        return cls(
            f"the files of a scan must stay as they are while they are read.\n"
            f"  '{path}' had {before:,} rows and now has {now:,}.\n  Scan the files anew."
        )

    @classmethod
    def changed_source(cls, what: str, *, before: int, now: int) -> Self:
        return cls(
            f"a scan must hand out the same rows at each pass.\n  {what} had {before:,} rows that count, now {now:,}.\n"
            f"  Give it an order and a fixed content, for example by writing it to files first."
        )

    @classmethod
    def column_missing_in_file(cls, path: Path | str, *, column: str, available: Sequence[str]) -> Self:
        return cls(
            f"all files of a scan need the same columns.\n  '{path}' has no column '{column}'; its columns are: "
            f"{listed(available)}.\n  Correct the file, or leave it or the column out."
        )

    @classmethod
    def type_differs_in_file(cls, path: Path | str, *, column: str, required: str, found: str) -> Self:
        return cls(
            f"a column needs one type in all files of a scan.\n  Column '{column}' is {found} in '{path}' and "
            f"{required} in the first file.\n  Convert the file, or leave it out."
        )

    @classmethod
    def file_kinds(cls, files: Sequence[Path], *, known: Iterable[str]) -> Self:
        found = sorted({path.suffix or path.name for path in files})
        return cls(
            f"the files of a scan are of one kind: Parquet, Arrow IPC or CSV (by their endings: {listed(known)}).\n"
            f"  Found: {listed(found)}.\n  Name only such files, for example with a glob."
        )

    @classmethod
    def failed_partition(cls, number: int, *, n_partitions: int, detail: str) -> Self:
        return cls(
            f"each partition of a Dask collection must be readable.\n"
            f"  Partition {number} of {n_partitions} failed with {detail}\n"
            f"  Correct what it is made from: `.partitions[{number}].compute()` shows the whole error."
        )

    @classmethod
    def needs_memory(cls, what: str) -> Self:
        return cls(
            f"{what} needs all rows in memory.\n  Found a scan larger than its memory_limit, or a Dask collection.\n"
            f"  Raise it (emix.scan(..., memory_limit=...)), or take a sample of the rows."
        )

    @classmethod
    def ragged_file(cls, path: Path | str, *, line: int, required: int, found: int) -> Self:
        return cls(
            f"each line of a table needs as many cells as its header.\n"
            f"  The file '{path}' has {found} instead of {required} in line {line}.\n  Correct the line."
        )


class ImpossibleRowError(DataError):
    """A row has probability 0 under every component."""

    row: int = -1

    @classmethod
    def at(cls, row: int, where: str | None = None) -> Self:
        place = f"row {row}" if where is None else where
        error = cls(
            f"each row must be possible under at least one component.\n"
            f"  {place[0].upper()}{place[1:]} has probability 0 under all of them (with what its label allows).\n"
            f"  Start from parameters without exact zeros or ones, or correct the row or its label."
        )
        error.row = row
        return error


class ModelError(EmixError, ValueError):
    """A specification, a parameter or an argument that cannot be."""

    @classmethod
    def parameter(cls, *, family: str, name: str, requirement: str, found: object) -> Self:
        return cls(f"{family}: {name} needs {requirement}.\n  Found {found}.\n  Correct the value.")

    @classmethod
    def n_components_differ(cls, counts: dict[str, int]) -> Self:
        found = ", ".join(f"{name}: {count}" for name, count in counts.items())
        return cls(f"parameters need one entry per component.\n  Found different numbers: {found}.\n  Make them equal.")

    @classmethod
    def n_components(cls, found: object) -> Self:
        return cls(f"n_components must be a whole number >= 1.\n  Found {found!r}.\n  Ask for one component or more.")

    @classmethod
    def n_components_missing(cls) -> Self:
        return cls(
            "the number of components is required.\n  Found neither n_components nor parameters.\n"
            "  Write Mixture(family, n_components=2), or give the family its parameters."
        )

    @classmethod
    def unknown_family(cls, *, found: object, available: Iterable[str]) -> Self:
        return cls(f"unknown family {found!r}.\n  The families are: {listed(available, 40)}.\n  Correct the name.")

    @classmethod
    def family_text(cls, *, found: str, detail: str) -> Self:
        return cls(f"a family is written like 'poisson' or 'binomial(n_trials=10)'.\n  Found {found!r}: {detail}.")

    @classmethod
    def unknown_distribution(cls, *, found: str, close: Sequence[str]) -> Self:
        near = f"did you mean {listed(close)}?" if close else "its documentation lists them."
        return cls(f"a distribution of scipy.stats with one dimension is required.\n  Found {found!r}: {near}")

    @classmethod
    def no_distribution(cls, found: str) -> Self:
        return cls(
            f"a distribution of scipy.stats with one dimension is required, such as 'weibull_min'.\n  Found {found}.\n"
            f"  Give its name; for several correlated columns take MultivariateNormal or StudentT."
        )

    @classmethod
    def held_shape(cls, *, distribution: str, name: str, found: object) -> Self:
        return cls(
            f"{name} of '{distribution}' is nothing but whole numbers: it cannot be estimated.\n  Found {found}.\n"
            f"  Hold it at a number: ScipyDistribution({distribution!r}, {name}=10)."
        )

    @classmethod
    def other_values(cls, *, distribution: str, column: str, found: float | None) -> Self:
        said = "no values at all" if found is None else f"{found!r}, which they lack"
        return cls(
            f"sums for '{distribution}' are over the values of the data that it was bound to.\n"
            f"  Found {said}, in column '{column}'.\n  Bind the model to these data: emix.e_step and emix.fit do."
        )

    @classmethod
    def choice(cls, *, what: str, found: object, available: Iterable[object]) -> Self:
        return cls(f"unknown {what} {found!r}.\n  The choices are: {listed(available)}.\n  Correct the name.")

    @classmethod
    def unknown_fixed(cls, *, found: object, available: Iterable[str]) -> Self:
        return cls(f"there is no parameter {found!r} to hold fixed.\n  There are: {listed(available)}.")

    @classmethod
    def fixed_without_value(cls, name: str) -> Self:
        return cls(
            f"a parameter that is held fixed needs a value.\n  Found none for '{name}'.\n"
            f"  Give it to the family, or do not hold it fixed."
        )

    @classmethod
    def constraint_text(cls, *, found: object, detail: str) -> Self:
        return cls(
            f"a constraint is written like 'sd tied', 'mean[0] = 0', 'mean[0] = mean[1]', 'mean[1] fixed' or "
            f"'0.1 <= mixing_proportions[1]'.\n  Found {found!r}: {detail}.\n  Correct the text."
        )

    @classmethod
    def constraint_parameter(cls, *, found: object, name: str, available: Iterable[str]) -> Self:
        return cls(
            f"a constraint speaks of a parameter of the model.\n  '{found}' speaks of {name!r}; there are: "
            f"{listed(available)}.\n  Correct the name."
        )

    @classmethod
    def constraint_index(cls, *, found: object, what: str, index: object, available: Iterable[str]) -> Self:
        return cls(
            f"the indices of a constraint are COMPONENT, COLUMN, LEVEL.\n  '{found}' speaks of the {what} {index!r}; "
            f"there are: {listed(available)}.\n  Correct the index."
        )

    @classmethod
    def constraint_impossible(cls, *, found: object, detail: str) -> Self:
        return cls(f"constraints must leave something possible.\n  '{found}': {detail}.\n  Correct the constraint.")

    @classmethod
    def constraint_matrix(cls, *, found: object, name: str) -> Self:
        return cls(
            f"the entries of '{name}' are matrices: each is free, or held as a whole ('{name}[0] fixed').\n"
            f"  Found '{found}'.\n  For equal covariances take the structure EEE (or 'tied'); EEI, EII, VEE and others "
            f"share parts of them."
        )

    @classmethod
    def constraint_violated(cls, *, name: str, component: int, found: float, constraints: str) -> Self:
        return cls(
            f"given parameters must satisfy the constraints: {constraints}.\n"
            f"  Found {found!r} in '{name}' of component {component}.\n"
            f"  Correct it; or start from responsibilities, of any model: start=emix.responsibilities(model, data)."
        )

    @classmethod
    def constraints_beside(cls, *, family: str, what: str, instead: str) -> Self:
        return cls(
            f"constraints on the family '{family}' need a maximum that no {what} moves.\n  Found both.\n"
            f"  Leave one of them out, or take {instead}."
        )

    @classmethod
    def not_fitted(cls, what: str) -> Self:
        return cls(f"a model with parameters is required.\n  {what} has none.\n  Fit it first, or give the parameters.")

    @classmethod
    def argument(cls, *, name: str, requirement: str, found: object) -> Self:
        return cls(f"{name} needs {requirement}.\n  Found {found!r}.\n  Correct the argument.")

    @classmethod
    def prior(cls, *, owner: str, kind: str, found: object) -> Self:
        return cls(f"{owner} needs a {kind} with hyperparameters.\n  Found {found!r}.\n  Correct the argument.")

    @classmethod
    def too_many_factors(cls, *, found: int, most: int, n_columns: int) -> Self:
        factors = f"at most {most} common factor{'s' * (most > 1)}" if most else "no common factors"
        remedy = f"Ask for at most {most}" if most else "Bring more columns (3 can tell 1 factor)"
        return cls(
            f"{n_columns} column{'s' * (n_columns > 1)} can tell {factors}: more have as many parameters as any "
            f"covariance.\n  Found n_factors={found}.\n  {remedy}, or choose the structure 'full'."
        )

    @classmethod
    def outside_prior(cls, model: object) -> Self:
        return cls(
            f"a start needs parameters that are possible under the prior.\n"
            f"  In {model} one lies on the boundary, where the prior's density is 0.\n"
            f"  Start from a value inside, or hold the parameter fixed."
        )

    @classmethod
    def no_free_parameters(cls, model: object) -> Self:
        return cls(
            f"AIC and BIC need the number of free parameters.\n  {type(model).__name__} has no `n_free_parameters`.\n"
            f"  Add it to the class."
        )

    @classmethod
    def no_vector(cls, model: object) -> Self:
        return cls(
            f"standard errors need a model with a vector form.\n  {type(model).__name__} has no `to_vector()` and "
            f"`from_vector(vector)`.\n  Add them: all free parameters as real numbers without bounds, and back."
        )

    @classmethod
    def hypothesis(cls, *, found: object, detail: str) -> Self:
        return cls(
            f"a hypothesis is written like 'mean[0, waiting] = mean[1, waiting]'.\n  Found {found!r}: {detail}.\n"
            f"  `names` of the standard errors lists what can be named."
        )

    @classmethod
    def needs_linear(cls, *, what: str, found: object) -> Self:
        return cls(
            f"{what} needs a mixture whose sums do not depend on its parameters.\n  Found {found}.\n"
            f"  Fit all rows with algorithm='batch', or choose another family."
        )

    @classmethod
    def too_few_seen(cls, *, seen: int, required: int) -> Self:
        return cls(
            f"the first fit of a stream needs {required:,} rows (first_rows).\n  Seen so far: {seen:,}.\n"
            f"  Give more batches to update."
        )

    @classmethod
    def spilled_checkpoint(cls, *, limit: int) -> Self:
        return cls(
            f"a checkpoint of incremental EM holds the statistics of all blocks, at most {limit:,} bytes.\n"
            f"  They are more, and lie in a temporary file.\n"
            f"  Ask for fewer blocks (n_blocks=), leave the checkpoint out, or use algorithm='batch'."
        )

    @classmethod
    def needs_parameters(cls, model: object) -> Self:
        return cls(
            f"the stopping rule 'parameters' compares parameters.\n"
            f"  {type(model).__name__} has neither `parameters` (a dict of arrays) nor numeric dataclass fields.\n"
            f"  Add them, or use another rule."
        )

    # the words of scikit-learn, which the drop-in class repeats

    @classmethod
    def too_few_samples(cls, *, n_components: int, n_samples: int) -> Self:
        return cls(f"Expected n_samples >= n_components but got n_components = {n_components}, n_samples = {n_samples}")

    @classmethod
    def nothing_to_sample(cls, n_samples: object) -> Self:
        return cls(f"Invalid value for 'n_samples': {n_samples!r}. The sampling requires at least one sample.")

    @classmethod
    def init_shape(cls, *, name: str, shape: tuple[int, ...], found: tuple[int, ...]) -> Self:
        return cls(f"The parameter '{name}' should have the shape of {shape}, but got {found}")

    @classmethod
    def init_range(cls, *, low: float, high: float) -> Self:  # theirs calls the smallest "max": hence the second line
        return cls(
            f"The parameter 'weights' should be in the range [0, 1], but got max value {low:.5f}, min value {high:.5f}"
            f"\n  The smallest is {low:.5f}, the largest {high:.5f}."
        )

    @classmethod
    def init_sum(cls, total: float) -> Self:
        return cls(f"The parameter 'weights' should be normalized, but got sum(weights) = {total:.5f}")

    @classmethod
    def init_precision(cls, *, name: str, requirement: str) -> Self:
        return cls(f"'{name}' should be {requirement}")


class FileError(EmixError, ValueError):
    """A model file that is damaged, foreign or newer, or an output that cannot be written."""

    @classmethod
    def not_a_model(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"an emix model file is required.\n  '{path}': {detail}.\n  Make it with --out or emix.save.")

    @classmethod
    def newer(cls, path: Path | str, *, found: object, known: int) -> Self:
        return cls(
            f"this emix reads model files up to schema version {known}.\n  '{path}' has version {found}.\n"
            f"  Install a newer emix."
        )

    @classmethod
    def not_writable(cls, path: Path | str, *, detail: str) -> Self:
        return cls(f"an output that can be written is required.\n  '{path}': {detail}.\n  Choose another path.")

    @classmethod
    def not_a_checkpoint(cls, path: Path | str, *, detail: str) -> Self:
        return cls(
            f"a checkpoint that emix wrote is required, or no file at all.\n  '{path}': {detail}.\n"
            f"  It was left as it is: name another file, or remove this one to begin anew."
        )

    @classmethod
    def other_checkpoint(cls, path: Path | str, *, what: str, found: object, asked: object) -> Self:
        def short(value: object) -> str:
            text = str(value)
            return text if len(text) <= 80 else text[:77] + "..."

        return cls(
            f"a checkpoint goes on with the very fit that wrote it.\n"
            f"  '{path}' was written for {what} = {short(found)}; now it is {short(asked)}.\n"
            f"  It was left as it is: repeat the call that wrote it, or name another file."
        )

    @classmethod
    def no_room(cls, path: Path | str, *, n_bytes: int, detail: str) -> Self:
        return cls(
            f"the statistics of all blocks need {n_bytes:,} bytes in a temporary file.\n  '{path}': {detail}.\n"
            f"  Ask for fewer blocks (n_blocks=), or name a larger folder in the variable TMPDIR."
        )

    @classmethod
    def no_extra(cls, *, package: str, extra: str) -> Self:
        return cls(f"this needs the package '{package}'.\n  It is not installed.\n  Run: pip install 'emix[{extra}]'")


class ClusterError(EmixError, RuntimeError):
    """A Dask cluster that does not answer, breaks down, or whose workers lack what a fit needs."""

    @classmethod
    def unreachable(cls, address: str, *, detail: str) -> Self:
        return cls(
            f"a Dask scheduler is required.\n  None answers at '{address}': {detail}\n"
            f"  Start one (dask scheduler; dask worker tcp://...), correct the address, or use 'local'."
        )

    @classmethod
    def workers(cls, *, worker: str, found: object, required: str) -> Self:
        has = f"emix {found}" if isinstance(found, str) else f"no emix that can be imported ({found})"
        return cls(
            f"every worker of the cluster needs emix {required}.\n  The worker {worker} has {has}.\n"
            f"  Install this version of emix on the workers, and start them again."
        )

    @classmethod
    def no_file_on_worker(cls, path: Path) -> Self:
        return cls(
            f"the workers of the cluster read the files themselves.\n  One of them finds no '{path}'.\n"
            f"  Put the files where all workers see them under the same path."
        )

    @classmethod
    def lost(cls, *, detail: str) -> Self:
        return cls(
            f"the cluster could not finish a pass.\n  {detail}\n"
            f"  Where workers were killed for their memory, give them more, or cut the data into more partitions; then "
            f"repeat the call (checkpoint= goes on from the last pass)."
        )


class FitError(EmixError, RuntimeError):
    """The fit failed for a reason that lies in the data and the model together."""

    @classmethod
    def degenerate_in_every_start(cls, *, n_starts: int, first: str) -> Self:
        starts = "the only start" if n_starts == 1 else f"all {n_starts} starts"
        return cls(
            f"no start led to a fit: {starts} ended in a degenerate component.\n  {first}\n"
            f"  Ask for fewer components or a simpler covariance (diag, spherical, tied); for more starts (n_init); or "
            f"give the variances a floor (variance_floor=0.001 of Normal, LogNormal or MultivariateNormal), or the "
            f"family a prior (prior=True, or prior_rows=1.0 of Mixture)."
        )

    @classmethod
    def no_candidate(cls, *, n_candidates: int, criterion: str, first: Sequence[str]) -> Self:
        reason = f"\n  The first failed: {first[0]}" if first else ""
        return cls(
            f"no candidate can be chosen by {criterion}: none of {n_candidates} has a finite value.{reason}\n"
            f"  Ask for fewer components or other families."
        )

    @classmethod
    def not_converged(cls, *, sentence: str, what: str) -> Self:
        return cls(
            f"{what} need a fit that converged.\n  This one: {sentence}.\n"
            f"  Fit again from it (start=result.model) with a larger max_iter, or another stopping rule."
        )

    @classmethod
    def other_data(cls, *, found: float, required: float) -> Self:
        return cls(
            f"the rows of the fit are required, with its labels= and sample_weight=.\n"
            f"  The model has the log-likelihood {found!r} on these rows, and had {required!r} in its fit.\n"
            f"  Give the same data, labels and weights."
        )

    @classmethod
    def no_maximum(cls, *, curvature: float) -> Self:
        return cls(
            f"standard errors need a maximum of the likelihood.\n"
            f"  In one direction the log-likelihood rises on both sides (curvature {curvature:.2g} of that of complete "
            f"data): a saddle.\n  Fit again with more starts (n_init), or fewer components."
        )

    @classmethod
    def too_few_replicates(cls, *, n: int, required: int, reason: str) -> Self:
        return cls(
            f"at least {required} replicates must succeed.\n  Only {n} did. {reason}\n"
            f"  Ask for more replicates, for fewer components, or for another kind of bootstrap."
        )


class DegenerateError(FitError):
    """A component lost its spread or its rows; ends one start, not the fit."""

    component: int = -1
    weight: float = 0.0
    """Of the rows that it rests on."""

    @classmethod
    def collapsed(cls, *, component: int, column: str, ratio: float, weight: float) -> Self:
        error = cls(
            f"component {component} collapsed: its variance of '{column}' fell to {ratio:.1e} of the whole column's, "
            f"on rows of total weight {weight:.6g}."
        )
        error.component, error.weight = component, weight
        return error

    @classmethod
    def unbounded(cls, *, component: int, column: str, distribution: str, at: float, weight: float) -> Self:
        error = cls(
            f"the density of component {component} rises without bound at {at!r} of '{column}'. Hold a parameter of "
            f"'{distribution}' that lets it, mostly loc (loc=0)."
        )
        error.component, error.weight = component, weight
        return error

    @classmethod
    def nowhere(cls, *, component: int, column: str, distribution: str) -> Self:
        error = cls(
            f"no parameters that were tried for '{distribution}' allow all values of '{column}' in component "
            f"{component}. Start from parameters, or hold fewer of them."
        )
        error.component = component
        return error

    @classmethod
    def empty(cls, *, component: int) -> Self:
        error = cls(f"component {component} has no rows to be estimated from.")
        error.component = component
        return error

    @classmethod
    def no_events(cls, *, component: int, weight: float) -> Self:
        error = cls(f"component {component} has no events: its scale would be infinite.")
        error.component, error.weight = component, weight
        return error

    @classmethod
    def few_events(cls, *, component: int) -> Self:
        error = cls(f"component {component} has next to no events: its scale left the range of numbers.")
        error.component = component
        return error


class RootNotFoundError(FitError):
    """A solver inside an M-step did not converge; no unconverged number is returned."""

    @classmethod
    def scipy_maximum(cls, *, distribution: str, component: int, column: str, last: object) -> Self:
        return cls(
            f"the likelihood of '{distribution}' for '{column}' in component {component} was not maximized.\n"
            f"  Found no end of the climb; last: {last}.\n"
            f"  Hold a parameter that the data say nothing of, or start from parameters nearer to the end."
        )

    @classmethod
    def newton(cls, *, what: str, max_steps: int, found: dict[str, Any]) -> Self:
        pairs = ((name, value.tolist() if hasattr(value, "tolist") else value) for name, value in found.items())
        numbers = "; ".join(f"{name}: {value}" for name, value in pairs)
        return cls(
            f"{what} did not converge in {max_steps} safeguarded Newton steps ({numbers}).\n"
            f"  This is a defect of emix: please report it with these numbers."
        )

    @classmethod
    def newton_gain(cls, *, what: str, max_steps: int, gain: float) -> Self:
        return cls.newton(what=what, max_steps=max_steps, found={"still to gain": f"{gain:.3g}"})

    @classmethod
    def constrained(cls, *, what: str, max_iter: int, left: float) -> Self:
        return cls(
            f"the maximum under the constraints on {what} was not found in {max_iter} steps (still to gain: {left:.3g} "
            f"nats).\n  Loosen the constraints, or give the model parameters to start from."
        )


class InvariantError(FitError):
    """A law of EM was violated; the iteration is named. Never passed off as convergence."""

    @classmethod
    def fell(cls, *, iteration: int, before: float, after: float, allowed: float) -> Self:
        return cls(
            f"the objective must never fall.\n  In iteration {iteration} it fell from {before!r} to {after!r}, "
            f"by more than rounding explains ({allowed:.1e}).\n"
            f"  The model's `maximize` does not maximize what its `expect` sums, or the data are too ill-conditioned."
        )

    @classmethod
    def lost_weight(cls, *, iteration: int, counted: float, total: float) -> Self:
        return cls(
            f"the expected counts must add up to the total weight.\n  In iteration {iteration} they add up to "
            f"{counted!r} instead of {total!r}.\n  The model's `expect` loses or invents rows."
        )

    @classmethod
    def not_finite(cls, *, iteration: int, found: float) -> Self:
        return cls(
            f"the log-likelihood must be finite.\n  In iteration {iteration} it is {found}.\n"
            f"  Check the model's `expect`, or the scale of the data."
        )


class EmixWarning(UserWarning):
    """The parent of every warning of emix."""


class ConvergenceWarning(EmixWarning):
    """The fit ended before its stopping rule was met."""


class CheckpointWarning(EmixWarning):
    """A checkpoint could not be written; the fit goes on without it."""
