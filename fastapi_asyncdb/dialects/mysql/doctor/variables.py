"""Variables of a server: those that it does not have are left out."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, bindparam, text

Kind = Literal["GLOBAL VARIABLES", "SESSION VARIABLES", "GLOBAL STATUS", "SESSION STATUS"]


def read(connection: Connection, kind: Kind, *names: str) -> dict[str, str]:
    """Return the values by name, as texts.

    Args:
        connection: The connection.
        kind: Which variables.
        *names: Their names, as the server writes them.
    """
    statement = text(f"SHOW {kind} WHERE variable_name IN :names")
    found = connection.execute(
        statement.bindparams(bindparam("names", expanding=True)), {"names": names}
    )
    return {row[0]: row[1] for row in found}
