"""Which poolers a URL tells of, and what connections through one do without."""

from functools import partial
from typing import Any

import pytest

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.dialects.postgresql.connect import connect_arguments
from fastapi_asyncdb.dialects.postgresql.connect_errors import diagnose
from fastapi_asyncdb.dialects.postgresql.pooler import evidence, without_session
from fastapi_asyncdb.dialects.postgresql.server_settings import join_options, split_options

pytestmark = pytest.mark.promise("T21")

POOLERS = {
    "postgresql://u:p@ep-cool-123456-pooler.us-east-2.aws.neon.tech/main": "Neon",
    "postgresql://u:p@ep-cool-123456-pooler.c-2.eu-central-1.aws.neon.tech:5432/main": "Neon",
    "postgresql://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres": "Supabase",
    "postgresql://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:5432/postgres": "Supabase",
    "postgresql://postgres:p@db.abcdefgh.supabase.co:6543/postgres": "Supabase",
    "postgresql://doadmin:p@db-1-do-user-1-0.b.db.ondigitalocean.com:25061/pool": "DigitalOcean",
    "postgresql://u:p@app.proxy-c1a2b3.eu-west-1.rds.amazonaws.com/app": "RDS Proxy",
    "postgresql://u:p@app.endpoint.proxy-c1a2b3.eu-west-1.rds.amazonaws.com:5432/app": "RDS Proxy",
    "postgresql://fly-user:p@pgbouncer.abc123.flympg.net/fly-db": "called pgbouncer",
    "postgresql://postgres:p@pgbouncer.railway.internal:6432/railway": "called pgbouncer",
    "postgresql://u:p@pgbouncer:5432/app": "called pgbouncer",
    "postgresql://u:p@db/app?pgbouncer=true": "DATABASE_URL",
}
SERVERS = [
    "postgresql://u:p@ep-cool-123456.us-east-2.aws.neon.tech/main",
    "postgresql://postgres:p@db.abcdefgh.supabase.co:5432/postgres",
    "postgresql://doadmin:p@db-1-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb",
    "postgresql://u:p@mydb.c1.eu-west-1.rds.amazonaws.com:5432/app",
    "postgresql://fly-user:p@direct.abc123.flympg.net/fly-db",
    "postgresql://u:p@db/pgbouncer",
    "postgresql://u:p@mypgbouncerdb/app",
    "postgresql://u:p@a,b/app",
    "postgresql://u:p@/app?host=/var/run/postgresql",
    "postgresql://u:p@ep-cool-1-pooler.aws.neon.tech/main?pgbouncer=false",
]


@pytest.mark.parametrize("url", POOLERS)
def test_url_tells_of_a_pooler(url: str):
    """By host and port, or by the word that hosts add for Prisma; the setting wins."""
    words = evidence(parse_url(url), setting=None)
    assert words is not None
    assert POOLERS[url] in words
    assert evidence(parse_url(url), setting=False) is None


@pytest.mark.parametrize("url", SERVERS)
def test_url_tells_nothing(url: str):
    """The first connection finds out then, unless the user says it."""
    assert evidence(parse_url(url), setting=None) is None
    assert "DATABASE_PGBOUNCER" in (evidence(parse_url(url), setting=True) or "")


def through(url: str, **values: Any) -> dict[str, Any]:
    """Return the arguments for a driver behind a pooler."""
    target = parse_url(url)
    arguments = connect_arguments(target, DatabaseSettings(url=url, **values))
    return without_session(arguments, target.url.get_driver_name())


def test_asyncpg_prepares_nothing_with_a_name():
    """Two caches keep statements: asyncpg's, and that of SQLAlchemy, which names them."""
    arguments = through("postgresql://u:p@db/app")
    assert arguments["statement_cache_size"] == 0
    assert arguments["prepared_statement_cache_size"] == 0
    assert arguments["prepared_statement_name_func"]() == ""


