"""Responses as values of the cache: what may be stored, its validator, and what a client has already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Self

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from fastapi_asyncdb.extras.redis.entries import values_of
from fastapi_asyncdb.web.etags import etag_of, is_known

_LONGEST_QUERY = 2000
_OF_THE_BODY = {"content-length", "content-type"}


class StoredResponse(BaseModel):
    """A response with the status 200, as it is stored."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    body: bytes
    headers: list[tuple[str, str]]

    @classmethod
    def of(cls, response: Response, added: Sequence[tuple[str, str]]) -> Self | None:
        """Return what is stored of a response; ``None`` if it must not be stored.

        Args:
            response: The answer of a handler.
            added: Headers that the handler has set beside it.
        """
        body = getattr(response, "body", None)  # none in streams and files
        if response.status_code != 200 or response.background is not None:
            return None
        if not isinstance(body, bytes):
            return None
        headers = [*response.headers.items(), *added]
        names = {name for name, _ in headers}
        control = ",".join(value for name, value in headers if name == "cache-control").lower()
        if "set-cookie" in names or "no-store" in control or "private" in control:
            return None
        headers = [header for header in headers if header[0] != "content-length"]
        if "etag" not in names:
            headers.append(("etag", etag_of(body)))
        return cls(body=body, headers=headers)

    def answer(self, request: Request, defaults: Sequence[tuple[str, str]]) -> Response:
        """Return the response, or 304 if the client has it already.

        Args:
            request: May have ``If-None-Match``.
            defaults: Headers that the stored response need not have.
        """
        names = {name for name, _ in self.headers}
        headers = self.headers + [header for header in defaults if header[0] not in names]
        etag = next(value for name, value in headers if name == "etag")
        response = Response(self.body)
        if is_known(request.headers.get("if-none-match", ""), etag):
            response = Response(status_code=304)
            headers = [header for header in headers if header[0] not in _OF_THE_BODY]
        response.headers.raw.extend(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers
        )
        return response


def rendered(result: Any, request: Request) -> Response:
    """Return what FastAPI makes of the result of a handler."""
    if isinstance(result, Response):
        return result
    route: APIRoute = request.scope["route"]
    options = {
        "include": route.response_model_include,
        "exclude": route.response_model_exclude,
        "by_alias": route.response_model_by_alias,
        "exclude_unset": route.response_model_exclude_unset,
        "exclude_defaults": route.response_model_exclude_defaults,
        "exclude_none": route.response_model_exclude_none,
    }
    if route.response_model is None:
        content = jsonable_encoder(result)
    else:
        content = values_of(route.response_model).as_json(result, options)
    response_class: Any = getattr(route.response_class, "value", route.response_class)
    response: Response = response_class(content, status_code=route.status_code or 200)
    return response


def request_key(request: Request, vary_on: Sequence[str], own: str | None) -> str | None:
    """Return the key of a request: its path, its query, the headers that it varies on.

    Args:
        request: The request.
        vary_on: Names of headers.
        own: What the application adds.

    Returns:
        The key; ``None`` if the query is too long to be worth it.
    """
    query = request.scope["query_string"].decode("latin-1")
    if len(query) > _LONGEST_QUERY:
        return None
    pairs = sorted(request.query_params.multi_items(), key=lambda pair: pair[0])
    headers = [request.headers.getlist(name) for name in vary_on]
    path = request.scope.get("root_path", ""), request.scope["path"]
    text = repr((path, pairs, headers, own))
    return (
        f"route:{hashlib.blake2b(text.encode(errors='surrogatepass'), digest_size=24).hexdigest()}"
    )
