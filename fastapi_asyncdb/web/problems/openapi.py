"""The problems in an application's OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from fastapi_asyncdb.web.problems.kinds import INVALID_REQUEST, KINDS
from fastapi_asyncdb.web.problems.mapping import ProblemMapping
from fastapi_asyncdb.web.problems.problem import MEDIA_TYPE

Schema = dict[str, Any]

_READS = {"get", "head", "options"}
_OPERATIONS = {*_READS, "put", "post", "delete", "patch", "trace"}
_VALIDATION = "#/components/schemas/HTTPValidationError"
_STRING = {"type": "string"}
_URI = {"type": "string", "format": "uri-reference"}
_ERROR = {
    "type": "object",
    "properties": {
        "type": _STRING,
        "loc": {"type": "array", "items": {"anyOf": [_STRING, {"type": "integer"}]}},
        "msg": _STRING,
    },
    "required": ["type", "loc", "msg"],
}
PROBLEM: Schema = {
    "type": "object",
    "title": "Problem",
    "description": "Why the request was not served: RFC 9457.",
    "properties": {
        "type": _URI | {"description": "The kind of problem."},
        "title": _STRING | {"description": "The kind in a few words."},
        "status": {"type": "integer"},
        "detail": _STRING | {"description": "This occurrence in a sentence."},
        "instance": _URI | {"description": "This occurrence, as the service's log names it."},
        "constraint": _STRING | {"description": "The constraint that the values violate."},
        "columns": {"type": "array", "items": _STRING},
        "errors": {"type": "array", "items": _ERROR},
    },
    "required": ["type", "title", "status"],
}


def describe_problems(
    app: FastAPI, problems: ProblemMapping, *, handler: Any, all_errors: bool
) -> None:
    """Let ``app.openapi()`` describe the problems. The responses that a route declares stay.

    https://fastapi.tiangolo.com/how-to/extending-openapi/

    Args:
        app: The application.
        problems: Knows the types.
        handler: The exception handler that answers with problems. Where the application has another for
            requests that are not valid when the schema is generated, FastAPI's description stays.
        all_errors: Whether every response of an error is a problem, so also those that a route declares
            without a content.
    """
    generate = app.openapi

    def openapi() -> Schema:
        schema = generate()
        responses = schema.setdefault("components", {}).setdefault("responses", {})
        # FastAPI keeps what it has generated, until the application gets another route.
        if not any(name.startswith("Problem") for name in responses):
            reference = _add_problem(schema["components"].setdefault("schemas", {}))
            validates = app.exception_handlers.get(RequestValidationError) == handler
            _extend(schema, problems, reference, validates=validates)
            if all_errors:
                _fill_in(schema, reference)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _extend(
    schema: Schema, problems: ProblemMapping, reference: Schema, *, validates: bool
) -> None:
    by_status = _kinds_by_status(problems, validates=validates)
    schema["components"]["responses"] |= {
        f"Problem{status}": _response(status, types, reference)
        for status, types in by_status.items()
    }
    for path, method, operation in _operations(schema):
        responses = operation.setdefault("responses", {})
        if _is_fastapis_own(response := responses.get("422", {})):
            if validates:
                del responses["422"]
            else:  # a value that the database refuses is a problem even so
                response["content"][MEDIA_TYPE] = {"schema": reference}
        for status in _statuses(path, method, by_status):
            problem = {"$ref": f"#/components/responses/Problem{status}"}
            responses.setdefault(str(status), problem)
    _forget_unused(schema)


def _add_problem(schemas: Schema) -> Schema:
    """Add the schema of problems, beside a model of the application that has the same name."""
    taken = schemas.get("Problem", PROBLEM) != PROBLEM
    name = "DatabaseProblem" if taken else "Problem"
    schemas[name] = PROBLEM
    return {"$ref": f"#/components/schemas/{name}"}


def _fill_in(schema: Schema, reference: Schema) -> None:
    content = {MEDIA_TYPE: {"schema": reference}}
    for _, _, operation in _operations(schema):
        if "requestBody" in operation:  # which may be no JSON
            operation["responses"].setdefault("400", {"description": "Bad Request"})
        for status, response in operation["responses"].items():
            if status[0] in "45" and "$ref" not in response:
                response.setdefault("content", content)


def _kinds_by_status(problems: ProblemMapping, *, validates: bool) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for kind in KINDS:
        if kind is INVALID_REQUEST and not validates:
            continue
        found.setdefault(kind.status, []).append(problems.type_base + kind.name)
    return found


def _response(status: int, types: list[str], reference: Schema) -> Schema:
    listed = {"type": {"examples": types}}
    refined = {"allOf": [reference, {"properties": listed}]}
    described: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": refined}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        described["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return described


def _operations(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, item in schema.get("paths", {}).items():
        for method, operation in item.items():
            if method in _OPERATIONS:
                yield path, method, operation


def _is_fastapis_own(response: Schema) -> bool:
    """Return whether FastAPI has added the response."""
    media = response.get("content", {}).get("application/json", {})
    return bool(media.get("schema", {}).get("$ref") == _VALIDATION)


def _forget_unused(schema: Schema) -> None:
    """Drop FastAPI's two schemas, the second of which belongs to the first, if no response has them."""
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        if name in schemas and f'"#/components/schemas/{name}"' not in json.dumps(schema):
            del schemas[name]


def _statuses(path: str, method: str, every: dict[int, list[str]]) -> Iterator[int]:
    """Yield the statuses that an operation may be answered with."""
    for status in every:
        if status == HTTPStatus.NOT_FOUND and "{" not in path:
            continue
        if status == HTTPStatus.CONFLICT and method in _READS:
            continue
        yield status
