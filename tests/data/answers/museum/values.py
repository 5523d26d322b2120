"""Values of columns, with those at the edges, as each database can store them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.data.answers.museum.columns import Color, Grade, Mixed, Style


@dataclass(frozen=True)
class Raw:
    """SQL for a value that no program with this model would write."""

    sql: str


def raw(*texts: str) -> SearchStrategy[Raw]:
    """Return these constants."""
    return st.sampled_from([Raw(text) for text in texts])


def quoted(*texts: str) -> SearchStrategy[Raw]:
    """Return these texts, which the database converts to the type of the column."""
    return raw(*("'" + text.replace("'", "''") + "'" for text in texts))


WORDS = [
    "", " ", "word", "1", "12.50", "true", "null", "NaN", "red", "2024-02-29", "x" * 40, "it's",
    '"', "\\", "\\u0041", "\\\\", "</script>", "\t\n\r", "\x01\x1f", "\x7f\x80", "é", "e\u0301",
    "\u2028", "\ufeff", "\uffff", "\U0001f600", '{"$unfit":1}', ":a %s %(b)s %% {c}", "[1]",
]  # fmt: skip


def texts(database: str, size: int = 40) -> SearchStrategy[str]:
    """Return texts."""
    # PostgreSQL takes no NUL. SQLite ends a text there in some functions.
    alphabet = st.characters(
        codec="utf-8", exclude_characters="\0" if database == "postgresql" else ""
    )
    known = [each for each in WORDS if len(each) <= size]
    if database != "postgresql":
        known.append("a\0b")
    return st.sampled_from(known) | st.text(alphabet, max_size=min(size, 6))


def whole(bits: int) -> SearchStrategy[int]:
    """Return integers of so many bits."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.sampled_from([0, 1, -1, 2, low, high]) | st.integers(low, high)


def fractions(database: str, width: Any = 64) -> SearchStrategy[float]:
    """Return floating-point numbers."""
    # SQLite stores NULL for NaN.
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    edges = [0.0, -0.0, 1.0, 0.5, -1.5, 100.0]
    if width == 64:
        edges += [0.1, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, 123456789.125]
    else:
        edges += [0.10000000149011612, 16777216.0]
    if database == "postgresql":
        edges.append(float("nan"))
    if database != "mysql":
        edges += [float("inf"), float("-inf")]
    return st.sampled_from(edges) | finite


_EXACTLY = Context(prec=60)


def decimals(digits: int, places: int) -> SearchStrategy[Decimal]:
    """Return decimal numbers of a column with so many digits, some of them after the point."""
    most = _EXACTLY.scaleb(Decimal(10**digits - 1), -places)
    least = Decimal(1).scaleb(-places)
    edges = [
        Decimal(0),
        most,
        _EXACTLY.minus(most),
        least,
        -least,
        Decimal(1),
        Decimal(10),
        Decimal("-0"),
    ]
    return st.sampled_from(edges) | st.integers(-(10**digits) + 1, 10**digits - 1).map(
        lambda number: _EXACTLY.scaleb(Decimal(number), -places)
    )


DAYS = (
    st.sampled_from(
        [date.min, date.max, date(1, 2, 3), date(999, 12, 31), date(2024, 2, 29), date(1970, 1, 1)]
    )
    | st.dates()
)
CLOCKS = st.sampled_from([time.min, time.max, time(12), time(0, 0, 1), time(1, 2, 3, 400)])
MOMENTS = (
    st.sampled_from(
        [
            datetime(1, 1, 1),  # noqa: DTZ001
            datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
            datetime(9999, 12, 31, 23, 59, 59),  # noqa: DTZ001
            datetime(1, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
            datetime(2024, 2, 29, 12, 30, 15, 120000),  # noqa: DTZ001
            datetime(1969, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        ]
    )
    | st.datetimes()
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0))
)
UUIDS = st.sampled_from([UUID(int=0), UUID(int=2**128 - 1), UUID(int=0xABCDEF)]) | st.uuids()
NUMBERS_IN_JSON = st.one_of(
    st.sampled_from([0, 1, -1, 2**53 + 1, 2**63, -(2**64), 10**30, 10**300, 0.1, -0.0, 1e22, 1e-7]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


def documents(database: str) -> SearchStrategy[Any]:
    """Return JSON documents."""
    words = texts(database, 20)
    leaves = st.none() | st.booleans() | NUMBERS_IN_JSON | words
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=4,
    )


RAW_DOCUMENTS = [
    "1e400", "-1E+999", "[1e400]", '{"a": 1, "a": 2}', ' {"b" : 1.0,\n"a":[ ] } ', "1e5", "1E+2",
    "-0", "-0.0", "1.50", "0.1000000000000000055511151231257827", '"\\ud83d\\ude00"', '"\\u00e9\\/"',
    '{"$unfit":1}', "9" * 300, "1" + "0" * 250 + "e99", "1e0000000400", "0.5e-400", "[[[[[[]]]]]]",
]  # fmt: skip
OBJECTS = [
    None,
    1,
    "a",
    [1, "b"],
    {"a": 1.5},
    (1, 2),
    {1, 2},
    b"a",
    Decimal("1.50"),
    date(2024, 1, 1),
]


def values(kind: str, database: str) -> SearchStrategy[Any]:
    """Return the values of a type of column.

    Args:
        kind: The name of the column in ``AllColumns``.
        database: The name of SQLAlchemy's dialect.
    """
    found = _common(kind, database)
    more = _RAW.get((database, kind))
    return found if more is None else st.one_of(found, found, found, more)


def _common(kind: str, database: str) -> SearchStrategy[Any]:
    match kind:
        case "flag":
            return st.booleans()
        case "small" | "number" | "big":
            return whole({"small": 16, "number": 32, "big": 64}[kind])
        case "double" | "share":
            return fractions(database)
        case "real":
            return fractions(database, 32)
        case "weight":
            return st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("-12345.678")])
        case "price":
            return decimals(10, 2)
        case "rounded":
            return decimals(10, 2).map(float)
        case "exact":
            return decimals(38, 10)
        case "amount":
            return decimals(12, 0)
        case "loose":
            return decimals(30, 15) | st.sampled_from(list(map(Decimal, ["1e20", "1e-20", "1.10"])))
        case "word" | "text" | "shouted" | "varied":
            return texts(database)
        case "fixed":
            return texts(database, 8)
        case "data":
            return st.sampled_from([b"", b"data", b"\0", b"\xff\xfe", "é".encode()]) | st.binary(
                max_size=6
            )
        case "day":
            return DAYS
        case "clock":
            return CLOCKS | st.times()
        case "moment":
            return MOMENTS
        case "zoned":
            return MOMENTS if database != "postgresql" else MOMENTS.map(_in_utc)
        case "utc":
            return MOMENTS.map(_in_utc)
        case "span":
            return st.sampled_from(
                [timedelta(0), timedelta(microseconds=1), timedelta(days=-1, seconds=1)]
            ) | st.timedeltas(timedelta(days=-9999), timedelta(days=9999))
        case "token" | "token_char" | "token_text":
            # MariaDB takes no others of the newer variants.
            found = UUIDS if database != "mysql" else st.uuids(version=4)
            return found.map(str) if kind == "token_text" else found
        case "color" | "color_value":
            return st.sampled_from(Color)
        case "grade":
            return st.sampled_from(Grade)
        case "style":
            return st.sampled_from(Style)
        case "mixed":
            return st.sampled_from(Mixed)
        case "side":
            return st.sampled_from(["left", "right"])
        case "corner":
            return st.sampled_from(["north", "south"])
        case "document" | "binary_document":
            return documents(database)
        case "plain_document":
            return documents(database).filter(lambda document: document is not None)
        case "pickled":
            return st.sampled_from(OBJECTS[1:])
        case "numbers":
            return st.lists(whole(32), max_size=3)
        case "address":
            return st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::1"])
    raise AssertionError(kind)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


