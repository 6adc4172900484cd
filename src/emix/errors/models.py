"""Errors about models and arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from emix.errors.base import EmixError, listed


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
    def lacks_event(cls, *, family: str, column: str, found: Sequence[str], remedy: str) -> Self:
        return cls(
            f"the family {family!r} has a column of events beside its durations, here {column!r}.\n"
            f"  Found it for {listed(found)} alone.\n  Give it to both: {remedy}"
        )

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
    def no_family(cls, *, found: object, is_structure: bool) -> Self:
        hint = "Give the class, not its name: 'poisson' is Poisson()" if isinstance(found, str) else "Correct it"
        if is_structure:
            hint = f"A covariance structure belongs to one: MultivariateNormal({found})"
        return cls(f"the family of a mixture must be a Family such as Poisson().\n  Found {found!r}.\n  {hint}.")

    @classmethod
    def kind(cls, *, name: str, requirement: str, found: object) -> Self:
        """An argument is something else than what is asked for, whatever its value."""
        shown = "None" if found is None else f"an object of type {type(found).__name__}"
        return cls(f"{name} needs {requirement}.\n  Found {shown}.\n  Correct the argument.")

    @classmethod
    def twice(cls, *, name: str, found: object) -> Self:
        return cls(f"{name} needs each candidate once.\n  Found {found!r} more than once.\n  Leave out what repeats.")

    @classmethod
    def no_mean(cls, *, column: str, family: object) -> Self:
        return cls(
            f"a missing cell is filled with the mean of its distribution.\n"
            f"  '{column}' has missing cells, and its family '{family}' has not a mean in every component.\n"
            f"  Draw the cells instead, with draws=1."
        )

    @classmethod
    def prior(cls, *, owner: str, kind: str, found: object) -> Self:
        return cls(f"{owner} needs a {kind} with hyperparameters.\n  Found {found!r}.\n  Correct the argument.")

    @classmethod
    def no_prior_rows(cls, *, columns: Sequence[str], family: str) -> Self:
        return cls(
            f"prior_rows needs families whose sums do not depend on their parameters.\n"
            f"  Those of '{family}' do, here: column{'s' * (len(columns) > 1)} {listed(columns)}.\n"
            f"  There choose another family; or leave prior_rows out, and give single families a prior of their own "
            f"(prior=)."
        )

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
