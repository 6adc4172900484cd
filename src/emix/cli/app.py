"""Commands, their options and help. Nothing heavy is imported before a command runs: `emix --help` answers at once."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from emix.errors import EmixError, FitError, ModelError

app = typer.Typer(
    name="emix",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Fit latent-variable models by expectation maximization: mixtures of coins, counts, categories, Gaussians.",
    epilog=(
        "Example: **emix fit examples/old_faithful.csv --components 2**\n\n"
        "Exit codes: 0 fitted and converged; 1 fitted, not converged; 2 bad input or usage; 3 the fit failed; "
        "130 interrupted."
    ),
)


def _guarded(command: Callable[..., int]) -> Callable[..., None]:
    """One place that turns errors into a message on stderr and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
            sys.stdout.flush()  # a full disk is found here and not at the interpreter's exit
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            code = 130
        except EmixError as error:
            from emix.cli.wording import for_command_line

            typer.echo(f"Error: {for_command_line(str(error))}", err=True)
            code = 3 if isinstance(error, FitError) else 2
        except BrokenPipeError:  # `emix sample ... | head`
            sys.stderr.close()
            code = 0
        except OSError as error:
            typer.echo(f"Error: reading or writing failed: {error.strerror or error}", err=True)
            code = 2
        raise typer.Exit(code)

    return wrapper


