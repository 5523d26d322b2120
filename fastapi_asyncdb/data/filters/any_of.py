"""``AnyOf``: alternatives, of which one has to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import Mapper

from fastapi_asyncdb.data.filters.parameters import Parameter
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.query_string import MAX_LENGTH

MAX_ALTERNATIVES = 10
_MOST_FIELDS = 20


class AnyOf:
    """Alternatives, of which at least one has to hold; beside it, so do all other parameters.

    As ``either = AnyOf()`` in a ``FilterSet`` it is the parameter ``either``, which is repeated. Each
    value is an alternative: a query string of its own, with the other filters and searches of the set,
    which all have to hold: ``?either=status=draft&either=views__ge=100%26title=News``. There are no
    alternatives inside of alternatives.
    """

    def parameters(self, name: str, mapper: Mapper[Any]) -> Iterator[Parameter]:
        """Yield nothing: it depends on the other declarations of the set."""
        yield from ()

    def of(self, name: str, parameters: Mapping[str, Parameter]) -> Parameter:
        """Return the only parameter.

        Args:
            name: The name of the attribute.
            parameters: The parameters that alternatives are made of.

        Raises:
            ConfigurationError: there are none.
        """
        if not parameters:
            raise ConfigurationError(
                f"The alternatives {name!r} are made of the filters and searches of their set, "
                "which has none. Declare some: title = Filter(Post.title)."
            )
        alternative = Annotated[str, _Alternative(parameters)]
        description = (
            "Alternatives, of which at least one has to hold: each value is a query string of its own, "
            f"such as `{next(iter(parameters))}=...`, with the other filters and searches."
        )
        kind = Annotated[list[alternative], Field(max_length=MAX_ALTERNATIVES)]
        return Parameter(name, kind, description, MAX_ALTERNATIVES, _condition(parameters))


def conditions(
    values: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> list[ColumnElement[bool]]:
    """Return the conditions for the values of parameters."""
    return [
        condition(value)
        for name, value in values.items()
        if (condition := parameters[name].condition) is not None
    ]


def _condition(parameters: Mapping[str, Parameter]) -> Any:
    def condition(alternatives: Sequence[Mapping[str, Any]]) -> ColumnElement[bool]:
        return or_(*(and_(*conditions(values, parameters)) for values in alternatives))

    return condition


@dataclass(frozen=True, slots=True, eq=False)  # FastAPI needs a hash
class _Alternative:
    """The schema of a text that is a query string, for Pydantic; its values are a dictionary."""

    parameters: Mapping[str, Parameter]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        fields = {
            name: core_schema.typed_dict_field(
                handler.generate_schema(parameter.type), required=False
            )
            for name, parameter in self.parameters.items()
        }
        values = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        return core_schema.no_info_before_validator_function(self._parse, values)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "maxLength": MAX_LENGTH}

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            sent = parse_qs(
                text, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError:
            sent = {}
        if not sent:
            raise PydanticCustomError(
                "alternative",
                "An alternative is a query string with 1 to {most} parameters, such as name=value",
                {"most": _MOST_FIELDS},
            )
        return {name: self._value(name, values) for name, values in sent.items()}

    def _value(self, name: str, values: list[str]) -> Any:
        parameter = self.parameters.get(name)
        if parameter is None:
            raise PydanticCustomError(
                "unknown_parameter",
                "An alternative has a parameter that does not exist. Allowed are: {allowed}",
                {"allowed": ", ".join(sorted(self.parameters))},
            )
        if parameter.most > 1:
            return values
        if len(values) > 1:
            raise PydanticCustomError(
                "repeated_parameter", "The parameter {name} may be sent once", {"name": name}
            )
        return values[0]
