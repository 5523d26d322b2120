"""The problem of a request that FastAPI's validation refuses.

FastAPI's own answer repeats the input, which JSON cannot always contain: Python parses NaN and lone
surrogates, and does not encode them. So the answer says where the request is wrong, without the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError

from fastapi_asyncdb.web.problems.kinds import INVALID_REQUEST
from fastapi_asyncdb.web.problems.problem import Problem

_MOST_ERRORS = 50
"""A list in a body may have an error in each element."""
_LONGEST = 200
"""Characters of a name, which the client may have chosen."""
_LONGEST_MESSAGE = 2000
"""Characters; a message may list what is allowed."""
_DEEPEST = 20


def problem_of_request(error: RequestValidationError, base: str) -> Problem:
    """Return the problem, with ``type``, ``loc`` and ``msg`` of each error, as FastAPI names them."""
    found = [_entry(entry) for entry in error.errors()[:_MOST_ERRORS]]
    return INVALID_REQUEST.problem(base, errors=found)


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": str(entry.get("type", ""))[:_LONGEST],
        "loc": [_short(part) for part in entry.get("loc", ())[:_DEEPEST]],
        "msg": str(entry.get("msg", ""))[:_LONGEST_MESSAGE],
    }


def _short(part: object) -> str | int:
    # A name in a body may be any text: a key of a dictionary, or a member that is not allowed.
    return part if isinstance(part, int) else str(part)[:_LONGEST]
