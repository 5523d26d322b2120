"""URLs as hosts hand them out, URLs that are refused, and that no password is ever lost or shown."""

from __future__ import annotations

import inspect
import re
from typing import Any, cast
from urllib.parse import quote

import psycopg.conninfo
import pytest
import sqlalchemy
from asyncpg import connect_utils
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import URL

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.dialects import Target, parse_url, preset_for
from fastapi_asyncdb.dialects.keepalive import KEEPALIVES
from fastapi_asyncdb.errors import ConfigurationError, InvalidDatabaseURL, UnsupportedDriver
from tests.support.leaks import PASSWORD, leaks
from tests.support.urls import ASYNCPG, PASSWORDS, PSYCOPG, REFUSED, SERVERS, SQLITE, Received


def received(target: Target) -> Received:
    """Ask SQLAlchemy's dialect, which is what the engine does, in the driver's own words."""
    options = engine_arguments(target)
    ports: list[int | None] = [int(port) for port in _listed(options.get("port"))]
    hosts = _listed(options.get("host")) or [""] * len(ports)
    return Received(
        driver=target.url.drivername,
        user=options.get("user"),
        password=options.get("password"),
        hosts=list(zip(hosts, ports or [None] * len(hosts), strict=True)),
        database=next(
            (options[name] for name in ("database", "dbname", "db") if name in options), None
        ),
        connect_args=dict(target.connect_args),
        tls=target.tls.mode,
        connect_timeout=target.connect_timeout,
    )


def engine_arguments(target: Target) -> dict[str, Any]:
    """Return what the dialect makes of the URL."""
    if target.url.get_backend_name() in ("mysql", "mariadb"):
        # MySQL's dialects do this and then ask the driver, which is not installed, for a flag.
        return target.url.translate_connect_args(username="user", database="db")
    _, options = target.url.get_dialect()().create_connect_args(target.url)
    return cast(dict[str, Any], options)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.split(",")
    return list(value) if isinstance(value, list | tuple) else [value]


# --- What hosts hand out --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
def test_url_of_a_server_reaches_the_driver(name: str) -> None:
    """Driver, hosts, user, password, database, arguments and TLS mode are what the URL says."""
    url, expected = SERVERS[name]
    assert received(parse_url(url)) == expected


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "mysql"])
@pytest.mark.parametrize("written", PASSWORDS)
def test_password_reaches_the_driver(scheme: str, written: str) -> None:
    """Percent-encoded or raw, the driver gets the password that was meant."""
    target = parse_url(f"{scheme}://user:{written}@db.example.com:1234/app")
    arrived = received(target)
    assert arrived.password == (PASSWORDS[written] or None)
    assert (arrived.user, arrived.hosts, arrived.database) == (
        "user",
        [("db.example.com", 1234)],
        "app",
    )


@pytest.mark.parametrize("name", ASYNCPG)
def test_asyncpg_resolves_the_same_addresses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asyncpg itself makes of URL and arguments is the same hosts, ports, user and database."""
    for variable in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PGUSER", "me")
    url, expected = ASYNCPG[name]
    target = parse_url(url)
    given = {**engine_arguments(target), **target.connect_args}
    # SQLAlchemy takes this one for itself.
    given.pop("prepared_statement_cache_size", None)
    # And the dialect these.
    given = {name: value for name, value in given.items() if name not in KEEPALIVES}
    if "direct_tls" in given:
        given["ssl"] = True
    parse = connect_utils._parse_connect_arguments
    assert given.keys() <= inspect.signature(parse).parameters.keys()
    # asyncpg.connect's own defaults for what is not said.
    defaults: dict[str, Any] = dict.fromkeys(inspect.signature(parse).parameters)
    sizes = (
        "statement_cache_size",
        "max_cached_statement_lifetime",
        "max_cacheable_statement_size",
    )
    addresses, parameters, _ = parse(**{**defaults, **dict.fromkeys(sizes, 0), **given})
    assert [_address(host, port) for host, port in expected.hosts if host] in ([], addresses)
    assert (parameters.user, parameters.password) == (expected.user or "me", expected.password)
    assert parameters.database == (expected.database or "me")
    if not any(host for host, _ in expected.hosts):
        port = expected.hosts[0][1] if expected.hosts else 5432
        assert ("localhost", port) in addresses


def _address(host: str, port: int | None) -> str | tuple[str, int]:
    if not host.startswith("/"):
        return (host, port or 5432)
    return host if ".s.PGSQL." in host else f"{host}/.s.PGSQL.{port or 5432}"


@pytest.mark.parametrize("name", PSYCOPG)
def test_libpq_accepts_what_psycopg_is_given(name: str) -> None:
    """The parser of libpq itself knows every parameter, and reads back the same hosts."""
    url, expected = PSYCOPG[name]
    target = parse_url(url)
    conninfo = psycopg.conninfo.make_conninfo(**{**engine_arguments(target), **target.connect_args})
    read = psycopg.conninfo.conninfo_to_dict(conninfo)
    assert str(read["host"]).split(",") == [host for host, _ in expected.hosts]
    assert (read["user"], read["password"]) == (expected.user, expected.password)


def test_certificates_are_kept() -> None:
    """Paths of authorities, certificate and key come through, and the key's password unseen."""
    query = f"sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k&sslpassword={PASSWORD}"
    for scheme in ("postgresql", "postgresql+psycopg"):
        target = parse_url(f"{scheme}://u:pw@db/app?{query}")
        tls = target.tls
        assert (tls.root_cert, tls.cert, tls.key) == ("/ca", "/c", "/k")
        assert tls.key_password == PASSWORD
        assert PASSWORD not in repr(target)
        assert PASSWORD not in repr(target.url)


