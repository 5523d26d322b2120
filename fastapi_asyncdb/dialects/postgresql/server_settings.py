"""What libpq's ``options`` tells the server at connect: ``-c name=value``, and words for a proxy."""

from __future__ import annotations

import re

# Backslashes escape, quotes mean nothing: the rule of PostgreSQL's pg_split_opts.
_WORD = re.compile(r"(?:[^\s\\]|\\.)+", re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SETTING = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)
# https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(us|ms|s|min|h|d)?\s*", re.ASCII)
_UNITS = {"us": 1e-6, None: 1e-3, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Return the seconds of a server's timeout, whose unit is milliseconds; 0 if it cannot be read."""
    time = _TIME.fullmatch(text)
    return float(time[1]) * _UNITS[time[2]] if time else 0.0


def split_options(options: str) -> tuple[dict[str, str], str]:
    """Split into the settings, under the server's names for them, and what else there is.

    ``endpoint=...`` (Neon) and ``--cluster=...`` (CockroachDB) are for the provider's proxy, which
    wants them as they are.
    """
    settings: dict[str, str] = {}
    others: list[str] = []
    words = _WORD.findall(options)
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        setting = _SETTING.fullmatch(_ESCAPED.sub(r"\1", word))
        if setting is None or setting[1] == "cluster":
            others.append(word)
        else:
            settings[setting[1].replace("-", "_").lower()] = setting[2]
    return settings, " ".join(others)
