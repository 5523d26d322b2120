"""Checks of the way to a server of MySQL or MariaDB: TLS, the number of connections, idle ones."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, duration, fail, ok, warn
from fastapi_asyncdb.dialects.mysql.doctor.variables import read

# Without the privilege PROCESS it lists the user's own, which are those that are meant.
_OWN = text("""
SELECT COUNT(*) FROM information_schema.processlist
WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND db = DATABASE()
""")


def tls(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the connection is encrypted, and whether the server has to prove who it is."""
    target = deployment.target
    encrypted = bool(read(connection, "SESSION STATUS", "Ssl_cipher").get("Ssl_cipher"))
    if target.is_local:
        words = "has TLS" if encrypted else "has no TLS, and needs none"
        return ok(f"The connection {words}: the server is on this machine.")
    if encrypted and target.tls.verified:
        return ok("The connection has TLS, and the certificate is verified.")
    cure = (
        "Add ssl-mode=VERIFY_IDENTITY to DATABASE_URL, and ssl-ca=FILE if the authority is private. "
        "With DATABASE_ENVIRONMENT=production the application does not start without."
    )
    if encrypted:
        return warn("The connection has TLS, but does not verify the server.", cure)
    return fail(f"The connection to {', '.join(target.hosts)} is not encrypted.", cure)


def connections(connection: Connection, deployment: Deployment) -> Result:
    """Compare the connections that all processes may open with those that the server has."""
    settings = deployment.settings
    needed = (
        deployment.workers * (settings.pool_size + settings.max_overflow) * deployment.instances
    )
    limits = read(connection, "SESSION VARIABLES", "max_connections", "max_user_connections")
    # 0 is no limit for a user.
    numbers = [int(number) for number in limits.values()]
    limit = min(number for number in numbers if number > 0)
    connected = int(read(connection, "GLOBAL STATUS", "Threads_connected")["Threads_connected"])
    others = max(connected - connection.execute(_OWN).scalar_one(), 0)
    fact = (
        f"{deployment.workers} workers x ({settings.pool_size} + {settings.max_overflow}) x "
        f"{deployment.instances} instances may open {needed} connections; the server has {limit} for "
        f"them, and others use {others} now."
    )
    cure = (
        "Lower DATABASE_POOL_SIZE or DATABASE_MAX_OVERFLOW, or the number of workers; or raise "
        "max_connections, or the user's MAX_USER_CONNECTIONS if that is lower."
    )
    if needed > limit:
        return fail(fact, cure)
    return warn(fact, cure) if needed + others > limit else ok(fact)


def idle_timeout(connection: Connection, deployment: Deployment) -> Result:
    """Compare the time after which the server ends an idle connection with that of the pool."""
    seconds = int(read(connection, "SESSION VARIABLES", "wait_timeout")["wait_timeout"])
    recycle = deployment.settings.pool_recycle
    if 0 <= recycle <= seconds:
        return ok(f"The server ends connections that were idle for {duration(seconds)}.")
    return warn(
        f"The server ends connections that were idle for {duration(seconds)}, before the pool renews "
        "them: the first request after a pause has to connect again.",
        f"Set DATABASE_POOL_RECYCLE to less than {seconds}, or raise wait_timeout.",
    )
