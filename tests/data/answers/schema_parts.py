"""What random schemas are made of: types, validators, aliases, settings."""

from __future__ import annotations

from typing import Any

from tests.data.answers.museum import models

RIGHT = {
    "flag": "bool",
    **dict.fromkeys(("small", "number", "big"), "int"),
    **dict.fromkeys(("double", "real", "share", "rounded"), "float"),
    **dict.fromkeys(("weight", "price", "exact", "amount", "loose"), "Decimal"),
    **dict.fromkeys(
        ("word", "text", "fixed", "shouted", "varied", "token_text", "side", "corner"), "str"
    ),
    "data": "bytes",
    "day": "date",
    "clock": "time",
    **dict.fromkeys(("moment", "zoned", "utc"), "datetime"),
    "span": "timedelta",
    **dict.fromkeys(("token", "token_char"), "UUID"),
    **dict.fromkeys(("color", "color_value"), "Color"),
    "grade": "Grade",
    "style": "Style",
    "mixed": "Mixed",
    **dict.fromkeys(("document", "binary_document", "plain_document", "pickled"), "Any"),
    "numbers": "list[int]",
    "address": "Any",
}
"""The usual types of the columns."""
SLOW = {
    "weight", "exact", "loose", "rounded", "data", "clock", "span", "token_text", "pickled",
    "shouted", "varied", "numbers", "address", "deleted_at",
}  # fmt: skip
"""Columns of which no database writes the JSON."""
WRONG = [
    "int", "str", "float", "Decimal", "bool", "Any", "object", "date", "datetime", "time", "timedelta",
    "bytes", "UUID", "Color", "Style", "dict[str, Any]", "list[Any]", "Document", "list[Document]",
    "DocumentData", "int | str", "float | Decimal", "Literal['red', 'word', 1]", "JsonValue",
    "SecretStr", "dict[str, int]", "complex", "Annotated[int, Field(ge=0)]",
    "Annotated[str, Field(max_length=3)]", "Annotated[float, Field(lt=9)]",
    "Annotated[Decimal, Field(max_digits=4)]", "Annotated[str, Field(pattern='^[a-z]*$')]",
    "Annotated[int, Field(strict=True)]", "Annotated[str, Field(strict=True)]",
    "Annotated[float, Field(allow_inf_nan=False)]", "Annotated[int, Field(multiple_of=2)]",
]  # fmt: skip
AROUND = [
    "Annotated[{}, AfterValidator(same)]",
    "Annotated[{}, AfterValidator(positive)]",
    "Annotated[{}, BeforeValidator(same)]",
    "Annotated[{}, BeforeValidator(text_of)]",
    "Annotated[{}, WrapValidator(around)]",
    "Annotated[{}, PlainValidator(text_of)]",
    "Annotated[{}, PlainSerializer(text_of)]",
    "Annotated[{}, PlainSerializer(text_of, when_used='json-unless-none')]",
    "Annotated[{}, WrapSerializer(around)]",
    "SkipValidation[{}]",
    "SerializeAsAny[{}]",
    "Annotated[{}, Field(description='text', examples=[1])]",
    "Annotated[{}, 'metadata']",
]
OTHERS: dict[type[Any], list[str]] = {
    models.Room: [
        "shown: str", "is_high: bool", "title: str", "louder: str | None", "nothing: int = 5",
        "metadata: Any = None",
    ],
    models.Exhibit: ["tag_names: list[str]", "words: str", "nothing: str | None = None"],
    models.Keeper: ["is_deleted: bool"],
    models.Visitor: [
        "rooms: list[Any]",
        "rooms: Annotated[list[int], BeforeValidator(list), BeforeValidator(names_of)]",
    ],
    models.Showcase: ["area: int", "size: SizeOut", "size: Any"],
    models.Crowd: ["visitors: int"],
}  # fmt: skip
"""Fields of attributes that are no columns."""
CONFIGS = [
    "from_attributes=True", "from_attributes=False", "populate_by_name=True", "validate_by_name=True",
    "serialize_by_alias=True", "extra='allow'", "extra='forbid'", "extra='ignore'", "frozen=True",
    "use_enum_values=True", "str_strip_whitespace=True", "str_to_upper=True", "str_max_length=5",
    "coerce_numbers_to_str=True", "strict=True", "validate_default=True", "title='Title'",
    "alias_generator=to_camel", "alias_generator=to_camel, populate_by_name=True",
    "ser_json_timedelta='float'", "ser_json_bytes='base64'", "ser_json_bytes='hex'",
    "ser_json_inf_nan='strings'", "ser_json_inf_nan='constants'", "ser_json_inf_nan='null'",
    "allow_inf_nan=False", "arbitrary_types_allowed=True", "revalidate_instances='always'",
    "validate_assignment=True", "json_encoders={datetime: str, int: hex, str: len}",
    "hide_input_in_errors=True", "val_json_bytes='base64'", "loc_by_alias=False",
    "protected_namespaces=()", "regex_engine='python-re'", "defer_build=True",
    "json_schema_extra={'a': 1}", "validate_return=True", "use_attribute_docstrings=True",
    "cache_strings='none'", "validation_error_cause=True",
]  # fmt: skip
DATACLASSES = [
    "@dataclass\nclass {}:",
    "@dataclass(frozen=True, slots=True)\nclass {}:",
    "@pydantic.dataclasses.dataclass\nclass {}:",
    "@pydantic.dataclasses.dataclass(config=ConfigDict(frozen=True), kw_only=True)\nclass {}:",
]
BODIES = """
@model_validator(mode='before')
@classmethod
def check(cls, data):
    return object_only(data)

@model_validator(mode='before')
@classmethod
def check(cls, data):
    return data

@model_validator(mode='after')
def check(self):
    return self

@model_validator(mode='wrap')
@classmethod
def check(cls, data, handler):
    return handler(object_only(data))

@computed_field
@property
def computed(self) -> str:
    return type(self).__name__

@computed_field(alias='other')
@property
def computed(self) -> int:
    return len(self.__dict__)

@model_serializer(mode='wrap')
def write(self, handler):
    return {'wrapped': handler(self)}

@model_serializer(mode='plain')
def write(self) -> str:
    return 'plain'

def model_post_init(self, context):
    self._private = 1
_private: int = 0

@field_validator('{field}', mode='before')
@classmethod
def check(cls, value):
    return value

@field_validator('{field}', mode='after')
@classmethod
def check(cls, value):
    return positive(value)

@field_validator('*', mode='wrap')
@classmethod
def check(cls, value, handler):
    return handler(value)

@field_serializer('{field}')
def write(self, value):
    return text_of(value)

@field_serializer('{field}', mode='wrap')
def write(self, value, handler):
    return [handler(value)]

@field_serializer('*', when_used='json')
def write(self, value):
    return text_of(value)

constant: ClassVar[int] = 1
@property
def shout(self):
    return 1

def __init__(self, **data):
    super().__init__(**data)
""".strip().split("\n\n")
"""What the classes have besides their fields."""


