"""RESULTS.md and the terminal: the machine, the targets, a table for each measure. Measures nothing."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.data_access import DataAccess
from benchmarks.measures import Measure
from benchmarks.run import Effort, Numbers
from benchmarks.targets import TARGETS, Results

Failures = Mapping[str, Mapping[str, str]]
"""For each measure: the reason of each contender that failed."""
REASON = 160
"""Characters that are shown of a reason."""


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as tables show it."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}f}"


def rows(measure: Measure, numbers: Numbers) -> Iterator[list[str]]:
    """Return the head of a table, and a line for each contender."""
    columns = list(dict.fromkeys(column for values in numbers.values() for column in values))
    yield ["", *columns]
    for name, values in numbers.items():
        cells = (number(values.get(column), _digits(measure, column)) for column in columns)
        yield [name, *cells]


def _digits(measure: Measure, column: str) -> int:
    return 2 if " / " in column else measure.digits


def target_rows(results: Results) -> Iterator[list[str]]:
    """Return the head of the table of targets, and a line for each that was measured."""
    yield ["measure", "target", "this run", ""]
    for target in TARGETS:
        if target.measure in results:
            sign = ">=" if target.at_least else "<="
            yield [
                target.label,
                f"{sign} {number(target.bound(results))}",
                number(target.value(results)),
                "met" if target.is_met(results) else "**not met**",
            ]


def markdown(table: Iterator[list[str]]) -> str:
    """Return a table in Markdown."""
    head, *body = table
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(server_version: str, effort: Effort) -> Iterator[list[str]]:
    """Return what the numbers depend on."""
    yield ["machine", ""]
    yield ["date", datetime.now(UTC).date().isoformat()]
    yield ["processor", f"{_processor()}, {os.cpu_count()} cores"]
    yield ["load before the run", f"{os.getloadavg()[0]:.1f}"]
    yield ["effort", ", ".join(f"{name} {value:,}" for name, value in asdict(effort).items())]
    yield ["Python", platform.python_version()]
    yield ["PostgreSQL", server_version]
    for package in ("fastapi", "starlette", "sqlalchemy", "asyncpg", "uvicorn"):
        yield [package, version(package)]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def contender_rows(contenders: Sequence[Contender | DataAccess]) -> Iterator[list[str]]:
    """Return who took part, in which version."""
    yield ["contender", "version"]
    versions: dict[str, str] = {}
    for contender in contenders:
        versions |= contender.versions()
    for package, release in versions.items():
        yield [package, release]


def failure_lines(failures: Mapping[str, str]) -> Iterator[str]:
    """Return a line for each contender that failed."""
    for name, reason in failures.items():
        yield f"- {name}: {' '.join(reason.split())[:REASON]}"


def results(
    measures: Sequence[Measure],
    taken: Results,
    failures: Failures,
    charts: Sequence[str],
    facts: Sequence[str],
) -> str:
    """Return the page of results."""
    parts = [
        "# Results",
        "Written by `make bench`; [Benchmarks](../docs/benchmarks.md) says what is measured, and how.",
        *facts,
        "## Targets",
        markdown(target_rows(taken)),
        *(f"![{name}](charts/{name})" for name in charts),
    ]
    parts += [section(measure, taken, failures) for measure in measures]
    return "\n\n".join(parts) + "\n"


def section(measure: Measure, taken: Results, failures: Failures, when: str = "") -> str:
    """Return the section of a measure, with its head."""
    table = markdown(rows(measure, taken[measure.name]))
    parts = [f"## {measure.title}", f"{measure.note} {when}".strip(), table]
    if failures.get(measure.name):
        parts += ["Failed:", "\n".join(failure_lines(failures[measure.name]))]
    return "\n\n".join(parts)


def circumstances(effort: Effort) -> str:
    """Return when a measure is taken by itself, and on what; to be asked before the run."""
    now, load = datetime.now(UTC).date(), os.getloadavg()[0]
    return f"By itself on {now}: load {load:.1f} before the run, {effort.rounds} rounds."


def updated(
    page: str,
    measures: Sequence[Measure],
    taken: Results,
    failures: Failures,
    charts: Sequence[str],
    when: str,
) -> str:
    """Return a page of results with the sections and the targets of these measures renewed.

    Args:
        page: The page.
        measures: What was measured.
        taken: Its numbers.
        failures: Who failed.
        charts: Their charts, which go into the sections.
        when: What the sections say of the circumstances.
    """
    first, *sections = page.rstrip("\n").split("\n\n## ")
    for measure in measures:
        new = section(measure, taken, failures, when).removeprefix("## ")
        chart = f"{measure.name}.png"
        new += f"\n\n![{chart}](charts/{chart})" if chart in charts else ""
        titles = [each.partition("\n")[0] for each in sections]
        at = titles.index(measure.title) if measure.title in titles else len(sections)
        sections[at : at + 1] = [new]
    targets = next(at for at, each in enumerate(sections) if each.startswith("Targets\n"))
    sections[targets] = _with_targets(sections[targets], taken)
    return "\n\n## ".join([first, *sections]) + "\n"


def _with_targets(targets: str, taken: Results) -> str:
    """Return the section of targets with the lines of what was measured."""
    title, table, *others = targets.split("\n\n")
    lines = {line.split(" | ")[0]: line for line in table.split("\n")}
    for line in markdown(target_rows(taken)).split("\n")[2:]:
        lines[line.split(" | ")[0]] = line
    return "\n\n".join([title, "\n".join(lines.values()), *others])
