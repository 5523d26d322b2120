"""``Problem``, the body of an answer, and its response.

https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a request was not served, as the client gets it."""

    title: str
    """The kind of problem in a few words: the same for all of one type."""
    status: int
    type: str = "about:blank"
    """A URI that identifies the kind; ``about:blank`` is no other than the status says."""
    detail: str | None = None
    """One sentence about this occurrence."""
    instance: str | None = None
    """A URI that identifies this occurrence. The log has it as well."""
    retry_after: int | None = None
    """Seconds after which the client may try again: the header ``Retry-After``."""
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the body."""

    def as_dict(self) -> dict[str, Any]:
        """Return the members of the body, without those that are ``None``."""
        members = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.instance,
        }
        return {name: value for name, value in members.items() if value is not None} | dict(
            self.extensions
        )


class ProblemResponse(Response):
    """The response of a problem; what it contains never keeps it from being sent.

    Args:
        problem: The body.
        headers: Further headers.
        sent: Called when it was sent, or the client has left. Not for a response that ``RetryRoute``
            holds back because the request runs again.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        problem: Problem,
        *,
        headers: Mapping[str, str] | None = None,
        sent: Callable[[], None] | None = None,
    ) -> None:
        self._sent = sent
        all_headers = dict(headers or {})
        if problem.retry_after is not None:
            all_headers["Retry-After"] = str(problem.retry_after)
        super().__init__(problem.as_dict(), problem.status, all_headers)

    def render(self, content: Any) -> bytes:
        """Return JSON in UTF-8. A lone surrogate, which UTF-8 does not have, becomes a question mark."""
        return json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "replace")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then report it."""
        try:
            await super().__call__(scope, receive, send)
        except OSError:
            self._report()
            raise
        self._report()

    def _report(self) -> None:
        if self._sent is not None:
            self._sent()
