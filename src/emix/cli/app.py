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

from emix.errors import EmixError, FitError

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
            typer.echo(f"Error: {error}", err=True)
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


DataArgument = Annotated[Path, typer.Argument(help="CSV, TSV, Parquet, or text with one sequence of H and T per line.")]
DataArguments = Annotated[
    list[Path],
    typer.Argument(
        help="CSV, TSV, Parquet, or text with one sequence of H and T per line; or several files, a folder, or a glob "
        "in quotes, of Parquet, Arrow or CSV files of any size, which are read as the rows stream by."
    ),
]
ModelArgument = Annotated[Path, typer.Argument(help="A model file, as `emix fit --out` writes it.")]
Components = Annotated[int, typer.Option("--components", "-k", help="Number of components.")]
FamilyOption = Annotated[
    list[str] | None,
    typer.Option(
        help='E.g. `poisson`, `normal`, `categorical`, `"binomial(n_trials=10)"`; or for single columns, '
        "`income=lognormal,age=normal`. Default: from the columns; several numeric columns are one "
        "multivariate_normal, a table of several kinds has a family for each column, toss files are binomial."
    ),
]
Covariance = Annotated[
    str | None,
    typer.Option(
        help="Of a multivariate_normal: `full`, `tied`, `diag`, `spherical`; mclust's EII, VII, EEI, VEI, EVI, VVI, "
        "EEE, VEE, EVE, VVE, EEV, VEV, EVV, VVV; or `factor_analytic(2)`. Default: full."
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
        '`"probability=0.6,0.5; mixing_proportions=0.5,0.5"`.'
    ),
]
Fix = Annotated[str | None, typer.Option(help="Parameters to hold fixed, e.g. `mixing_proportions`.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the random starts. Default: drawn, and printed.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file (whole or not at all).")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable document on stdout.")]


@app.command(epilog='Example: **emix fit tosses.txt -k 2 --family "binomial(n_trials=10)" --out coins.json**')
@_guarded
def fit(
    data: DataArguments,
    components: Components = 2,
    family: FamilyOption = None,
    covariance: Covariance = None,
    noise: Noise = False,
    columns: Columns = None,
    labels: Labels = None,
    weights: Weights = None,
    start: Start = None,
    fix: Fix = None,
    stop: Annotated[
        str, typer.Option(help="`aitken`, `relative`, `parameters`, `mean-gain` or `iterations`.")
    ] = "aitken",
    tol: Annotated[
        float | None, typer.Option(help="For aitken (1e-6): log-likelihood still to be gained, total, in nats.")
    ] = None,
    max_iter: Annotated[int, typer.Option(help="Iterations at most, per start.")] = 10_000,
    n_init: Annotated[int, typer.Option(help="Number of random starts.")] = 10,
    n_jobs: Annotated[int, typer.Option(help="Threads; -1 for all cores.")] = -1,
    seed: Seed = None,
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
    json: Json = False,
) -> int:
    """Fit a mixture to a table and say what was found."""
    from emix.cli import commands

    request = commands.Request(
        data, components, commands.one_family(family), covariance, noise, columns, labels, weights, start, fix, seed
    )
    return commands.fit(
        request,
        stop=stop,
        tol=tol,
        max_iter=max_iter,
        n_init=n_init,
        n_jobs=n_jobs,
        checkpoint=checkpoint,
        dask=dask,
        out=out,
        as_json=json,
    )


@app.command(epilog="Example: **emix predict model.json new_rows.csv --out components.csv**")
@_guarded
def predict(model: ModelArgument, data: DataArgument, out: Out = None, json: Json = False) -> int:
    """Each row's component and responsibilities, as CSV."""
    from emix.cli import commands

    return commands.predict(model, data, out=out, as_json=json)


@app.command(epilog="Example: **emix score model.json new_rows.csv**")
@_guarded
def score(model: ModelArgument, data: DataArgument, weights: Weights = None, json: Json = False) -> int:
    """Log-likelihood of rows under a model."""
    from emix.cli import commands

    return commands.score(model, data, weights=weights, as_json=json)


@app.command(epilog="Example: **emix sample model.json -n 100 --seed 1 --out rows.csv**")
@_guarded
def sample(
    model: ModelArgument,
    n: Annotated[int, typer.Option("-n", "--rows", help="Number of rows.")] = 100,
    given: Annotated[
        int | None, typer.Option(help="Tosses per row (binomial with a column of tosses) or total (multinomial).")
    ] = None,
    seed: Seed = None,
    out: Out = None,
    json: Json = False,
) -> int:
    """Draw rows from a model, as CSV with their components."""
    from emix.cli import commands

    return commands.sample(model, n, given=given, seed=seed, out=out, as_json=json)


@app.command(epilog="Example: **emix show model.json**")
@_guarded
def show(model: ModelArgument, json: Json = False) -> int:
    """Print a model and how its fit ended."""
    from emix.cli import commands

    return commands.show(model, as_json=json)


@app.command(
    epilog='Example: **emix explain examples/three_coins.txt -k 3 --start "probability=0.4,0.5,0.65; '
    'mixing_proportions=0.25,0.5,0.25"**'
)
@_guarded
def explain(
    data: DataArgument,
    components: Components = 2,
    family: FamilyOption = None,
    covariance: Covariance = None,
    noise: Noise = False,
    columns: Columns = None,
    labels: Labels = None,
    weights: Weights = None,
    start: Start = None,
    fix: Fix = None,
    iterations: Annotated[int, typer.Option(help="Iterations to show.")] = 1,
    seed: Seed = None,
) -> int:
    """EM made visible: each E-step and M-step as a textbook's worked example."""
    from emix.cli import commands

    request = commands.Request(
        [data], components, commands.one_family(family), covariance, noise, columns, labels, weights, start, fix, seed
    )
    return commands.explain(request, iterations=iterations)


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
