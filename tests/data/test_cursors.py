"""Cursors: what they carry, what they are bound to, and that no other text gets through."""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy import (
    REAL,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Interval,
    LargeBinary,
    Numeric,
    Select,
    SmallInteger,
    String,
    Time,
    func,
    insert,
    select,
    text,
    types,
)
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from fastapi_asyncdb import CursorQuery, paginate_cursor
from fastapi_asyncdb.data.pages.cursors import CursorFormat
from fastapi_asyncdb.data.pages.sealed import MAX_LENGTH
from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.errors import AsyncDBError, ConfigurationError, InvalidCursor
from tests.data.one_loop import Run, one_loop


class Mood(enum.Enum):
    FINE = "f"
    BAD = "b"


class Point:
    """A value of Python that no database knows."""

    def __init__(self, x: int) -> None:
        self.x = x


class PointType(types.TypeDecorator[Point]):
    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Point | None, dialect: Dialect) -> int | None:
        return None if value is None else value.x

    def process_result_value(self, value: int | None, dialect: Dialect) -> Point | None:
        return None if value is None else Point(value)


class UTCDateTime(types.TypeDecorator[datetime]):
    """Insists on aware values, and has them on SQLite too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("naive")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Other(Base):
    __tablename__ = "fuzzed_other"
    id: Mapped[int] = mapped_column(primary_key=True)


class Thing(Base):
    __tablename__ = "fuzzed"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[int] = mapped_column(SmallInteger)
    big: Mapped[int] = mapped_column(BigInteger)
    word: Mapped[str]
    short: Mapped[str] = mapped_column(String(5))
    truth: Mapped[bool]
    double: Mapped[float] = mapped_column(
        types.Float().with_variant(DOUBLE_PRECISION(), "postgresql")
    )
    real: Mapped[float] = mapped_column(REAL)
    price: Mapped[float] = mapped_column(Numeric(10, 2, asdecimal=False))
    exact: Mapped[Decimal] = mapped_column(
        Numeric(10, 2).with_variant(types.Float(asdecimal=True), "sqlite")
    )
    moment: Mapped[datetime]
    aware: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    utc: Mapped[datetime] = mapped_column(UTCDateTime)
    day: Mapped[date]
    clock: Mapped[time] = mapped_column(Time)
    uuid: Mapped[UUID]
    uuid_text: Mapped[str] = mapped_column(types.Uuid(as_uuid=False))
    mood: Mapped[Mood]
    color: Mapped[str] = mapped_column(Enum("red", "blue", name="color"))
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    point: Mapped[Point] = mapped_column(PointType)
    maybe: Mapped[int | None]
    other_id: Mapped[int | None] = mapped_column(ForeignKey(Other.id))


def values(number: int) -> dict[str, Any]:
    """Return the values of a row; those of neighbours differ, in the order of the number."""
    moment = datetime(2026, 1, 1, 12, 30, 15, 123456) + timedelta(days=number)  # noqa: DTZ001
    return {
        "small": number,
        "big": number + 2**40,
        "word": f"é'{number}",
        "short": f"{number}",
        "truth": number > 1,
        "double": number / 3,
        "real": number / 3,
        "price": number + 0.25,
        "exact": Decimal(number) + Decimal("0.25"),
        "moment": moment,
        "aware": moment.replace(tzinfo=timezone(timedelta(hours=2))),
        "utc": moment.replace(tzinfo=UTC),
        "day": moment.date(),
        "clock": time(number, 1, 2, 3),
        "uuid": UUID(int=number),
        "uuid_text": str(UUID(int=number)),
        "mood": Mood.FINE,
        "color": "red",
        "raw": bytes([number, 0, 255]),
        "point": Point(number),
        "maybe": number or None,
    }


COLUMNS = sorted(values(0))


@pytest.fixture
def run(database_url: str) -> Iterator[Run]:
    """Run a function with a reading session, in a database of four rows."""

    async def fill(session: AsyncSession) -> None:
        await session.execute(insert(Thing), [values(number) for number in range(4)])

    with one_loop(database_url, Base.metadata) as loop:
        loop.write(fill)
        yield loop.read


def encoded(raw: bytes) -> str:
    """Return bytes as a cursor has them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(cursor: str) -> bytes:
    """Return the bytes of a cursor."""
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def forged(session: AsyncSession, statement: Any, payload: Any) -> str:
    """Return a cursor of any content with the right checksum."""
    source = Source(statement)
    cursors = CursorFormat(source.keys, source.names, session.get_bind().dialect, None)
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return cursors._text.write(raw)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_key_of_each_type_is_carried(run: Run, name: str):
    """A walk by a column of each type has each row once, both ways."""

    async def walk(session: AsyncSession) -> None:
        statement = select(Thing.id).order_by(getattr(Thing, name))
        in_order = (await session.scalars(statement.order_by(Thing.id))).all()
        page = await paginate_cursor(session, statement, CursorQuery(limit=1))
        found = list(page.items)
        while page.next_cursor is not None:
            page = await paginate_cursor(session, statement, CursorQuery(page.next_cursor, 1))
            found += page.items
        assert found == in_order
        for expected in reversed(in_order[:-1]):
            page = await paginate_cursor(session, statement, CursorQuery(page.previous_cursor, 1))
            assert page.items == [expected]

    run(walk)


