"""The error of an extra that is not installed."""

from __future__ import annotations

from fastapi_asyncdb.errors import MissingExtra


def missing_extra(extra: str, error: ImportError) -> MissingExtra:
    """Return the error for a package of an extra that cannot be imported.

    Args:
        extra: As ``pyproject.toml`` names it; it is also the module of ``fastapi_asyncdb.extras``.
        error: What the import raised.
    """
    return MissingExtra(
        f"fastapi_asyncdb.extras.{extra} needs the package {error.name}, which is not installed. Run: "
        f'pip install "fastapi-asyncdb[{extra}]"'
    )