def test_url_may_ask_for_named_statements():
    """A pooler that keeps them may have them, and only the user knows."""
    query = "statement_cache_size=50&prepared_statement_cache_size=50"
    arguments = through(f"postgresql://u:p@db/app?{query}")
    assert arguments["statement_cache_size"] == arguments["prepared_statement_cache_size"] == 50
    assert "prepared_statement_name_func" not in arguments


def test_psycopg_prepares_nothing():
    """It never gives a statement a name then."""
    assert through("postgresql+psycopg://u:p@db/app")["prepare_threshold"] is None


OPTIONS = "options=-c%20statement_timeout%3D5s%20-c%20search_path%3Da%5C%20b%20endpoint%3Dep"


def test_timeouts_leave_the_startup_message_of_asyncpg():
    """Other settings stay in it, since reads in autocommit would miss them."""
    arguments = through(f"postgresql://u:p@db/app?{OPTIONS}", lock_timeout=1.5)
    assert arguments["server_settings"] == {
        "application_name": "fastapi_asyncdb",
        "search_path": "a b",
        "options": "endpoint=ep",
    }
    assert arguments["after_begin"] == (
        "SET LOCAL lock_timeout = '1500'; SET LOCAL idle_in_transaction_session_timeout = '60000'; "
        "SET LOCAL statement_timeout = '5s'"
    )


def test_timeouts_leave_the_startup_message_of_psycopg():
    """What the proxy of the host reads stays as it is."""
    arguments = through(f"postgresql+psycopg://u:p@db/app?{OPTIONS}", statement_timeout=1)
    assert arguments["options"] == "-c search_path=a\\ b endpoint=ep"
    assert arguments["after_begin"] == (
        "SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '60000'"
    )
    assert through("postgresql+psycopg://u:p@db/app")["options"] == ""


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_url_that_refuses_writes_does_so_behind_a_pooler(driver: str):
    """Only the setting that the library adds for its replicas is left to the server."""
    url = f"postgresql+{driver}://u:p@db/app?options=-c%20default_transaction_read_only%3Don"
    target = parse_url(url)
    arguments = connect_arguments(target, DatabaseSettings(url=url))
    assert "default_transaction_read_only" in str(without_session(arguments, driver))
    of_replica = without_session(arguments, driver, is_replica=True)
    assert "default_transaction_read_only" not in str(of_replica)


@pytest.mark.parametrize("value", ["5'; DROP TABLE note; --", "x"])
def test_what_is_no_time_is_left_to_the_server(value: str):
    """It gets into no statement."""
    given = {"server_settings": {"statement_timeout": value}}
    arguments = without_session(given, "asyncpg")
    assert arguments["after_begin"] == ""
    assert arguments["server_settings"] == {"statement_timeout": value}


def test_options_survive_being_split_and_joined():
    """Spaces and backslashes are escaped."""
    settings = {"search_path": "a b, c", "application_name": "back\\slash"}
    assert split_options(join_options(settings, "endpoint=ep")) == (settings, "endpoint=ep")


@pytest.mark.parametrize(
    "words",
    [
        "unsupported startup parameter: options",
        "unsupported startup parameter in options: search_path",
        "Feature not supported: RDS Proxy currently doesn't support command-line options.",
    ],
)
def test_refusal_by_a_pooler_has_its_advice(words: str):
    """Waiting does not cure it."""
    diagnosis = diagnose(ConnectionError(words))
    assert diagnosis.permanent
    assert "DATABASE_PGBOUNCER" in diagnosis.advice


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_words_of_prisma_are_understood(driver: str):
    """Hosts hand them out in the URLs of their poolers."""
    parse = partial("{}://u:p@db:6543/app?{}".format, driver)
    words = "pgbouncer=true&connection_limit=1&pool_timeout=10&schema=public&supa=base-pooler.x"
    target = parse_url(parse(f"sslmode=require&channel_binding=disable&{words}"))
    assert target.pooled is True
    assert target.tls.mode == "require"
    assert not {"connection_limit", "pool_timeout", "schema", "supa"} & {*target.connect_args}
