"""Fixtures: published data and reference results, the command line, files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import Page
from typer.testing import CliRunner

import emix
from emix.cli import app

PUBLISHED = Path(__file__).parent / "reference"

Columns = dict[str, np.ndarray]


def read_columns(path: Path) -> Columns:
    """A CSV file as columns: floats, or text where a cell is not a number."""
    with path.open(newline="") as lines:
        header, *rows = list(csv.reader(lines))
    columns = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        try:
            columns[name] = np.array(cells, dtype=float)
        except ValueError:
            columns[name] = np.array(cells, dtype=object)
    return columns


@pytest.fixture(scope="session")
def published() -> Callable[[str], Columns]:
    """Reader of the published tables in tests/reference."""
    return lambda name: read_columns(PUBLISHED / name)


class Reference:
    """Results of other software, and the data that may not be part of this repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = {case["id"]: case for case in json.loads((folder / "cases.json").read_text())}

    def case(self, name: str) -> tuple[dict[str, Any], dict[str, float]]:
        """What is expected and with which tolerances."""
        return self.cases[name]["expected"], self.cases[name]["tolerance"]

    def read(self, name: str) -> Columns:
        return read_columns(self.folder / "data" / name)

    def output(self, name: str) -> Any:
        return json.loads((self.folder / "r_out" / name).read_text())


@pytest.fixture(scope="session")
def reference() -> Reference:
    folder = os.environ.get("EMIX_REFERENCE")
    if not folder:  # most of these data may not be redistributed, so a clone alone has not got them; CI has
        pytest.skip(
            "EMIX_REFERENCE is not set: it names the folder of reference results that are not in the repository"
        )
    return Reference(Path(folder))


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        return path

    return write


@pytest.fixture(scope="session")
def iris(published):
    """Rows and species."""
    columns = published("iris.csv")
    species = columns.pop("Species")
    return np.stack(list(columns.values()), axis=1), np.unique(species, return_inverse=True)[1]


@pytest.fixture(scope="session")
def faithful(published):
    """Rows, and whether the wait was long."""
    columns = published("faithful.csv")
    x = np.stack([columns["eruptions"], columns["waiting"]], axis=1)
    return x, (columns["waiting"] >= 68).astype(int)


@pytest.fixture
def written(tmp_path):
    """Writer of a report, which it reads again."""

    def write(result, data, **options) -> Page:
        emix.write_report(result, data, tmp_path / "report.html", **options)
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="session")
def eruptions(faithful):
    """Old Faithful's rows as a table, and two Gaussians fitted to them."""
    x = {"eruptions": faithful[0][:, 0], "waiting": faithful[0][:, 1]}
    return x, emix.fit(emix.Mixture(emix.MultivariateNormal(), 2), x, random_state=1)
