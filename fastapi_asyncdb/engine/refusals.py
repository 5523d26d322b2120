"""The errors of a ``Database`` that is not started, that stops, or that runs where it should not."""

from __future__ import annotations

from fastapi_asyncdb.errors import (
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseStopping,
    SandboxError,
)


def not_started(database: str, *, elsewhere: bool, forked: bool) -> DatabaseNotStarted:
    """Explain why there is no connection.

    Args:
        database: The repr of the ``Database``.
        elsewhere: Whether it is started on another event loop.
        forked: Whether it was started in the process that this one was forked from.
    """
    if elsewhere:
        return DatabaseNotStarted(
            f"{database}, but on another event loop, and connections cannot move. Start it on this loop "
            "too: 'async with database:'. In tests, run application and test on one loop."
        )
    if forked:
        return DatabaseNotStarted(
            f"{database} in this process, which was forked while it was started: two processes cannot "
            "share connections. Start it after the fork, in each worker: database.run(main), "
            "'async with database:', or Celery's signal worker_process_init."
        )
    return DatabaseNotStarted(
        f"{database}. Its lifespan did not run: pass FastAPI(lifespan=db_lifespan), or "
        "lifespan=database.lifespan for a Database of your own. httpx's ASGITransport runs no lifespan: "
        "wrap the client in 'async with database:'. TestClient runs it in a block only: 'with "
        "TestClient(app) as client:'. Scripts, commands and jobs start it themselves: "
        "database.run(main), or 'async with database:'."
    )


def stopping(database: str) -> DatabaseStopping:
    """Explain why no new session opens."""
    return DatabaseStopping(
        f"The Database is being stopped and opens no new session: {database}. Most likely the process "
        "shuts down. Try again later, or in another process; end the loop of a job."
    )


def beside_sandbox(database: str) -> SandboxError:
    """Explain why it does not start on a second event loop."""
    return SandboxError(
        f"{database}, in a sandbox on another event loop: what is committed on this one would stay. "
        "Most likely TestClient runs the application on a loop of its own. In an async test use "
        "async_client(app), or the fixture asyncdb_client. With TestClient make the test a plain "
        "function, and use the fixture asyncdb_test_client; or sync_sandbox(database) around a "
        "TestClient of your own, one at a time."
    )


def other_settings(database: str) -> ConfigurationError:
    """Explain why a second start may not have other settings."""
    return ConfigurationError(
        f"{database} runs already, with other settings. Make a second Database for the second set of "
        "settings, or stop the first."
    )


def running(database: str, advice: str) -> ConfigurationError:
    """Explain what is not possible while it runs."""
    return ConfigurationError(f"{database}, by a lifespan or a block that has not ended. {advice}")
