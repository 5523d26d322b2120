"""Names of other packages that are private or undocumented, and that the library needs nevertheless.

An upgrade of such a package may remove a name without notice. Then this test fails first, with a
sentence that names the module of ours.
"""

import ast
import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiomysql.connection
import aiosqlite
import asyncmy.connection
import asyncpg.protocol
import psycopg
import pytest
import sqlalchemy.engine.base
import sqlalchemy.orm
import sqlalchemy.pool
import sqlalchemy.pool.base
import sqlalchemy.sql.compiler
import sqlalchemy.util
import sqlalchemy.util.concurrency
import sqlalchemy.util.queue
import wrapt
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from sqlalchemy.dialects.mysql.asyncmy import AsyncAdapt_asyncmy_connection
from sqlalchemy.orm.collections import InstrumentedList
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from tests.support.application import Note

PACKAGE = Path(__file__).parent.parent / "fastapi_asyncdb"
NAMES_OF_THE_LANGUAGE = {"_getframe": "sys"}
"""Private by their spelling, and documented."""


@dataclass(frozen=True)
class Needed:
    """A name of another package that the library needs."""

    name: str
    of: str
    """The object that has it; see ``objects``."""
    module: str
    """The module of ours that uses it."""
    why: str

    def __str__(self) -> str:
        return f"fastapi_asyncdb/{self.module} needs {self.name!r} of {self.of}: {self.why}."


_POOL = "SQLAlchemy's AsyncAdaptedQueuePool"
_MYSQL = "dialects/mysql"
_SANDBOX = "testing/sandbox/pool.py"
_PLANS = "dialects/postgresql/plans.py"
_PSYCOPG = "dialects/postgresql/psycopg.py"
_FIRST = "dialects/postgresql/first_statement.py"
_PIPELINE = "psycopg's AsyncPipeline"
_PROTOCOL = "asyncpg's Protocol"
_LISTENER = "dialects/postgresql/asyncpg.py"
_PASSES_ON = "our protocol passes the transport's calls on to asyncpg's"
_STREAMS = "dialects/stream_cursors.py"
_COPYING = "dialects/postgresql/copying.py"
_LATE = "engine/late/engine.py"
_TARGETS = "engine/late/targets.py"

_ROUTE = "query_string.py"

