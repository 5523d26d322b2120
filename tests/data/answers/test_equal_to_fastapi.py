"""Answers against FastAPI's own: random rows, of random models, through random schemas.

``make test-answers`` runs many more examples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from pydantic import create_model
from sqlalchemy import make_url, select
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.answers.reader import UnfitRow
from fastapi_asyncdb.errors import ConfigurationError
from tests.data.answers import vocabulary
from tests.data.answers.both_answers import actual, expected
from tests.data.answers.examples import Example, examples
from tests.data.answers.fastapi_answer import Outcome, assert_equal, outcome
from tests.data.answers.museum.models import Base, Exhibit
from tests.data.answers.museum.rows import store
from tests.data.answers.museum.values import values
from tests.data.answers.schema_parts import RIGHT
from tests.data.one_loop import Run, Work, one_loop

EXAMPLES = int(os.environ.get("ANSWER_EXAMPLES", "60"))
REFUSALS = (
    "has no attribute",
    "has a Related, and",
    "read the same relationship",
)
"""What an answer refuses by the schema alone, and FastAPI does not: what cannot be right."""

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


@pytest.fixture
def run(database_url: str) -> Iterator[Run]:
    """Run a function with a session whose work is rolled back."""
    with one_loop(database_url, Base.metadata) as loop:

        def run(function: Work) -> None:
            async def work(session: AsyncSession) -> None:
                await function(session)
                await session.rollback()

            loop.write(work)

        yield run


def many(count: int) -> settings:
    """Return the settings: real databases are slow, and Hypothesis must not measure them."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@many(EXAMPLES)
@given(data=st.data())
def test_an_answer_is_that_of_fastapi(run: Run, database_url: str, data: st.DataObject):
    """The same JSON after parsing, or an error where FastAPI has one."""
    example = data.draw(examples(make_url(database_url).get_backend_name()))
    compare(run, example)


def compare(run: Run, example: Example) -> None:
    """Check an example."""
    schema = example.schema.build(example.whole)

    async def work(session: AsyncSession) -> None:
        await store(session, example.rows)
        own = await outcome(expected(session, example, schema), unordered=example.is_unordered)
        session.expunge_all()
        found = await outcome(actual(session, example, schema), unordered=example.is_unordered)
        note(f"FastAPI: {own.text}")
        if not may_differ(example, own, found):
            assert found.text == own.text

    run(work)


def may_differ(example: Example, own: Outcome, found: Outcome) -> bool:
    """Return whether both may be right, although they are not the same."""
    if isinstance(found.error, ConfigurationError):
        return any(each in found.text for each in REFUSALS)
    if isinstance(found.error, UnfitRow):
        return example.asked in ("lines", "array")
    if isinstance(own.error, DataError | LookupError | ValueError) and example.reads_twice:
        return True  # of a column that FastAPI reads, and that the schema does not have there
    return own.error is not None and found.error is not None


@many(max(EXAMPLES // 4, 5))
@given(data=st.data())
def test_a_value_is_that_of_fastapi(run: Run, database_url: str, data: st.DataObject):
    """Of each type of column, alone: no other value of the row is one that does not fit."""
    database = make_url(database_url).get_backend_name()
    kind = data.draw(st.sampled_from(sorted(RIGHT)))
    type_: Any = eval(RIGHT[kind], dict(vars(vocabulary)))
    fields: Any = {kind: (type_, ...), f"maybe_{kind}": (type_ | None, ...)}
    schema = create_model("Out", **fields)
    value = values(kind, database)
    pairs = data.draw(st.lists(st.tuples(value, value | st.none()), min_size=1, max_size=8))
    exhibits: list[dict[str, Any]] = [
        {"id": number, "first_tag_id": 1, kind: one, f"maybe_{kind}": other}
        for number, (one, other) in enumerate(pairs)
    ]

    async def work(session: AsyncSession) -> None:
        await store(session, {"tag": [{"id": 1, "name": "tag"}], "exhibit": exhibits})
        for number in range(len(pairs)):
            await assert_equal(session, select(Exhibit).where(Exhibit.id == number), schema)

    run(work)
