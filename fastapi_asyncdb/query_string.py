"""The query string of a request: the parameters of a dependency, and those of its route."""

# FastAPI does not evaluate the annotations of an object, so they must not be strings here.
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from itertools import chain, islice
from typing import Annotated, Any, get_args

from fastapi import Depends, Query
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyQuery
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

MAX_LENGTH = 1000
"""The characters of a value."""

_MOST_PARAMETERS = 1000
_MOST_ERRORS = 10
_MOST_CHARACTERS = 100


def query_parameter(name: str, annotation: Any, description: str) -> Parameter:
    """Return a parameter that a request may leave out, as the signature of a dependency has it."""
    annotation = Annotated[annotation, Query(description=description)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def checked_first(name: str, check: "QueryCheck") -> Parameter:
    """Return the parameter by which a dependency has its query string checked, before its values are."""
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[None, Depends(check)])


class QueryCheck:
    """Refuses names that the route does not have, repetitions, and long values.

    That is done before Pydantic validates ten thousand values, and FastAPI repeats them in its answer.

    Args:
        most: How often each parameter of the dependency may be sent.
        ignore_unknown: Whether names that the route does not have pass.
    """

    def __init__(self, most: Mapping[str, int], *, ignore_unknown: bool) -> None:
        self._most = most
        self._ignore_unknown = ignore_unknown
        # By their ids, which stay theirs while they are here. They have no hash.
        self._routes: dict[int, tuple[Dependant, set[str]]] = {}

    async def __call__(self, connection: HTTPConnection) -> None:
        """Check a request.

        Raises:
            RequestValidationError: FastAPI answers 422.
        """
        errors = list(islice(self._errors(connection), _MOST_ERRORS))
        if errors and connection.scope["type"] == "http":
            raise RequestValidationError(errors)
        if errors:
            raise WebSocketRequestValidationError(errors)

    def _errors(self, connection: HTTPConnection) -> Iterator[dict[str, Any]]:
        # Starlette has parsed it before any dependency is called; what follows would take as long again.
        if connection.scope["query_string"].count(b"&") >= _MOST_PARAMETERS:
            message = f"The query string has more than {_MOST_PARAMETERS} parameters."
            return iter([{"type": "too_many_parameters", "loc": ("query",), "msg": message}])
        sent = connection.query_params.multi_items()
        return chain(self._repeated(sent), self._long(sent), self._unknown(sent, connection))

    def _repeated(self, sent: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        for name, times in Counter(name for name, _ in sent).items():
            most = self._most.get(name, times)
            if times > most:
                count = "once" if most == 1 else f"at most {most} times"
                yield _error("repeated_parameter", name, f"The parameter may be sent {count}.")

    def _long(self, sent: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        for name, value in sent:
            if name in self._most and len(value) > MAX_LENGTH:
                message = f"The value has more than {MAX_LENGTH} characters."
                yield _error("long_parameter", name, message)

    def _unknown(
        self, sent: Sequence[tuple[str, str]], connection: HTTPConnection
    ) -> Iterator[dict[str, Any]]:
        names = {name: None for name, _ in sent if name not in self._most}
        if self._ignore_unknown or not names:
            return
        known = self._names_of_route(connection)
        if known is None or names.keys() <= known:
            return
        message = f"There is no such parameter. Allowed are: {', '.join(sorted(known))}."
        yield from (
            _error("unknown_parameter", name, message) for name in names if name not in known
        )

    def _names_of_route(self, connection: HTTPConnection) -> set[str] | None:
        """Return the names of all parameters of the route; ``None`` without a route of FastAPI's."""
        dependant = _dependant_of(connection.scope)
        if dependant is None:
            return None
        if id(dependant) not in self._routes:
            self._routes[id(dependant)] = dependant, set(_names_of(dependant))
        return self._routes[id(dependant)][1]


def _error(kind: str, name: str, message: str) -> dict[str, Any]:
    return {"type": kind, "loc": ("query", name[:_MOST_CHARACTERS]), "msg": message}


def _dependant_of(scope: Mapping[str, Any]) -> Dependant | None:
    route, context = scope.get("route"), scope.get("fastapi", {}).get("effective_route_context")
    # FastAPI includes a router without a copy of its routes: the context has the dependencies of both.
    if route is not None and getattr(context, "original_route", None) is route:
        route = context
    dependant: Dependant | None = getattr(route, "dependant", None)
    return dependant


def _names_of(dependant: Dependant) -> Iterator[str]:
    if isinstance(dependant.call, APIKeyQuery):
        yield dependant.call.model.name
    for field in dependant.query_params:
        yield from _names_of_field(field.name, field.field_info)
    for other in dependant.dependencies:
        yield from _names_of(other)


def _names_of_field(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the names of a parameter, or of all fields of a model of parameters."""
    for part in (field.annotation, *get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            for each, its_field in part.model_fields.items():
                yield from _names_of_field(each, its_field)
            return
    alias = field.validation_alias or field.alias or name
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    yield from (choice for choice in choices if isinstance(choice, str))