NEEDED = [
    Needed("dependant", "FastAPI's APIRoute", _ROUTE, "a filter set refuses unknown parameters"),
    *(
        Needed(name, "FastAPI's Dependant", _ROUTE, "the parameters of a whole route")
        for name in ("query_params", "dependencies", "call")
    ),
    *(
        Needed(name, "FastAPI's ModelField", _ROUTE, "the names of a parameter")
        for name in ("name", "field_info")
    ),
    Needed("await_only", "sqlalchemy.util", "concurrency.py", "a greenlet waits for a coroutine"),
    Needed("greenlet_spawn", "sqlalchemy.util", "concurrency.py", "a coroutine runs a greenlet"),
    Needed(
        "in_greenlet",
        "sqlalchemy.util.concurrency",
        "concurrency.py",
        "the garbage collector cannot wait for the closing of a connection",
    ),
    Needed("Empty", "sqlalchemy.util.queue", "pool/fair_pool.py", "the queue raises it"),
    Needed("Empty", "sqlalchemy.util.queue", "pool/idle.py", "what the pool expects of its queue"),
    Needed(
        "QueueCommon", "sqlalchemy.util.queue", "pool/idle.py", "the interface of a pool's queue"
    ),
    Needed("_pool", _POOL, "pool/fair_pool.py", "the queue of idle connections"),
    Needed("_queue_class", _POOL, "pool/fair_pool.py", "overflow connections stay in ours"),
    Needed("_overflow", _POOL, "pool/fair_pool.py", "the number of connections"),
    Needed("_recycle", _POOL, "pool/fair_pool.py", "each connection has an age of its own"),
    Needed("_close_connection", _POOL, "pool/fair_pool.py", "closes what was idle for too long"),
    Needed("_do_get", _POOL, "pool/fair_pool.py", "waiters are served there"),
    Needed("_do_return_conn", _POOL, "pool/fair_pool.py", "slots are released there"),
    Needed("_create_connection", _POOL, "pool/fair_pool.py", "the checkout connects"),
    Needed(
        "_ConnectionRecord", "sqlalchemy.pool.base", "pool/fair_pool.py", "without a connection"
    ),
    Needed("_dec_overflow", _POOL, "pool/fair_pool.py", "records without a connection go"),
    Needed("_max_overflow", _POOL, "pool/fair_pool.py", "the number of slots"),
    Needed("_timeout", _POOL, "pool/fair_pool.py", "the time of a waiter"),
    Needed("_dialect", _POOL, "pool/fair_pool.py", "tells errors of the driver from others"),
    Needed("_invoke_creator", _POOL, "pool/fair_pool.py", "forgets local variables of connecting"),
    Needed("dispatch", _POOL, "pool/fair_pool.py", "listeners hear of closed connections"),
    Needed("_invalidate", _POOL, "dialects/failover.py", "older connections are replaced"),
    Needed("_do_get", "SQLAlchemy's NullPool", _SANDBOX, "one session at a time"),
    Needed("_do_return_conn", "SQLAlchemy's NullPool", _SANDBOX, "turns end"),
    Needed(
        "_has_events",
        "SQLAlchemy's Engine",
        "data/answers/statements.py",
        "a listener may change what is sent",
    ),
    Needed("_is_clean", "SQLAlchemy's Session", "session/state.py", "a read has nothing to flush"),
    Needed(
        "_execute_internal",
        "SQLAlchemy's Session",
        "session/sync_session.py",
        "all statements run there, one task at a time",
    ),
    Needed(
        "_with_options",
        "SQLAlchemy's Select",
        "models/soft_delete.py",
        "deleted rows are left out once",
    ),
    Needed(
        "strategy_key",
        "SQLAlchemy's RelationshipProperty",
        "models/base.py",
        "how a relationship is loaded",
    ),
    Needed(
        "backref",
        "SQLAlchemy's RelationshipProperty",
        "models/base.py",
        "how its other side is loaded",
    ),
    Needed(
        "_connection_record",
        "SQLAlchemy's PoolProxiedConnection",
        "dialects/autocommit.py",
        "autocommit ends at checkin",
    ),
    Needed(
        "_execution_options",
        "SQLAlchemy's Connection",
        "dialects/autocommit.py",
        "autocommit is an option of the connection",
    ),
    Needed(
        "OptionEngine", "sqlalchemy.engine.base", "dialects/autocommit.py", "no listener is needed"
    ),
    *(
        Needed(name, "SQLAlchemy's Engine", _LATE, why)
        for name, why in (
            ("_compiled_cache", "an engine that stands for another has the other's"),
            ("_execution_options", "an engine that stands for another has the other's"),
            ("_has_events", "the engines that it stands for have listeners with it"),
        )
    ),
    Needed(
        "_sa_propagate_class_events",
        "SQLAlchemy's OptionEngine",
        _LATE,
        "a listener on the class is called once",
    ),
    Needed("_join", "SQLAlchemy's listeners", _LATE, "its listeners are called, too"),
    Needed("_join", "SQLAlchemy's listeners", _TARGETS, "listeners hear of the real object"),
    Needed("_sa_propagate_class_events", "SQLAlchemy's OptionEngine", _TARGETS, "as for it"),
    Needed(
        "_set_asyncio",
        "SQLAlchemy's listeners for an event",
        _TARGETS,
        "the first connection of a pool is awaited by tasks",
    ),
    Needed("_invalidate", _POOL, _TARGETS, "a pool that stands for another passes it on"),
    Needed("_dispatch", "the arguments of SQLAlchemy's Pool", "pool/fair_pool.py", "its listeners"),
    Needed(
        "_option_cls",
        "SQLAlchemy's OptionEngine",
        "dialects/autocommit.py",
        "execution_options() makes an engine of the same class",
    ),
    Needed(
        "_has_events",
        "SQLAlchemy's dialect",
        "testing/engine_events.py",
        "statements are fast again once nothing listens",
    ),
    Needed("execution_ctx_cls", "SQLAlchemy's dialect", _STREAMS, "it makes cursors on the server"),
    Needed(
        "connection_characteristics",
        "SQLAlchemy's dialect",
        "testing/sandbox/dialect.py",
        "a sandbox has none",
    ),
    Needed(
        "set_readonly", "SQLAlchemy's dialect", "dialects/postgresql/transactions.py", "snapshots"
    ),
    Needed("_invalidate_schema_cache", "SQLAlchemy's dialect", _PLANS, "plans are made anew"),
    Needed("_invalidate_schema_cache_asof", "SQLAlchemy's dialect", _PLANS, "likewise"),
    Needed("_invalidate_schema_cache_asof", "SQLAlchemy's cursor for asyncpg", _PLANS, "likewise"),
    Needed(
        "create_server_side_cursor",
        "SQLAlchemy's execution context",
        _STREAMS,
        "streams have snapshots",
    ),
    *(
        Needed(
            "_connection_record", "SQLAlchemy's PoolProxiedConnection", f"{_MYSQL}/{module}", why
        )
        for module, why in {
            "advisory_locks.py": "named locks are released at checkin",
            "transactions.py": "timeouts are put back at checkin",
        }.items()
    ),
    Needed(
        "_close_reason",
        "asyncmy's Connection",
        f"{_MYSQL}/preset.py",
        "the driver has closed it because its task was cancelled",
    ),
    Needed(
        "_execute_mutex",
        "SQLAlchemy's connection for asyncmy",
        f"{_MYSQL}/preset.py",
        "it is locked while a statement is under way",
    ),
    Needed(
        "_reader",
        "aiomysql's Connection",
        f"{_MYSQL}/connections.py",
        "it knows that the server has closed the connection",
    ),
    Needed(
        "_execute_mutex",
        "SQLAlchemy's connection for asyncpg",
        "dialects/postgresql/preset.py",
        "it is locked while a statement is under way",
    ),
    Needed("_execute_context", "SQLAlchemy's Connection", _COPYING, "COPY is a statement"),
    Needed("_init_statement", "SQLAlchemy's execution context", _COPYING, "likewise"),
    Needed("create_cursor", "SQLAlchemy's execution context", _COPYING, "whose cursor copies"),
    Needed("_adapt_connection", "SQLAlchemy's cursor for asyncpg", _COPYING, "it has the lock"),
    Needed("_execute_mutex", "SQLAlchemy's connection for asyncpg", _COPYING, "COPY is under way"),
    Needed(
        "_handle_exception", "SQLAlchemy's cursor for asyncpg", _COPYING, "errors of the driver"
    ),
    Needed(
        "detect_autocommit_setting",
        "SQLAlchemy's dialect",
        "dialects/autocommit.py",
        "temporary tables and locks need a transaction",
    ),
    Needed("data_received", _PROTOCOL, _LISTENER, _PASSES_ON),
    Needed("connection_lost", _PROTOCOL, _LISTENER, _PASSES_ON),
    Needed("eof_received", _PROTOCOL, _LISTENER, _PASSES_ON),
    Needed("pause_writing", _PROTOCOL, _LISTENER, _PASSES_ON),
    Needed("resume_writing", _PROTOCOL, _LISTENER, _PASSES_ON),
    Needed("_start_query", "psycopg's AsyncConnection", _PSYCOPG, "timeouts go with each BEGIN"),
    Needed("_get_tx_start_command", "psycopg's AsyncConnection", _PSYCOPG, "likewise"),
    Needed("_exec_command", "psycopg's AsyncConnection", _PSYCOPG, "likewise, in a pipeline"),
    Needed("_pipeline", "psycopg's AsyncConnection", _PSYCOPG, "tells whether there is one"),
    Needed("_prepared", "psycopg's AsyncConnection", _PSYCOPG, "outdated plans are dropped"),
    Needed("wait", "psycopg's AsyncConnection", _PSYCOPG, "the server is told to drop them"),
    Needed("lock", "psycopg's AsyncConnection", _PSYCOPG, "by one task at a time"),
    Needed("_prepared", "psycopg's AsyncConnection", _FIRST, "a plan that was not made is dropped"),
    Needed("_pipeline", "psycopg's AsyncConnection", _FIRST, "BEGIN and a statement are queued"),
    Needed("_start_query", "psycopg's AsyncConnection", _FIRST, "BEGIN may be cancelled"),
    Needed("_execute_gen", "psycopg's AsyncCursor", _FIRST, "a first statement is queued there"),
    Needed("_conn", _PIPELINE, _FIRST, "the connection has no pipeline after the answers"),
    Needed("_sync_gen", _PIPELINE, _FIRST, "psycopg waits there for the answer to BEGIN"),
    Needed("_communicate_gen", _PIPELINE, _FIRST, "psycopg sends there what it has queued"),
    Needed("_enqueue_sync", _PIPELINE, _FIRST, "the pipeline has one end"),
    Needed("_fetch_gen", _PIPELINE, _FIRST, "it reads all answers"),
    Needed("_process_results", _PIPELINE, _FIRST, "the first error is kept"),
    Needed("clear", "psycopg's PrepareManager", _PSYCOPG, "plans are dropped here"),
    Needed("maintain_gen", "psycopg's PrepareManager", _PSYCOPG, "and on the server"),
    Needed(
        "_execute", "aiosqlite's Connection", "dialects/sqlite/interrupt.py", "runs in its thread"
    ),
    Needed(
        "_conn", "aiosqlite's Connection", "dialects/sqlite/interrupt.py", "its cursors are closed"
    ),
    Needed(
        "_self_wrapper",
        "wrapt's FunctionWrapper",
        "engine/late/engines.py",
        "a tracer may come after the start",
    ),
    Needed(
        "start", "aiosqlite's thread", "dialects/sqlite/connection.py", "it must not outlive a task"
    ),
    *(
        Needed(name, "SQLAlchemy's Select", f"data/pages/{module}.py", why)
        for name, module, why in (
            ("_order_by_clauses", "ordering", "a page makes the order unique"),
            ("_order_by_clauses", "selects", "a window function in the order is refused"),
            ("_group_by_clauses", "selects", "a page of groups is ordered by the groups"),
            ("_distinct", "selects", "DISTINCT decides about joins and counts"),
            ("_distinct_on", "selects", "a cursor would change its rows"),
            ("_for_update_arg", "selects", "a count locks nothing"),
            ("_for_update_arg", "statements", "a page of a join locks its own tables"),
            ("_with_options", "selects", "a count loads nothing"),
            ("_with_options", "counts", "criteria go around a subquery"),
            ("_raw_columns", "selects", "window functions are refused"),
            ("_raw_columns", "statements", "an answer reads something else than the entity"),
            ("_setup_joins", "selects", "a statement without joins is spared a compilation"),
            ("_from_obj", "selects", "likewise, with select_from()"),
            ("_from_objects", "selects", "WHERE may add tables"),
            ("_has_row_limiting_clause", "selects", "a LIMIT would be lost"),
            ("_has_row_limiting_clause", "limited", "rows are found before they are read"),
            ("_order_by_clauses", "limited", "they keep their order"),
            ("_raw_columns", "limited", "what else is selected is found with them"),
            ("_with_options", "limited", "criteria stay"),
            ("_execution_options", "limited", "likewise"),
            ("_for_update_arg", "limited", "a subquery would lock too much"),
        )
    ),
    *(
        Needed(
            name, "SQLAlchemy's Select", "dialects/mysql/json.py", "an aggregate has them inside"
        )
        for name in ("_raw_columns", "_order_by_clauses", "_limit_clause")
    ),
    Needed(
        "_variant_mapping",
        "SQLAlchemy's TypeEngine",
        "dialects/json.py",
        "the JSON of a column is that of its type on this database",
    ),
    Needed(
        "_annotations",
        "SQLAlchemy's entity in a Select",
        "data/pages/selects.py",
        "describing the columns costs a tenth of a page",
    ),
    Needed(
        "_unique_filter_state",
        "SQLAlchemy's Result",
        "data/pages/rows.py",
        "joined loading needs unique()",
    ),
    Needed(
        "_with_options",
        "SQLAlchemy's Select",
        "data/answers/loader_options.py",
        "some decide which objects are related",
    ),
    Needed("_with_options", "SQLAlchemy's Select", "data/answers/narrowed.py", "criteria stay"),
    Needed(
        "_sa_appender",
        "SQLAlchemy's InstrumentedList",
        "data/answers/narrowed.py",
        "a collection of its own is filled without events",
    ),
    Needed(
        "_global_attributes",
        "SQLAlchemy's SQLCompiler",
        "data/answers/criteria.py",
        "it has the criteria of the statement",
    ),
    *(
        Needed(name, "SQLAlchemy's loader option", "data/answers/loader_options.py", why)
        for name, why in (
            ("_reconcile_to_other", "two options for one relationship are a conflict"),
            ("_extra_criteria", "they decide which objects are related"),
            ("strategy", "some decide which objects are related"),
            ("local_opts", "likewise"),
        )
    ),
]
if sys.version_info < (3, 12):
    NEEDED.append(
        Needed(
            "_is_coroutine",
            "asyncio.coroutines",
            "dependencies.py",
            "it marks a coroutine function",
        )
    )