@pytest.mark.parametrize(
    ("query", "verified"),
    [
        ("", False),
        ("?sslmode=require", False),
        ("?sslmode=require&sslrootcert=/ca", True),
        ("?sslmode=verify-ca", True),
        ("?sslmode=verify-full", True),
        ("?sslmode=prefer&sslrootcert=/ca", False),
    ],
)
def test_tls_is_verified_where_libpq_verifies(query: str, verified: bool) -> None:
    """As in libpq, require with an authority at hand verifies as well."""
    assert parse_url(f"postgresql://db/app{query}").tls.verified is verified


# --- SQLite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", SQLITE)
def test_url_of_a_file_reaches_sqlite(
    url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite is given the file, and the parameters that it or its driver knows."""
    monkeypatch.chdir(tmp_path)
    filename, options = SQLITE[url]
    target = parse_url(url)
    assert target.url.drivername == "sqlite+aiosqlite"
    (opened,), made = target.url.get_dialect()().create_connect_args(target.url)
    made.pop("check_same_thread")
    assert opened.removeprefix(f"{tmp_path}/") in (filename, filename.removeprefix("./"))
    assert {**made, **target.connect_args} == options
    assert target.is_local


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("template", REFUSED)
def test_refused_url_is_explained_without_its_password(template: str) -> None:
    """The message names the problem and the way out; nothing in the error holds the password."""
    url = SecretStr(template.replace("{pw}", PASSWORD))
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    for words in REFUSED[template]:
        assert words in str(caught.value)
    assert not leaks(caught.value)


@pytest.mark.parametrize("scheme", ["oracle", "mssql+aioodbc", "mongodb+srv"])
def test_database_that_is_advised_instead_is_served(scheme: str) -> None:
    """The advice for a database that is not served leads to one that can be started."""
    with pytest.raises(UnsupportedDriver) as caught:
        parse_url(f"{scheme}://u@db/app")
    advised = re.findall(r"\w+://", str(caught.value))
    assert advised
    for one in advised:
        preset_for(parse_url(f"{one}/app.db" if one.startswith("sqlite") else f"{one}u@db/app"))


def test_plain_text_of_a_refused_url_is_in_no_frame() -> None:
    """A caller may pass text: parse_url keeps it out of its own frames."""

    def refuse() -> BaseException:
        try:
            parse_url(f"postgresql+psycopg2://u:{PASSWORD}@db/app")
        except UnsupportedDriver as error:
            return error
        raise AssertionError

    assert not leaks(refuse())


def test_driver_and_url_are_different_errors() -> None:
    """Callers can tell an unserved driver from a mistyped URL; both are configuration errors."""
    with pytest.raises(UnsupportedDriver):
        parse_url("mssql://db/app")
    with pytest.raises(InvalidDatabaseURL):
        parse_url("postgresql://db:x/app")


# --- Local or not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql:///app", True),
        ("postgresql://u@:5433/app", True),
        ("postgresql://localhost/app", True),
        ("postgresql://LocalHost/app", True),
        ("postgresql://127.0.0.1/app", True),
        ("postgresql://127.3.2.1/app", True),
        ("postgresql://[::1]/app", True),
        ("postgresql:///app?host=/cloudsql/p:r:i", True),
        ("postgresql://u@%2Frun%2Fpostgresql/app", True),
        ("postgresql+psycopg:///app?host=@abstract", True),
        ("mysql://db/app?unix_socket=/run/mysqld.sock", True),
        ("mysql:///app", True),
        ("sqlite:///app.db", True),
        ("postgresql://db/app", False),
        ("postgresql://localhost.example.com/app", False),
        ("postgresql://10.0.0.1/app", False),
        ("postgresql://0.0.0.0/app", False),
        ("postgresql://[2001:db8::1]/app", False),
        ("postgresql://localhost,db/app", False),
        ("postgresql://localhost/app?host=db", False),
        ("postgresql+psycopg://localhost/app?hostaddr=10.0.0.1", False),
        ("postgresql+psycopg:///app?service=main", False),
        ("mysql://db/app", False),
    ],
)
def test_local_is_what_leaves_no_packet(url: str, local: bool) -> None:
    """Sockets, files and loopback addresses are local; a single other host makes all remote."""
    assert parse_url(url).is_local is local


# --- For any name and password --------------------------------------------------------------------

# PostgreSQL and MySQL have no NUL in names; a lone surrogate has no UTF-8.
anything = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)
SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg", "mysql"])
# SQLAlchemy 2.0 renders the name of the database as it is: "?" then begins the query, "%41" is "A",
# and "@" moves the end of the user info. SQLAlchemy 2.1 quotes it, except for blanks, which are
# stripped from the end of any URL.
quotes_database = not sqlalchemy.__version__.startswith("2.0")
rendered_database = anything.filter(
    lambda name: name == name.rstrip() and (quotes_database or not set(name) & set("%?@"))
)


@given(scheme=SCHEMES, user=anything, password=anything, database=anything)
@example("postgresql", "user@server", "p@s/s:w?o#r%d+ =&", "my db?")
@example("mysql", ":", "@", "/")
def test_percent_encoded_parts_reach_the_driver(
    scheme: str, user: str, password: str, database: str
) -> None:
    """Whatever the characters, the driver gets exactly what was encoded."""
    parts = [quote(part, safe="") for part in (user, password, database)]
    target = parse_url("{}://{}:{}@db:1234/{}".format(scheme, *parts))
    _assert_received(target, user, password, database)


@given(scheme=SCHEMES, user=anything, password=anything, database=rendered_database)
@example("postgresql", "a b", "c+d e", "f+g")
def test_urls_that_sqlalchemy_renders_reach_the_driver(
    scheme: str, user: str, password: str, database: str
) -> None:
    """SQLAlchemy's own text of a URL object is read back without loss."""
    url = URL.create(scheme, user, password, "db", 1234, database)
    target = parse_url(url.render_as_string(hide_password=False))
    _assert_received(target, user, password, database)


@given(scheme=SCHEMES, user=anything, password=anything, database=anything)
@example("postgresql", "u", "p", "100%25?x=@y ")
def test_url_objects_reach_the_driver(scheme: str, user: str, password: str, database: str) -> None:
    """Settings take SQLAlchemy's URL objects, whose text would not always be exact."""
    url = URL.create(scheme, user, password, "db", 1234, database)
    settings = DatabaseSettings(url=url, _env_file=None)
    _assert_received(parse_url(settings.url), user, password, database)


def test_url_object_of_a_file_keeps_its_query() -> None:
    """SQLite's parameters survive the way through the settings."""
    url = URL.create("sqlite", database="file:a b.db", query={"mode": "ro", "uri": "true"})
    target = parse_url(DatabaseSettings(url=url, _env_file=None).url)
    (opened,), _ = target.url.get_dialect()().create_connect_args(target.url)
    assert opened == "file:a b.db?mode=ro"


def _assert_received(target: Target, user: str, password: str, database: str) -> None:
    driver = target.url.drivername
    expected = Received(user, password, [("db", 1234)], database, driver=driver)
    assert received(target) == expected


# --- For any text ---------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *(
            "postgresql",
            "postgres",
            "+psycopg",
            "+asyncpg",
            "mysql",
            "sqlite",
            "://",
            ":",
            "/",
            "@",
        ),
        *("?", "&", "=", "#", ",", "[", "]", "%", "%40", "%ff", "-c ", "\\", "+", " ", "\n", "::1"),
        *("host", "port", "user", "password", "dbname", "sslmode", "require", "options", "timeout"),
        *(
            "connect_timeout",
            "application_name",
            "uri",
            "mode",
            "file:",
            "0",
            "5432",
            "99999",
            "9" * 5000,
        ),
        *("db", "localhost", "/tmp", "\u0663", "\0"),
    ]
)
url_like = st.lists(pieces, max_size=15).map("".join)
schemes = st.sampled_from(["postgresql://", "postgresql+psycopg://", "mysql://", "sqlite://"])


@given(st.text() | url_like | st.builds(str.__add__, schemes, url_like))
@example("postgresql://db/app?options=-c%20x=y\\")
@example("postgresql://db:" + "9" * 5000)
def test_any_text_is_a_target_or_a_configuration_error(text: str) -> None:
    """No text makes the parser fail in another way, nor SQLAlchemy with what the parser returns."""
    try:
        target = parse_url(text)
    except ConfigurationError:
        return
    engine_arguments(target)
    assert isinstance(target.is_local, bool)


@given(st.builds("{}{}{}{}".format, schemes, url_like, st.just(PASSWORD), url_like))
def test_no_text_brings_out_the_password(text: str) -> None:
    """Wherever a secret stands in front of the host, no error and no repr shows it."""
    try:
        target = parse_url(text)
    except ConfigurationError as error:
        problem = error
    else:
        if target.url.password and PASSWORD in target.url.password:
            assert PASSWORD not in repr(target)
        return
    if "@" in text.partition(PASSWORD)[2]:
        assert PASSWORD not in str(problem)