def _print_version(asked: bool) -> None:
    if asked:
        from emix import __version__

        typer.echo(f"emix {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


PATHS = (
    "CSV, TSV, Parquet, or text with one sequence of H and T per line; or several files, a folder, or a glob in "
    "quotes, of Parquet, Arrow or CSV files"
)
HELD = f"{PATHS} of up to 64 MiB (8 bytes a cell): the rows are held in memory."
DataArguments = Annotated[
    list[Path], typer.Argument(help=f"{PATHS} of any size, which are read as the rows stream by.")
]
HeldArguments = Annotated[list[Path], typer.Argument(help=HELD)]
FittedArguments = Annotated[list[Path], typer.Argument(help=f"The rows that the model was fitted to: {HELD}")]
ModelArgument = Annotated[Path, typer.Argument(help="A model file, as `emix fit --out` writes it.")]
Components = Annotated[int, typer.Option("--components", "-k", help="Number of components.")]
ComponentsToTry = Annotated[
    str, typer.Option("--components", "-k", help="Number of components; `1:9` or `2,3,5` to choose among them.")
]
FamilyOption = Annotated[
    list[str] | None,
    typer.Option(
        help='E.g. `poisson`, `normal`, `categorical`, `"binomial(n_trials=10)"`, `"poisson(prior=gamma(2, 0.5))"`; or '
        "for single columns, `income=lognormal,age=normal`, and for correlated ones "
        '`"(height,weight)=multivariate_normal"`. Default: from the columns; several numeric columns are one '
        "multivariate_normal, a table of several kinds has a family for each column, toss files are binomial."
    ),
]
Covariance = Annotated[
    str | None,
    typer.Option(
        help="Of a multivariate_normal: `full`, `tied`, `diag`, `spherical`; mclust's EII, VII, EEI, VEI, EVI, VVI, "
        "EEE, VEE, EVE, VVE, EEV, VEV, EVV, VVV; or `factor_analytic(2)`. For `fit` also `all`, or several. "
        "Default: full. In a table of several kinds the columns of numbers together are one."
    ),
]
Noise = Annotated[bool, typer.Option("--noise", help="One component more, uniform, for rows that belong to no other.")]
Columns = Annotated[str | None, typer.Option(help="Columns to use, e.g. `eruptions,waiting`. Default: all.")]
Labels = Annotated[
    str | None, typer.Option(help="Column with known components: 0..K-1 or names; empty or -1 where unknown.")
]
Weights = Annotated[str | None, typer.Option(help="Column with row weights: 3 equals the row three times.")]
Start = Annotated[
    str | None,
    typer.Option(
        help="`k-means++`, `random`, `ward`, `short-runs`; a model file; or parameters, e.g. "
        '`"probability=0.6,0.5; mixing_proportions=0.5,0.5"`. To choose among models also `nested`.'
    ),
]
Fix = Annotated[str | None, typer.Option(help="Parameters to hold fixed, e.g. `mixing_proportions`.")]
PriorRows = Annotated[
    float,
    typer.Option(help="A weak prior: so many rows more in each component, like the whole table. Default: none."),
]
UnknownMissing = Annotated[
    bool, typer.Option("--unknown-missing", help="A category that the model does not know counts as missing.")
]
Constrain = Annotated[
    list[str] | None,
    typer.Option(
        help='A constraint, as often as there are: `"sd tied"`, `"mean[0] = 0"`, `"mean[0] = mean[1]"`, '
        '`"mean[1] fixed"`, `"0.1 <= mixing_proportions[1]"`; the indices are COMPONENT, COLUMN, LEVEL.'
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the random starts. Default: drawn, and printed.")]
SeedOfDraws = Annotated[int | None, typer.Option(help="Seed of what is drawn. Default: drawn itself, and printed.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file (whole or not at all).")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable document on stdout.")]


@app.command(epilog='Example: **emix fit tosses.txt -k 2 --family "binomial(n_trials=10)" --out coins.json**')
@_guarded
def fit(
    data: DataArguments,
    components: ComponentsToTry = "2",
    family: FamilyOption = None,
    covariance: Covariance = None,
    noise: Noise = False,
    columns: Columns = None,
    labels: Labels = None,
    weights: Weights = None,
    start: Start = None,
    fix: Fix = None,
    constrain: Constrain = None,
    stop: Annotated[
        str, typer.Option(help="`aitken`, `relative`, `parameters`, `mean-gain` or `iterations`.")
    ] = "aitken",
    tol: Annotated[
        float | None, typer.Option(help="For aitken (1e-6): log-likelihood still to be gained, total, in nats.")
    ] = None,
    max_iter: Annotated[int, typer.Option(help="Iterations at most, per start.")] = 10_000,
    n_init: Annotated[int, typer.Option(help="Number of random starts.")] = 10,
    algorithm: Annotated[
        str, typer.Option(help="`batch`, or `incremental`: fewer passes over many rows that are in no order.")
    ] = "batch",
    n_blocks: Annotated[int | None, typer.Option(help="Blocks of incremental EM. Default: 16 at most.")] = None,
    n_jobs: Annotated[int, typer.Option(help="Threads; -1 for all cores.")] = -1,
    seed: Seed = None,
    prior_rows: PriorRows = 0.0,
    criterion: Annotated[
        str | None,
        typer.Option(help="To choose by: `bic`, `aic`, `aicc`, `sabic`, `icl` or `cross_validated`. Default: bic."),
    ] = None,
    cross_validate: Annotated[
        int | None, typer.Option(help="Folds of a cross-validated log-likelihood for each candidate.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Keep the state of the fit in this file; the same command goes on from it if interrupted."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Let the workers of a Dask cluster read the files, and keep them: its scheduler's address, "
            "`tcp://host:port`, or `local` for one worker process per core."
        ),
    ] = None,
    out: Out = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write an HTML report: words, pictures, EM step by step.")
    ] = None,
    json: Json = False,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Standard errors and 95% intervals of all parameters.")
    ] = False,
) -> int:
    """Fit a mixture to a table and say what was found.

    With several `--components`, `--family` or `--covariance` all of them are fitted side by side, and the best is
    chosen: `--components 1:9 --covariance all`, `--family poisson,negative_binomial`.
    """
    from emix.cli import commands
    from emix.cli.choice import read_choice
    from emix.cli.paths import check_apart

    check_apart(data, out=out, report=report, checkpoint=checkpoint)
    choice = read_choice(components, family, covariance, criterion, cross_validate)
    one = None if choice.families and choice.is_asked_for else commands.one_family(family)
    number = 0 if choice.is_asked_for else choice.numbers[0]
    own = (columns, labels, weights, start, fix, seed, prior_rows, tuple(constrain or ()))
    request = commands.Request(data, number, one, covariance, noise, *own)
    options: dict[str, Any] = {"stop": stop, "tol": tol, "max_iter": max_iter, "n_init": n_init}
    if choice.is_asked_for:
        from emix.cli import selection  # a third of a second that one fit need not wait for

        for name, given in (("--dask", dask), ("--checkpoint", checkpoint)):
            if given is not None:
                raise ModelError.argument(name=name, requirement="a single candidate", found="several")
        options |= {"n_jobs": n_jobs, "with_intervals": intervals, "report_to": report}
        return selection.fit(request, choice, **options, out=out, as_json=json)
    how = {"algorithm": algorithm, "n_blocks": n_blocks, "n_jobs": n_jobs, "checkpoint": checkpoint}
    options |= {"how": how, "dask": dask, "with_intervals": intervals, "report_to": report}
    return commands.fit(request, **options, out=out, as_json=json)


@app.command(epilog="Example: **emix intervals model.json examples/old_faithful.csv**")
@_guarded
def intervals(
    model: ModelArgument,
    data: FittedArguments,
    method: Annotated[
        str, typer.Option(help="`observed` information, `outer` product of the scores, or the `sandwich` of both.")
    ] = "observed",
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    labels: Labels = None,
    weights: Weights = None,
    json: Json = False,
) -> int:
    """Standard errors and intervals of the parameters of a saved fit."""
    from emix.cli import commands

    return commands.of_intervals(model, data, method=method, level=level, labels=labels, weights=weights, as_json=json)


@app.command(epilog="Example: **emix predict model.json new_rows.csv --out components.csv**")
@_guarded
def predict(
    model: ModelArgument,
    data: DataArguments,
    unknown_missing: UnknownMissing = False,
    out: Out = None,
    json: Json = False,
) -> int:
    """Each row's component and responsibilities, as CSV."""
    from emix.cli import commands
    from emix.cli.paths import check_apart

    check_apart([model, *data], out=out)
    return commands.predict(model, data, out=out, as_json=json, unknown=unknown_missing)


@app.command(epilog="Example: **emix score model.json new_rows.csv**")
@_guarded
def score(
    model: ModelArgument,
    data: DataArguments,
    weights: Weights = None,
    unknown_missing: UnknownMissing = False,
    json: Json = False,
) -> int:
    """Log-likelihood of rows under a model."""
    from emix.cli import commands

    return commands.score(model, data, weights=weights, as_json=json, unknown=unknown_missing)


@app.command(epilog="Example: **emix impute model.json rows.csv --draws 5 --seed 1 --out complete.csv**")
@_guarded
def impute(
    model: ModelArgument,
    data: HeldArguments,
    draws: Annotated[
        int | None,
        typer.Option(help="So many completed tables, drawn, one after another. Default: one, with conditional means."),
    ] = None,
    seed: SeedOfDraws = None,
    unknown_missing: UnknownMissing = False,
    out: Out = None,
    json: Json = False,
) -> int:
    """Rows with their missing cells filled in, as CSV."""
    from emix.cli import rows
    from emix.cli.paths import check_apart

    check_apart([model], out=out)  # the table itself may be completed in place
    return rows.impute(model, data, draws=draws, seed=seed, out=out, as_json=json, unknown=unknown_missing)


@app.command(epilog="Example: **emix sample model.json -n 100 --seed 1 --out rows.csv**")
@_guarded
def sample(
    model: ModelArgument,
    n: Annotated[int, typer.Option("-n", "--rows", help="Number of rows.")] = 100,
    given: Annotated[
        int | None, typer.Option(help="Tosses per row (binomial with a column of tosses) or total (multinomial).")
    ] = None,
    seed: SeedOfDraws = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Draw rows from a model, as CSV with their components."""
    from emix.cli import rows
    from emix.cli.paths import check_apart

    check_apart([model], out=out)
    return rows.sample(model, n, given=given, seed=seed, out=out, as_json=json)


@app.command(epilog="Example: **emix show model.json**")
@_guarded
def show(
    model: ModelArgument,
    form: Annotated[str, typer.Option("--format", "-f", help="`text`, `md`, `json` or `html`.")] = "text",
    json: Json = False,
) -> int:
    """Print a model and how its fit ended."""
    from emix.cli import commands

    return commands.show(model, form="json" if json else form)


@app.command(epilog="Example: **emix plot model.json examples/old_faithful.csv --kind pairs --out picture.png**")
@_guarded
def plot(
    model: ModelArgument,
    data: HeldArguments,
    out: Annotated[Path, typer.Option("--out", "-o", help="Write the picture to this file: .png, .pdf, .svg, ...")],
    kind: Annotated[
        str, typer.Option(help="`density`, `pairs`, `profile`, `responsibilities`, `residuals` or `qq`.")
    ] = "profile",
    column: Annotated[str | None, typer.Option(help="Of density, residuals and qq: the column to show.")] = None,
    columns: Annotated[str | None, typer.Option(help="Of pairs: the columns to show, e.g. `age,visits`.")] = None,
    weights: Weights = None,
    seed: Annotated[int, typer.Option(help="Of the rows that are drawn where there are too many to show.")] = 0,
    dpi: Annotated[int, typer.Option(help="Dots per inch, of .png and .jpg.")] = 150,
) -> int:
    """A picture of a model and its data."""
    from emix.cli.paths import check_apart
    from emix.cli.plot import plot as draw

    check_apart([model, *data], out=out)
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    return draw(model, data, kind=kind, out=out, column=column, columns=names, weights=weights, seed=seed, dpi=dpi)


@app.command(
    epilog='Example: **emix explain examples/three_coins.txt -k 3 --start "probability=0.4,0.5,0.65; '
    'mixing_proportions=0.25,0.5,0.25"**'
)
@_guarded
def explain(
    data: HeldArguments,
    components: Components = 2,
    family: FamilyOption = None,
    covariance: Covariance = None,
    noise: Noise = False,
    columns: Columns = None,
    labels: Labels = None,
    weights: Weights = None,
    start: Start = None,
    fix: Fix = None,
    constrain: Constrain = None,
    iterations: Annotated[int, typer.Option(help="Iterations to show.")] = 1,
    seed: Seed = None,
    prior_rows: PriorRows = 0.0,
) -> int:
    """EM made visible: each E-step and M-step as a textbook's worked example."""
    from emix.cli import commands

    request = commands.Request(
        data,
        components,
        commands.one_family(family),
        covariance,
        noise,
        columns,
        labels,
        weights,
        start,
        fix,
        seed,
        prior_rows,
        tuple(constrain or ()),
    )
    return commands.explain(request, iterations=iterations)


@app.command(epilog="Example: **emix report model.json examples/old_faithful.csv --out report.html**")
@_guarded
def report(
    model: ModelArgument,
    data: FittedArguments,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file (whole or not at all).")] = Path(
        "report.html"
    ),
    labels: Labels = None,
    weights: Weights = None,
    title: Annotated[str | None, typer.Option(help="Of the page. Default: from the columns.")] = None,
) -> int:
    """Write an HTML report of a fit: components in words and pictures, what to distrust, EM step by step."""
    from emix.cli import report as commands
    from emix.cli.paths import check_apart

    check_apart([model, *data], out=out)
    return commands.report(model, data, out=out, labels=labels, weights=weights, title=title)


def main() -> None:
    """Entry point. An interrupt exits with 130 wherever it arrives, also while the libraries are still loading."""
    was_interrupted = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    try:
        app()
    except SystemExit as ending:
        if was_interrupted and ending.code != 130:
            raise SystemExit(130) from None
        raise