if not sqlalchemy.__version__.startswith("2.0."):
    NEEDED.append(
        Needed(
            "_execute_mutex",
            "SQLAlchemy's connection for aiosqlite",
            "dialects/sqlite/preset.py",
            "it is locked while a statement is under way",
        )
    )


@pytest.fixture
async def objects(worker_database: str, sqlite_url: str) -> AsyncIterator[dict[str, Any]]:
    """One of each object whose names the library uses, from connections that are open."""
    async with AsyncExitStack() as stack:

        async def connect(url: str) -> PoolProxiedConnection:
            database = await stack.enter_async_context(Database(DatabaseSettings(url=url)))
            connection = await stack.enter_async_context(database.engine.connect())
            sync: Connection | None = connection.sync_connection
            assert sync is not None
            pools[url] = runs_of(database).required().write.pool
            dialects[url] = connection.dialect
            connections[url] = sync
            return sync.connection

        pools: dict[str, Any] = {}
        dialects: dict[str, Any] = {}
        connections: dict[str, Connection] = {}
        by_asyncpg, by_aiosqlite = await connect(worker_database), await connect(sqlite_url)
        by_psycopg: Any = await connect(worker_database.replace("://", "+psycopg://", 1))
        adapted: Any = by_asyncpg.dbapi_connection
        aio: Any = by_aiosqlite.driver_connection
        driver: Any = by_psycopg.driver_connection
        assert isinstance(aio, aiosqlite.Connection)
        assert isinstance(driver, psycopg.AsyncConnection)
        plain: Any = sqlalchemy.create_engine("sqlite://")
        loads: Any = sqlalchemy.orm.defer(Note.text)
        route = APIRoute("/", lambda number: number)
        yield {
            "FastAPI's APIRoute": route,
            "FastAPI's Dependant": route.dependant,
            "FastAPI's ModelField": route.dependant.query_params[0],
            "sqlalchemy.util": sqlalchemy.util,
            "sqlalchemy.util.concurrency": sqlalchemy.util.concurrency,
            "sqlalchemy.util.queue": sqlalchemy.util.queue,
            "sqlalchemy.pool.base": sqlalchemy.pool.base,
            "sqlalchemy.engine.base": sqlalchemy.engine.base,
            "SQLAlchemy's Session": sqlalchemy.orm.Session,
            "SQLAlchemy's Result": sqlalchemy.Result,
            "SQLAlchemy's Select": sqlalchemy.select(1),
            "SQLAlchemy's entity in a Select": sqlalchemy.select(1)._raw_columns[0],
            "SQLAlchemy's SQLCompiler": sqlalchemy.sql.compiler.SQLCompiler,
            "SQLAlchemy's TypeEngine": sqlalchemy.String(),
            "SQLAlchemy's InstrumentedList": InstrumentedList(),
            "SQLAlchemy's loader option": loads.context[0],
            "SQLAlchemy's RelationshipProperty": sqlalchemy.orm.RelationshipProperty("Other"),
            "SQLAlchemy's PoolProxiedConnection": by_asyncpg,
            "SQLAlchemy's Connection": connections[worker_database],
            "SQLAlchemy's OptionEngine": sqlalchemy.engine.base.OptionEngine,
            "SQLAlchemy's Engine": plain,
            "SQLAlchemy's listeners": plain.dispatch,
            "SQLAlchemy's listeners for an event": plain.pool.dispatch.connect,
            "the arguments of SQLAlchemy's Pool": SimpleNamespace(
                **inspect.signature(sqlalchemy.pool.Pool).parameters
            ),
            # Of SQLAlchemy's own class, since ours would have the methods that it overrides.
            _POOL: _as_base(pools[worker_database], sqlalchemy.pool.AsyncAdaptedQueuePool),
            "SQLAlchemy's NullPool": sqlalchemy.pool.NullPool(lambda: None),  # type: ignore[arg-type]
            "SQLAlchemy's dialect": dialects[worker_database],
            "SQLAlchemy's execution context": type(dialects[worker_database]).execution_ctx_cls,
            "SQLAlchemy's connection for asyncpg": adapted,
            "SQLAlchemy's cursor for asyncpg": adapted.cursor(),
            "SQLAlchemy's connection for aiosqlite": by_aiosqlite.dbapi_connection,
            _PROTOCOL: asyncpg.protocol.Protocol,
            "psycopg's AsyncConnection": driver,
            "psycopg's AsyncCursor": psycopg.AsyncCursor,
            _PIPELINE: psycopg.AsyncPipeline(driver),
            "psycopg's PrepareManager": driver._prepared,
            "asyncmy's Connection": asyncmy.connection.Connection(),
            "aiomysql's Connection": aiomysql.connection.Connection(),
            "SQLAlchemy's connection for asyncmy": AsyncAdapt_asyncmy_connection,
            "aiosqlite's Connection": aio,
            "aiosqlite's thread": getattr(aio, "_thread", aio),
            "asyncio.coroutines": asyncio.coroutines,
            "wrapt's FunctionWrapper": wrapt.FunctionWrapper(print, print),
        }


