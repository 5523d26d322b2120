"""``DocumentId``: an ObjectId as Pydantic and OpenAPI have it."""

from __future__ import annotations

from typing import Annotated, Any

from bson import ObjectId
from pydantic import GetCoreSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, core_schema

PATTERN = "^[0-9a-f]{24}$"


class _AsText:
    """24 hexadecimal digits in JSON; ``bson.ObjectId`` in Python."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _validate,
            core_schema.str_schema(pattern=PATTERN),
            serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True),
        )


def _validate(value: Any, text: core_schema.ValidatorFunctionWrapHandler) -> ObjectId:
    return value if isinstance(value, ObjectId) else ObjectId(text(value))


def _dump(value: ObjectId, info: SerializationInfo) -> Any:
    return str(value) if info.mode_is_json() else value


DocumentId = Annotated[ObjectId, _AsText]
"""The key of a document: in a path, a body or a response a text that matches ``^[0-9a-f]{24}$``."""
