"""What libpq's ``options`` tells the server at connect: ``-c name=value``, and words for a proxy."""

from __future__ import annotations

import re

# Backslashes escape, quotes mean nothing: the rule of PostgreSQL's pg_split_opts.
_WORD = re.compile(r"(?:[^\s\\]|\\.)+", re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SETTING = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)


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