ALIASES = [
    "f_{0}: {1} = Field(alias='{0}')",
    "{0}: {1} = Field(alias='{0}', serialization_alias='key of {0}')",
    "{0}: {1} = Field(serialization_alias='quote\"s')",
    "{0}: {1} = Field(serialization_alias='it\\'s é')",
    "{0}: {1} = Field(serialization_alias='back\\\\slash')",
    "{0}: {1} = Field(serialization_alias='line\\nbreak')",
    "{0}: {1} = Field(serialization_alias=':a %s {{b}} $')",
    "{0}: {1} = Field(serialization_alias='')",
    "f_{0}: {1} = Field(validation_alias='{0}')",
    "f_{0}: {1} = Field(validation_alias=AliasChoices('nope', '{0}'))",
    "f_{0}: {1} = Field(validation_alias=AliasChoices('{0}', 'id'))",
    "f_{0}: {1} = Field(validation_alias=AliasChoices(AliasPath('{0}', 0), '{0}'))",
    "f_{0}: {1} = Field(validation_alias=AliasChoices(AliasPath('{0}', 'a'), AliasPath('{0}')))",
    "{0}: {1} = Field(validation_alias=AliasChoices(AliasPath('{0}', 'a'), 'nope'))",
    "{0}: {1} = Field(validation_alias='nope')",
    "{0}: {1} = Field(validation_alias='nope', default=None)",
    "{0}: {1} = Field(validation_alias='id')",
    "{0}: {1} = Field(exclude=True)",
    "{0}: {1} = Field(frozen=True)",
    "{0}: {1} = Field(title='t', description='d', examples=[1], deprecated=True)",
    "{0}: {1} = Field(repr=False)",
    "{0}: {1} = Field(default=None)",
    "{0}: {1} = Field(default_factory=dict)",
    "{0}: {1} = Field(default='x', validate_default=True)",
]
"""Fields, by the name of their attribute and their type."""
MANY = ["list[{}]"] * 12 + [
    "list[{}] | None", "tuple[{}, ...]", "Sequence[{}]", "Annotated[list[{}], Field(max_length=1)]",
    "Annotated[list[{}], AfterValidator(same)]", "Annotated[list[{}], BeforeValidator(same)]",
    "{} | None", "list[{} | None]", "Any", "list[Any]", "list[{} | int]",
    "Annotated[list[int], BeforeValidator(names_of)]", "Annotated[list[{}], Field(min_length=1)]",
]  # fmt: skip
"""Types of a relationship to many."""
ONE = ["Optional[{}]"] * 10 + [
    "{}", "{}", "{}", "list[{}]", "Annotated[{}, AfterValidator(same)] | None", "{} | int | None",
    "Annotated[Optional[{}], BeforeValidator(same)]", "Any",
    "Annotated[Optional[int], BeforeValidator(key_of)]",
    "SerializeAsAny[{}] | None", "Annotated[{}, PlainSerializer(text_of)] | None",
]  # fmt: skip
"""Types of a relationship to one."""
RELATED = [
    "Related(where=lambda row: row.{0} > 1)",
    "Related(where=lambda row: [row.{0} > 0, row.{0} < 3])",
    "Related(order_by=lambda row: row.{0}.desc())",
    "Related(limit=1)",
    "Related(limit=0)",
    "Related(order_by=lambda row: row.{0}.desc(), limit=1)",
    "Related(where=lambda row: row.{0} > 1, order_by=lambda row: row.{0}, limit=2)",
]
"""What a schema says of the rows of a relationship, by their key; of one row the first two."""
WHOLE = ["{}"] * 20 + ["RootModel[{}]", "Annotated[{}, AfterValidator(same)]", "{} | int"]
"""Schemas of a row, made of that of its object."""
