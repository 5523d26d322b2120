"""Variables that look like a setting and are none: the log names each one."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable
from functools import cache

logger = logging.getLogger(__name__)

_SYNONYMS = {"URI": "URL", "DSN": "URL"}
# Of POOLSIZE and POOL_SIZE it is 0.94, of HOTS and HOST 0.75, of URL_REPLICA and URL 0.43.
_SIMILAR = 0.75


def warn_of_misspelt(names: Iterable[str], prefix: str, known: Collection[str]) -> None:
    """Log the variables that are close to a setting; those of other programs are passed over.

    Args:
        names: Of all variables, in capitals.
        prefix: Of the settings.
        known: What variables may be named behind it, in capitals.
    """
    if not prefix:
        return
    prefix = prefix.upper()
    words = sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    # Two underscores separate the levels of nested settings: DATABASE__URL.
    wrong = [word for word in words if word not in known and "__" not in f"_{word}"]
    hints = [(word, _closest(word, known)) for word in wrong]
    _warn("; ".join(_hint(prefix, word, meant) for word, meant in hints if meant))


def _closest(word: str, known: Collection[str]) -> str | None:
    meant = _SYNONYMS.get(word)
    close = [meant] if meant in known else difflib.get_close_matches(word, known, 1, _SIMILAR)
    return next(iter(close), None)


def _hint(prefix: str, word: str, meant: str) -> str:
    return f"{prefix}{word} is not a setting. Did you mean {prefix}{meant}?"


@cache  # Settings may be read for each request.
def _warn(hints: str) -> None:
    if hints:
        logger.warning("%s", hints)