FUZZ = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**15, 2**31, 2**63, -(2**63) - 1, 10**400])
    | st.floats()
    | st.text()
    | st.sampled_from(
        [
            "a\0",
            "\ud800",
            "NaN",
            "Infinity",
            "1e400",
            "9" * 150,
            "12345678901.25",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59.999999-14:00",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+00:00",
            "00:00:00+01:00",
            "24:00",
            "2026-W01",
            "FINE",
            "red",
            "0" * 32,
            "{" + "0" * 32 + "}",
        ]
    ),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=2)
    ),
    max_leaves=4,
)


@FUZZ
@given(cursor=st.text(max_size=200) | st.binary(max_size=100).map(encoded))
@example(cursor="")
@example(cursor="=")
@example(cursor="A" * MAX_LENGTH)
def test_any_text_is_refused(run: Run, cursor: str):
    """No text that a client makes up is a cursor, and none is an error of the database."""

    async def read(session: AsyncSession) -> None:
        with pytest.raises(InvalidCursor) as error:
            await paginate_cursor(session, select(Thing), CursorQuery(cursor))
        assert error.value.__cause__ is None
        # Hypothesis also tries parts of the words of messages.
        assert len(cursor) < 16 or cursor not in str(error.value)

    run(read)


@FUZZ
@given(
    name=st.sampled_from(COLUMNS),
    payload=st.tuples(st.sampled_from([0, 1]), JSON, st.integers(0, 9) | JSON) | JSON,
)
@example(name="word", payload=b"[" * 3000)
@example(name="word", payload=b"\xff")
@example(name="small", payload=b"[0," + b"9" * 3000 + b",1]")
@example(name="real", payload=(0, 3.4028235677973366e38, 0))
@example(name="real", payload=(1, -1e-60, 0))
@example(name="exact", payload=(0, "99999999.999", 0))
@example(name="price", payload=(0, 1e8, 0))
@example(name="price", payload=(0, 99999999.996, 0))
def test_a_forged_cursor_is_refused_or_has_a_page(run: Run, name: str, payload: Any):
    """The checksum is no secret: values that do not fit their columns never reach the database."""

    async def read(session: AsyncSession) -> None:
        statement = select(Thing).order_by(getattr(Thing, name))
        cursor = forged(session, statement, payload)
        try:
            page = await paginate_cursor(session, statement, CursorQuery(cursor))
        except InvalidCursor:
            return
        except ValidationError:
            assert len(cursor) > MAX_LENGTH
            return
        assert len(page.items) <= 4

    run(read)


@FUZZ
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_cursor_is_refused(run: Run, place: int, flip: int):
    """Each byte counts."""

    async def read(session: AsyncSession) -> None:
        statement = select(Thing).order_by(Thing.word)
        page = await paginate_cursor(session, statement, CursorQuery(limit=1))
        raw = bytearray(decoded(page.next_cursor or ""))
        raw[place % len(raw)] ^= flip
        with pytest.raises(InvalidCursor):
            await paginate_cursor(session, statement, CursorQuery(encoded(bytes(raw))))

    run(read)


