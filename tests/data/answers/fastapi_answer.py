"""FastAPI's own answer: objects whose relationships are loaded, through a ``response_model``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import ResponseValidationError
from httpx import ASGITransport, AsyncClient
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb import answer


def validated(objects: Sequence[Any], schema: type[Any]) -> list[Any]:
    """Return the objects as FastAPI validates them."""
    values: list[Any] = _adapter(schema).validate_python(objects, from_attributes=True)
    return values


def written(values: list[Any], schema: type[Any]) -> str:
    """Return the values as FastAPI writes them."""
    return _adapter(schema).dump_json(values, by_alias=True).decode()


def _adapter(schema: type[Any]) -> TypeAdapter[Any]:
    many: Any = list[schema]  # type: ignore[valid-type]
    return TypeAdapter(many)


async def by_route(objects: Any, response_model: Any) -> str:
    """Return what a route sends that returns the objects."""
    app = FastAPI()

    @app.get("/", response_model=response_model)
    async def read() -> Any:
        return objects

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        response = await client.get("/")
    return response.text


def parsed(text: str, *, unordered: bool = False) -> str:
    """Return JSON in a form that is the same for the same values.

    A number has no type in JSON: 0 is 0.0, and -0.

    Args:
        text: JSON.
        unordered: Whether lists with the same items are the same.
    """
    value = json.loads(text, parse_float=_number)
    return repr(_sorted(value) if unordered else value)


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


def _sorted(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=repr)
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    return value


class Outcome(NamedTuple):
    """JSON in the form of ``parsed``, or what an error says."""

    text: str
    error: Exception | None = None


async def outcome(text: Awaitable[str], *, unordered: bool = False) -> Outcome:
    """Return the outcome of an answer."""
    try:
        return Outcome(parsed(await text, unordered=unordered))
    except (ValidationError, ResponseValidationError) as error:
        return Outcome("the rows do not fit the schema", error)
    except Exception as error:
        return Outcome(f"{type(error).__name__}: {error}", error)


async def assert_equal(
    session: AsyncSession, statement: Any, schema: Any, *options: LoaderOption
) -> None:
    """Check that an answer is FastAPI's own, or that both are errors.

    Args:
        session: Reads the rows twice.
        statement: Selects objects.
        schema: Of each of them.
        options: Load what the schema reads of their relationships.
    """

    async def expected() -> str:
        objects = await session.scalars(statement.options(*options))
        return written(validated(objects.all(), schema), schema)

    async def found() -> str:
        session.expunge_all()
        return bytes((await answer(session, statement, list[schema])).body).decode()

    own, ours = await outcome(expected()), await outcome(found())
    if own.error is None or ours.error is None:
        assert ours.text == own.text
