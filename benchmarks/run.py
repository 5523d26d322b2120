"""One run: the server, who takes part, how much is measured, and what failed."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import make_url

from benchmarks.contenders import CONTENDERS, TEXTBOOK, Contender
from benchmarks.data_access import DATA_ACCESS, DataAccess
from fastapi_asyncdb.testing import PostgresServer

DATABASE = "benchmark"
"""The name of the database with the table."""

AnyContender = TypeVar("AnyContender", Contender, DataAccess)
Subject = TypeVar("Subject")
Sample = TypeVar("Sample")
Numbers = dict[str, dict[str, float]]
"""Of one measure: for each contender that did not fail, the value of each column."""
Samples = dict[str, list[dict[str, float]]]
"""For each contender: the values of each round, by column."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 7
    """After one that warms up."""
    requests: int = 100
    """Of one kind, contender and round, where they are called one after the other."""
    seconds: float = 1.25
    """Of one load, contender and round."""
    streams: int = 1000
    memory_requests: int = 50_000
    bulk_rows: int = 100_000
    page_rows: int = 1_000_000


FULL = Effort()
QUICK = Effort(
    rounds=3,
    requests=30,
    seconds=0.5,
    streams=300,
    memory_requests=2_000,
    bulk_rows=10_000,
    page_rows=100_000,
)


@dataclass
class Run:
    """What measures need."""

    server: PostgresServer
    url: str
    """Of the database with the table, for asyncpg."""
    contenders: Sequence[Contender] = CONTENDERS
    data_access: Sequence[DataAccess] = DATA_ACCESS
    effort: Effort = FULL
    progress: Callable[[str], None] = print
    failures: dict[str, str] = field(default_factory=dict)
    """The reason of each contender that failed in a measure."""

    @property
    def main_contenders(self) -> list[Contender]:
        """Those that take part in the long measures."""
        return [contender for contender in self.contenders if not contender.variant]

    @property
    def repositories(self) -> list[DataAccess]:
        """Those that have verbs for one row."""
        return [access for access in self.data_access if not access.many_rows_only]

    def url_at(self, port: int) -> str:
        """Return the URL of the database behind another port."""
        return make_url(self.url).set(port=port).render_as_string(hide_password=False)

    @contextmanager
    def tolerate(self, name: str) -> Iterator[None]:
        """Note a failure, and go on."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            self.failures.setdefault(name, reason)

    def interleave(
        self,
        contenders: Sequence[AnyContender],
        open_subject: Callable[[AnyContender], AbstractContextManager[Subject]],
        sample: Callable[[Subject], Sample],
        *,
        rounds: int,
        warm_up: int = 1,
    ) -> dict[str, list[Sample]]:
        """Open a subject for each contender, and take a sample of each of them in every round.

        What slows the machine for a while slows all alike.

        Args:
            contenders: Those that take part.
            open_subject: Starts the application of one.
            sample: Measures it once.
            rounds: The number of samples of each.
            warm_up: Rounds before them that do not count.
        """
        samples: dict[str, list[Sample]] = defaultdict(list)
        with ExitStack() as stack:
            subjects = {}
            for contender in contenders:
                with self.tolerate(contender.name):
                    subjects[contender.name] = stack.enter_context(open_subject(contender))
            for number in range(warm_up + rounds):
                for name, subject in subjects.items():
                    self.progress(f"round {number + 1} of {warm_up + rounds}: {name}")
                    with self.tolerate(name):
                        values = sample(subject)
                        if number >= warm_up:
                            samples[name].append(values)
        return samples


def medians(samples: Samples) -> Numbers:
    """Return the median of each column."""
    return {name: _column_medians(rounds) for name, rounds in samples.items()}


def ratios(samples: Samples, base: str = TEXTBOOK.name) -> Numbers:
    """Return the median of the ratio to a contender, taken within each round."""
    others = samples.get(base, [])
    return {
        name: _column_medians(
            [
                {
                    f"{column} / {base}": _ratio(own[column], other[column])
                    for column in own
                    if column in other
                }
                for own, other in zip(rounds, others, strict=False)
            ]
        )
        for name, rounds in samples.items()
    }


def with_ratios(samples: Samples, base: str = TEXTBOOK.name) -> Numbers:
    """Return the medians, and the ratios to a contender in columns of their own."""
    beside = ratios(samples, base)
    return {name: values | beside[name] for name, values in medians(samples).items()}


def _ratio(value: float, base: float) -> float:
    return value / base if base else math.nan


def _column_medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        column: statistics.median(row[column] for row in rounds) for column in (rounds or [{}])[0]
    }
