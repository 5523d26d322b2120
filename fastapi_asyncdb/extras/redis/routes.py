"""``cached_route``: GET routes whose responses are values of the cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.redis.cache import RedisCache
from fastapi_asyncdb.extras.redis.default import default_cache
from fastapi_asyncdb.extras.redis.keys import ArgumentTemplates
from fastapi_asyncdb.extras.redis.responses import StoredResponse, rendered, request_key

F = TypeVar("F", bound=Callable[..., Any])

_IDENTITY = ("authorization", "cookie")


def cached_route(
    *,
    ttl: float | None = None,
    tags: Iterable[str] = (),
    key: Callable[[Request], str | None] | None = None,
    vary_on: Sequence[str] = (),
    cache_control: str | None = None,
    cache: RedisCache = default_cache,
) -> Callable[[F], F]:
    """Store the responses of a GET route, and answer 304 to clients that have them.

    Below the decorator of the route: ``@app.get(...)``, ``@cached_route(tags=["post:{post_id}"])``. The
    dependencies of the route run for each request, so authentication is not passed by; a response that
    is stored saves the handler and its statements. Stored are responses with the status 200, without
    ``Set-Cookie``, ``no-store`` or ``private``, and no streams. They vary on the path and the query.
    The handler must read, with ``ReadDB`` say: what it writes is committed after it is stored.

    Args:
        ttl: Seconds that a response lives; by default that of the settings.
        tags: Templates of tags, with names of the handler's arguments in braces: to invalidate.
        key: What else the response depends on, such as the user; ``None`` from it stores nothing.
            Without a function no request with ``Authorization`` or ``Cookie`` is answered from the
            cache, or stored.
        vary_on: Names of headers that the response depends on.
        cache_control: For clients; by default ``no-cache``, with which they ask each time whether what
            they have is current, and ``private, no-cache`` with ``key``. ``max-age`` lets them use what
            has been invalidated since.
        cache: The cache.

    Raises:
        ConfigurationError: the handler is a generator, or a template names what is no parameter.
    """
    control = cache_control or ("no-cache" if key is None else "private, no-cache")
    varies = [*vary_on, *(() if key is None else _IDENTITY)]
    defaults = [("cache-control", control), *([("vary", ", ".join(varies))] if varies else [])]

    def decorate(endpoint: F) -> F:
        if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
            raise ConfigurationError(
                f"{endpoint.__qualname__} is a generator, whose response is a stream that cannot "
                "be stored. Leave @cached_route out."
            )
        handler = _Handler(endpoint)
        templates = ArgumentTemplates(endpoint, tags)

        @wraps(endpoint)
        async def from_cache(**arguments: Any) -> Any:
            call = handler.call(arguments)
            name = None
            if _may_be_stored(call, has_key=key is not None):
                own = None if key is None else key(call.request)
                if key is None or own is not None:
                    name = request_key(call.request, vary_on, own)
            if name is None:
                return await call.run()
            try:
                stored = await cache.get_or_load(
                    name,
                    call.load,
                    model=StoredResponse,
                    ttl=ttl,
                    tags=templates.fill((), call.arguments),
                )
            except _NotStoredError as error:
                return error.result if error.call is call else await call.run()
            assert stored is not None  # noqa: S101 - for type checkers: the loader never returns None
            response = stored.answer(call.request, defaults)
            response.headers.raw.extend(call.before)
            return response

        from_cache.__signature__ = handler.signature  # type: ignore[attr-defined]
        return from_cache  # type: ignore[return-value]

    return decorate


def _may_be_stored(call: _Call, *, has_key: bool) -> bool:
    request = call.request
    if request.method != "GET" or "set-cookie" in call.response.headers:
        return False
    return has_key or not any(name in request.headers for name in _IDENTITY)


class _NotStoredError(Exception):
    """The response of a handler that must not be stored."""

    def __init__(self, call: _Call, result: Any) -> None:
        super().__init__("a response that must not be stored")
        self.call = call
        self.result = result


class _Handler:
    """A handler, and the parameters for the request and the response that FastAPI gives it.

    It may have some of its own; FastAPI fills one of each kind.
    """

    def __init__(self, endpoint: Callable[..., Any]) -> None:
        self.endpoint = endpoint
        try:
            signature = inspect.signature(endpoint, eval_str=True)
        except NameError:  # FastAPI looks for it elsewhere
            signature = inspect.signature(endpoint)
        parameters = list(signature.parameters.values())
        self._own = set(signature.parameters)
        self.request = self._find(parameters, Request, "cached_route_request")
        self.response = self._find(parameters, Response, "cached_route_response")
        self.signature = signature.replace(parameters=parameters)

    def _find(self, parameters: list[inspect.Parameter], kind: type, name: str) -> str:
        for parameter in parameters:
            if parameter.annotation is kind:
                return parameter.name
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind))
        return name

    def call(self, arguments: dict[str, Any]) -> _Call:
        """Return a call with the arguments that FastAPI passes."""
        own = {name: value for name, value in arguments.items() if name in self._own}
        return _Call(self.endpoint, own, arguments[self.request], arguments[self.response])


class _Call:
    """A call of a handler, in one request."""

    def __init__(
        self,
        endpoint: Callable[..., Any],
        arguments: dict[str, Any],
        request: Request,
        response: Response,
    ) -> None:
        self._endpoint = endpoint
        self.arguments = arguments
        self.request = request
        self.response = response
        self.before = [*response.headers.raw]
        """Headers that dependencies have set."""

    async def run(self) -> Any:
        """Run the handler as FastAPI does."""
        if inspect.iscoroutinefunction(self._endpoint):
            return await self._endpoint(**self.arguments)
        return await run_in_threadpool(self._endpoint, **self.arguments)

    async def load(self) -> StoredResponse:
        """Run the handler, and return what is stored of its response.

        Raises:
            _NotStoredError: it must not be stored.
        """
        result = await self.run()
        stored = None
        if self.response.status_code in (None, 200):
            raw = [header for header in self.response.headers.raw if header not in self.before]
            added = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
            stored = StoredResponse.of(rendered(result, self.request), added)
        if stored is None:
            raise _NotStoredError(self, result)
        return stored
