"""Measure this library beside others, in one run: ``make bench``."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table

from benchmarks import report
from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.items import create_items
from benchmarks.data_access import DATA_ACCESS
from benchmarks.measures import MEASURES, Measure
from benchmarks.run import DATABASE, FULL, QUICK, AnyContender, Effort, Numbers, Run
from fastapi_asyncdb.testing import PostgresServer, postgres_server

FOLDER = Path(__file__).parent
OPTIONS = {"max_connections": "500"}
"""The servers of all contenders have connections open at once."""

console = Console(width=160, highlight=False)


@dataclass
class Taken:
    """What was measured."""

    results: dict[str, Numbers] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Shows how far a measure is."""

    status: Status
    title: str

    def __call__(self, text: str) -> None:
        """Show what is done now."""
        self.status.update(f"{self.title}: {text}")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [measure.name for measure in MEASURES]
    parser.add_argument("--only", help=f"some of {','.join(names)}; writes no files")
    parser.add_argument(
        "--quick", action="store_true", help="rough numbers in a quarter of the time"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measure with medians")
    parser.add_argument(
        "--update", action="store_true", help="renew what is measured in RESULTS.md and charts/"
    )
    parser.add_argument("--output", type=Path, help="folder for RESULTS.md and charts/")
    return parser.parse_args()


def effort(options: argparse.Namespace) -> Effort:
    """Return how much is measured."""
    chosen = QUICK if options.quick else FULL
    return replace(chosen, rounds=options.rounds) if options.rounds else chosen


def chosen_measures(only: str | None) -> Sequence[Measure]:
    """Return the measures with these names; all by default."""
    if only is None:
        return MEASURES
    return [measure for measure in MEASURES if measure.name in only.split(",")]


def installed(contenders: Sequence[AnyContender]) -> Iterator[AnyContender]:
    """Return who can take part, and print who cannot."""
    for contender in contenders:
        try:
            contender.versions()
        except PackageNotFoundError as error:
            console.print(f"Left out, since it is not installed: {contender.name} ({error.name})")
        else:
            yield contender


@contextmanager
def database() -> Iterator[tuple[PostgresServer, str]]:
    """Start PostgreSQL, with a database and the table; yield the server and the URL."""
    with postgres_server(options=OPTIONS) as server:
        server.psql(f"CREATE DATABASE {DATABASE}")
        url = server.url(DATABASE).replace("postgresql", "postgresql+asyncpg", 1)
        asyncio.run(create_items(url))
        yield server, url


def take(measures: Sequence[Measure], run: Run) -> Taken:
    """Take the measures and print each when it is there."""
    taken = Taken()
    for measure in measures:
        started = time.monotonic()
        with console.status(measure.title) as status:
            current = replace(run, failures={}, progress=Progress(status, measure.title))
            taken.results[measure.name] = {}
            with current.tolerate("all"):
                taken.results[measure.name] = measure.take(current)
        taken.failures[measure.name] = current.failures
        print_measure(measure, taken, time.monotonic() - started)
    return taken


def print_measure(measure: Measure, taken: Taken, seconds: float) -> None:
    """Print a table and the failures."""
    print_table(
        f"{measure.title} ({seconds:.0f} s)", report.rows(measure, taken.results[measure.name])
    )
    for line in report.failure_lines(taken.failures[measure.name]):
        console.print(line, markup=False)


def print_table(title: str, lines: Iterator[list[str]]) -> None:
    """Print a table to the terminal."""
    head, *body = lines
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left", no_wrap=number == 0)
    for line in body:
        table.add_row(*(cell.replace("**", "") for cell in line))
    console.print(table)


def write(folder: Path, measures: Sequence[Measure], taken: Taken, facts: Sequence[str]) -> None:
    """Write the page of results, and the charts."""
    from benchmarks.charts import draw

    charts = draw(taken.results, folder / "charts")
    page = report.results(measures, taken.results, taken.failures, charts, facts)
    (folder / "RESULTS.md").write_text(page)
    console.print(f"Written: {folder / 'RESULTS.md'}, {len(charts)} charts")


def update(measures: Sequence[Measure], taken: Taken, when: str) -> None:
    """Renew the sections of measures in the page of results, and their charts."""
    from benchmarks.charts import draw

    path = FOLDER / "RESULTS.md"
    charts = draw(taken.results, FOLDER / "charts")
    page = path.read_text()
    path.write_text(report.updated(page, measures, taken.results, taken.failures, charts, when))
    console.print(f"Renewed: {path}, {len(charts)} charts")


def main() -> None:
    """Measure, print, and write the results of a whole run."""
    options = arguments()
    when = report.circumstances(effort(options))
    measures = chosen_measures(options.only)
    contenders, data_access = list(installed(CONTENDERS)), list(installed(DATA_ACCESS))
    with database() as (server, url):
        version = server.psql("SHOW server_version")
        facts = [
            report.markdown(report.machine(version, effort(options))),
            report.markdown(report.contender_rows([*contenders, *data_access])),
        ]
        taken = take(measures, Run(server, url, contenders, data_access, effort(options)))
    print_table("Targets", report.target_rows(taken.results))
    folder = options.output or (None if options.only else FOLDER)
    if options.update:
        update(measures, taken, when)
    elif folder is not None:
        write(folder, measures, taken, facts)


if __name__ == "__main__":
    main()