_RAW = {
    ("postgresql", "day"): quoted("infinity", "-infinity", "0044-03-15 BC", "10000-01-01"),
    ("postgresql", "clock"): quoted("24:00:00"),
    ("postgresql", "moment"): quoted("infinity", "-infinity", "0001-12-31 BC", "10000-01-01"),
    ("postgresql", "zoned"): quoted("infinity", "2024-02-29 12:30+02", "0001-12-31 BC"),
    ("postgresql", "utc"): quoted("infinity", "-infinity", "0001-01-01 00:00+01", "10000-01-01"),
    ("postgresql", "span"): quoted("1 month", "1 year -3 days"),
    ("postgresql", "price"): quoted("NaN"),
    ("postgresql", "amount"): quoted("NaN"),
    ("postgresql", "exact"): quoted("NaN"),
    ("postgresql", "loose"): quoted("NaN", "Infinity", "-Infinity", "1e300"),
    ("postgresql", "corner"): quoted("west"),
    ("postgresql", "color_value"): quoted("pink"),
    ("postgresql", "document"): quoted(*RAW_DOCUMENTS, '"\\u0000"'),
    ("postgresql", "binary_document"): quoted(*RAW_DOCUMENTS),
    ("mysql", "document"): quoted(*(text.replace("\\", "\\\\") for text in RAW_DOCUMENTS)),
    ("mysql", "corner"): quoted("west"),
    ("sqlite", "flag"): raw("2", "'yes'", "0.5"),
    ("sqlite", "number"): raw("'five'", "1.5", "9223372036854775807", "x'00'"),
    ("sqlite", "word"): raw("x'616263'", "7"),
    ("sqlite", "text"): raw("x'616263'"),
    ("sqlite", "double"): raw("'abc'", "7"),
    ("sqlite", "price"): raw("'abc'", "7", "0.1", "1e30"),
    ("sqlite", "day"): raw(
        "'2024-1-5'", "'0000-01-01'", "'2024-02-30'", "5", "''", "'2024-02-29 12:00:00'", "'now'"
    ),
    ("sqlite", "moment"): raw(
        "'2024-02-29 12:30'", "'2024-02-29T12:30:00'", "'2024-02-29 12:30:00.5'", "'2024-02-29'",
        "'2024-02-29 12:30:00.000000Z'", "'0000-01-01 00:00:00.000000'", "'2024-02-29 24:00:00'",
        "'2024-02-29 12:30:00+01:00'", "'2024-02-29 12:30:00.000001'", "'2024-02-29 12:30:00'", "5",
    ),
    ("sqlite", "utc"): raw("'2024-02-29 12:30:00'", "'2024-02-29 12:30:00.000000+01:00'", "''"),
    ("sqlite", "token"): raw("'0123456789ABCDEF0123456789ABCDEF'", "'abc'", "5"),
    ("sqlite", "color"): raw("'PINK'", "'SCARLET'"),
    ("sqlite", "color_value"): raw("'pink'", "5"),
    ("sqlite", "side"): raw("'up'"),
    ("sqlite", "corner"): raw("'west'", "5"),
    ("sqlite", "document"): quoted(
        *RAW_DOCUMENTS, "NaN", "[Infinity]", "{a:1}", "[1,]", "0x10", "+1", "''", "", "nul"
    ),
}  # fmt: skip