def _as_base(made: object, base: type) -> object:
    """Return an object of a base class with the attributes of one of a subclass."""
    plain: Any = object.__new__(base)
    plain.__dict__.update(made.__dict__)
    return plain


async def test_each_private_name_is_there(objects: dict[str, Any]):
    """If this fails after an upgrade, the sentence says which module of ours has to change."""
    missing = [str(needed) for needed in NEEDED if not hasattr(objects[needed.of], needed.name)]
    assert not missing, "\n".join(["The installed versions lack:", *missing])


def test_each_private_name_is_listed():
    """A new use of another package's private name belongs into the table, with its reason."""
    listed = {(needed.module, needed.name) for needed in NEEDED} | {
        ("dependencies.py", "_is_coroutine")
    }
    own = {name for tree in _trees().values() for name in _defined(tree)}
    used = {
        (module, name)
        for module, tree in _trees().items()
        for name in _used(tree)
        if name not in own and name not in NAMES_OF_THE_LANGUAGE
    }
    assert not used - listed, f"add to NEEDED in {__file__}: {sorted(used - listed)}"


def test_each_listed_name_is_used():
    """A name that the library needs no more leaves the table."""
    stale = [
        str(needed) for needed in NEEDED if needed.name not in (PACKAGE / needed.module).read_text()
    ]
    assert not stale


def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _used(tree: ast.Module) -> Iterator[str]:
    """Yield the private attributes that are looked up on anything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr


def _defined(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that our own classes define, or set on themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from filter(_is_private, _members(node))
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store(), attr=name):
                yield name
            case _:
                pass


def _members(node: ast.ClassDef) -> Iterator[str]:
    for member in node.body:
        match member:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case _:
                pass


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
