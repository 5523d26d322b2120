"""``examine()``: runs the checks of a database one by one, each isolated from the others."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dialects import Target, doctor_for, parse_url
from fastapi_asyncdb.dialects.doctor import (
    Check,
    Deployment,
    Doctor,
    Result,
    Thresholds,
    ok,
    skipped,
    warn,
)
from fastapi_asyncdb.doctor.finding import Finding, Report
from fastapi_asyncdb.engine.connect_errors import Failure, innermost
from fastapi_asyncdb.engine.create import create_engines
from fastapi_asyncdb.engine.startup import attempt
from fastapi_asyncdb.errors import AsyncDBError, CannotConnect
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

Look = Callable[[Connection], Finding | Sequence[Finding]]
"""A check of the caller's own: looks at a database on a connection that only reads."""

LIMIT = 8.0
"""Seconds for one check. Where the database has a limit of its own, that one is shorter."""

_CONNECTION = "connection"
_ROUND_TRIPS = 11
# No warning of a check that takes long.
_QUIET = {"hold_warning": 0.0}
_READING = TransactionOptions(isolation_level="REPEATABLE READ", read_only=True)


async def examine(
    settings: DatabaseSettings,
    *,
    password: PasswordFunction | None = None,
    workers: int = 1,
    instances: int = 1,
    checks: Mapping[str, Look] | None = None,
    thresholds: Thresholds | None = None,
) -> Report:
    """Examine a database, on one connection of its own that cannot write; then each read replica.

    A check that has no rights, or takes longer than a few seconds, is ``skipped`` with the reason.
    Without a connection, its finding is the only one of its server.

    Args:
        settings: Of the application that uses the database.
        password: As for ``Database``.
        workers: Processes of one instance of the application.
        instances: Containers, or machines.
        checks: Further checks by their names, as of migrations that are pending.
        thresholds: From which values on a check warns or fails.

    Returns:
        The findings; those of a replica have its address in their name. Names from the database are in
        them as they are: escape them in markup.

    Raises:
        ConfigurationError: ``workers`` or ``instances`` is less than 1.
    """
    deployment = Deployment(settings, workers, instances, thresholds or Thresholds())
    findings = await _examine(deployment, password, checks or {})
    for url in settings.replica_urls:
        findings += await _examine_replica(deployment, url, password)
    return Report(tuple(findings))


async def _examine(
    deployment: Deployment,
    password: PasswordFunction | None,
    checks: Mapping[str, Look],
    *,
    is_replica: bool = False,
) -> list[Finding]:
    try:
        doctor = doctor_for(deployment.target)
        settings = deployment.settings
        reader = (doctor.reader(settings) if doctor else settings).model_copy(update=_QUIET)
        engines = create_engines(reader, password, is_replica=is_replica)
    except AsyncDBError as error:
        return [_no_connection(error)]
    try:
        failure = await attempt(engines, reader, engines.read)
        if failure is not None:
            return [_refused(deployment.target, failure)]
        looks = dict(_looks(deployment, doctor, is_replica=is_replica)) | dict(checks)
        engine = engines.bound(doctor.options if doctor else _READING)
        return await _run(looks, engine, doctor)
    finally:
        await engines.dispose()


async def _examine_replica(
    deployment: Deployment, url: SecretStr, password: PasswordFunction | None
) -> list[Finding]:
    own = deployment.settings.model_copy(update={"url": url, "replica_urls": []})
    findings = await _examine(replace(deployment, settings=own), password, {}, is_replica=True)
    address = _address(url)
    return [replace(finding, check=f"{finding.check} ({address})") for finding in findings]


def _address(url: SecretStr) -> str:
    try:
        return parse_url(url).address
    except AsyncDBError:
        return "a replica"  # the finding says what is wrong with the URL


def _no_connection(error: AsyncDBError) -> Finding:
    return Finding(_CONNECTION, "fail", str(error.args[0]), f"See {error.page}.")


def _refused(target: Target, failure: Failure) -> Finding:
    fact = f"Cannot connect to {target.url!r}: {failure.words}."
    return Finding(_CONNECTION, "fail", fact, f"{failure.diagnosis.advice}.")


def _looks(
    deployment: Deployment, doctor: Doctor | None, *, is_replica: bool
) -> Iterator[tuple[str, Look]]:
    """Yield the library's checks with their names: those of any database, then its own."""
    own: Mapping[str, Check] = {}
    if doctor is not None:
        own = doctor.replica_checks if is_replica else doctor.checks
    general: dict[str, Check] = {_CONNECTION: _connection, "round trip": _round_trip}
    for name, check in (general | dict(own)).items():
        yield name, partial(_named, name, check, deployment)


def _named(name: str, check: Check, deployment: Deployment, connection: Connection) -> Finding:
    return Finding(name, *check(connection, deployment))


async def _run(
    looks: Mapping[str, Look], engine: AsyncEngine, doctor: Doctor | None
) -> list[Finding]:
    findings: list[Finding] = []
    for name, look in looks.items():
        try:
            findings += await _look(engine, look)
        except CannotConnect as error:
            return [*findings, _no_connection(error)]
        except Exception as error:
            findings.append(Finding(name, *_reason(error, doctor)))
    return findings


async def _look(engine: AsyncEngine, look: Look) -> Sequence[Finding]:
    async with asyncio.timeout(LIMIT), engine.connect() as connection:
        found = await connection.run_sync(look)
    return [found] if isinstance(found, Finding) else found


def _reason(error: Exception, doctor: Doctor | None) -> Result:
    """Return why a check has no result."""
    if isinstance(error, TimeoutError):
        return skipped(
            f"The check took longer than {LIMIT:g} s.", "Examine the database again later."
        )
    known = doctor.explain(error) if doctor else None
    cause = innermost(error)
    words = (str(cause).splitlines() or [""])[0].rstrip(".")
    return known or skipped(f"The check failed: {type(cause).__name__}: {words}.")


def _connection(connection: Connection, deployment: Deployment) -> Result:
    return ok(f"{deployment.target.url!r} answers.")


def _round_trip(connection: Connection, deployment: Deployment) -> Result:
    """Return the median: the first one prepares the statement, and this machine may pause in another."""
    seconds = statistics.median(_round_trips(connection))
    fact = f"A statement takes {seconds * 1000:.1f} ms to the database and back."
    if seconds <= deployment.thresholds.round_trip:
        return ok(fact)
    return warn(
        fact,
        "Run the application in the region and zone of the database: each statement of a request "
        "waits for one round trip.",
    )


def _round_trips(connection: Connection) -> Iterator[float]:
    for _ in range(_ROUND_TRIPS):
        started = time.perf_counter()
        connection.exec_driver_sql("SELECT 1").scalar_one()
        yield time.perf_counter() - started
