"""Entity tags: a name for a body, and whether a client has it already."""

from __future__ import annotations

import hashlib


def etag_of(body: bytes) -> str:
    """Return a weak tag, since a middleware may compress the body.

    https://www.rfc-editor.org/rfc/rfc9110#section-8.8.1
    """
    return f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def is_known(if_none_match: str, etag: str) -> bool:
    """Return whether a header of the client names the tag, compared weakly.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
    """
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in known or etag.removeprefix("W/") in known