async def first_cursor(session: AsyncSession, statement: Any, **options: Any) -> str:
    """Return the cursor to the second page."""
    page = await paginate_cursor(session, statement, CursorQuery(limit=1), **options)
    return page.next_cursor or ""


def test_a_cursor_is_bound_to_its_ordering(run: Run):
    """Another direction, other columns, another entity: it belongs to none of them."""
    double = aliased(Thing)
    others = [
        select(Thing),
        select(Thing).order_by(Thing.word.desc()),
        select(Thing).order_by(Thing.word.nulls_first()),
        select(Thing).order_by(Thing.short),
        select(Thing).order_by(Thing.word, Thing.small),
        select(Thing).order_by(func.lower(Thing.word, type_=String())),
        select(Thing.id).order_by(Thing.word),
        select(Other),
    ]

    async def read(session: AsyncSession) -> None:
        statement = select(Thing).order_by(Thing.word)
        cursor = await first_cursor(session, statement)
        for other in others:
            with pytest.raises(InvalidCursor):
                await paginate_cursor(session, other, CursorQuery(cursor))
        filtered = statement.where(Thing.id > 0)
        assert (await paginate_cursor(session, filtered, CursorQuery(cursor))).items
        cursor = await first_cursor(session, select(double).order_by(double.word))
        again = aliased(Thing)
        statement = select(again).order_by(again.word)
        assert (await paginate_cursor(session, statement, CursorQuery(cursor))).items

    run(read)


def test_a_secret_signs_the_cursors(run: Run):
    """A cursor of no secret, or of another one, is forged."""

    async def read(session: AsyncSession) -> None:
        statement = select(Thing)
        cursor = await first_cursor(session, statement, secret="one")
        secrets: list[Any] = ["one", b"one", SecretStr("one")]
        for secret in secrets:
            assert (
                await paginate_cursor(session, statement, CursorQuery(cursor), secret=secret)
            ).items
        for secret in (None, "other"):
            with pytest.raises(InvalidCursor):
                await paginate_cursor(session, statement, CursorQuery(cursor), secret=secret)
        plain = forged(session, statement, [0, 1])
        assert (await paginate_cursor(session, statement, CursorQuery(plain))).items
        with pytest.raises(InvalidCursor):
            await paginate_cursor(session, statement, CursorQuery(plain), secret="one")
        with pytest.raises(ConfigurationError, match="empty"):
            await paginate_cursor(session, statement, CursorQuery(), secret="")

    run(read)


def test_what_cannot_be_carried_is_refused_on_the_first_page(run: Run):
    """The developer gets a ConfigurationError, and the client never a cursor that fails."""
    statements: dict[str, Any] = {
        "func.lower": select(Thing).order_by(func.lower(Thing.word)),
        "Interval": select(Thing).order_by(func.age(Thing.moment, type_=Interval())),
        "TextClause": select(Thing).order_by(text("word")),
        "'nothing'": select(Thing).order_by("nothing"),
        "window function": select(Thing, func.rank().over(order_by=Thing.word)),
    }
    if hasattr(Select, "ext"):  # from SQLAlchemy 2.1 on
        distinct_on = import_module("sqlalchemy.dialects.postgresql").distinct_on
        statements["DISTINCT ON"] = select(Thing).ext(distinct_on(Thing.word)).order_by(Thing.word)

    async def read(session: AsyncSession) -> None:
        for words, statement in statements.items():
            with pytest.raises(ConfigurationError, match=words):
                await paginate_cursor(session, statement, CursorQuery())

    run(read)


def test_values_that_do_not_fit_into_a_cursor_are_refused(run: Run):
    """A text that is too long for a URL is no key."""

    async def read(session: AsyncSession) -> None:
        long = func.replace(Thing.word, "é", "x" * MAX_LENGTH, type_=String())
        with pytest.raises(ConfigurationError, match="characters"):
            await paginate_cursor(session, select(Thing).order_by(long), CursorQuery(limit=1))

    run(read)


def test_errors_are_the_librarys_own():
    """InvalidCursor is a ValueError, and its section of the documentation is in the message."""
    assert issubclass(InvalidCursor, ValueError)
    assert issubclass(InvalidCursor, AsyncDBError)
    assert "docs/errors.md#invalid-cursor" in str(InvalidCursor("No."))
