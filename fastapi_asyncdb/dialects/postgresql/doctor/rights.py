"""What the doctor may not see on PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Result, skipped
from fastapi_asyncdb.dialects.postgresql.errors import sqlstate_of

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_INSUFFICIENT_PRIVILEGE, _QUERY_CANCELED, _LOCK_NOT_AVAILABLE = "42501", "57014", "55P03"

# https://www.postgresql.org/docs/current/predefined-roles.html
_HIDDEN = text("""
SELECT quote_ident(current_user), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND usesysid IS NOT NULL AND query = '<insufficient privilege>'
GROUP BY 1
""")


def hidden_sessions(connection: Connection) -> Result | None:
    """Return that sessions of other roles are hidden, if there are any."""
    row = connection.execute(_HIDDEN).one_or_none()
    if row is None:
        return None
    role, count = row
    return skipped(
        f"The role {role} may not see what {count} sessions of other roles do.", monitor(role)
    )


def monitor(role: str) -> str:
    """Return what lets a role, quoted, see the statistics of all."""
    return f"Run, as a superuser: GRANT pg_monitor TO {role}."


def explain(error: BaseException) -> Result | None:
    """Return why a check has no result, by the SQLSTATE of its error."""
    state = sqlstate_of(error)
    if state == _INSUFFICIENT_PRIVILEGE:
        words = str(getattr(error, "orig", error)).splitlines()[0].partition(">: ")
        return skipped(
            f"The role may not see it: {words[2] or words[0]}.",
            "Grant the role pg_monitor, or examine as the owner of the database.",
        )
    if state == _QUERY_CANCELED:
        return skipped("The check took longer than 5 s.", "Examine the database again later.")
    if state == _LOCK_NOT_AVAILABLE:
        return skipped(
            "A table is locked, by a migration for example.", "Examine the database again later."
        )
    return None
