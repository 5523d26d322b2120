"""``PrefixedSettings``: settings from variables with a prefix, with readable errors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings.urls import secret_url

# BaseSettings' own arguments, such as _env_file, pass through.
_SOURCE_OPTIONS = frozenset({"_env_file", "_env_file_encoding", "_env_prefix", "_secrets_dir"})


class PrefixedSettings(BaseSettings):
    """Read settings from variables with a prefix; a wrong value is one readable message without it.

    A subclass writes out its ``__init__``, so that type checkers accept url="...": they would ask for a
    ``SecretStr``. It masks the secrets first.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # A variable cannot be None: DATABASE_IDLE_IN_TRANSACTION_TIMEOUT=none.
        env_parse_none_str="none",
    )
    url_fields: ClassVar[tuple[str, ...]] = ("url",)
    """The fields that are URLs."""
    parts: ClassVar[tuple[str, ...]] = ()
    """Further arguments, of which a source makes a field."""
    subject: ClassVar[str] = "database"
    """What the settings are of, in messages."""

    def __init__(self, **values: Any) -> None:
        """Read the values that are not arguments from the environment and ``.env``.

        Args:
            **values: Fields, and the options of ``BaseSettings`` such as ``_env_file``.

        Raises:
            ConfigurationError: a value is wrong. The message names the argument or the variable, and
                does not contain the value.
            TypeError: there is no such field.
        """
        self._refuse_unknown(values.keys() - _SOURCE_OPTIONS)
        prefix = values.get("_env_prefix") or self.model_config.get("env_prefix", "")
        problems: list[str] = []
        try:
            super().__init__(**values)
        except ValidationError as error:
            details = error.errors(include_input=False)
            problems = [_describe(prefix, each, given=values.keys()) for each in details]
        except UnicodeDecodeError:
            problems = ["the file .env is not UTF-8"]
        # Outside the except block: the chained original would carry the values into tracebacks.
        if problems:
            raise ConfigurationError(
                f"The {self.subject} settings are wrong: {'; '.join(problems)}."
            )

    @classmethod
    def _refuse_unknown(cls, names: Collection[str]) -> None:
        known = (*cls.model_fields, *cls.parts)
        unknown = set(names).difference(known)
        if unknown:
            raise TypeError(
                f"{cls.__name__} has no field {', '.join(sorted(unknown))}; it has {', '.join(known)}"
            )

    @classmethod
    def _mask(cls, values: dict[str, Any]) -> None:
        """Wrap the secrets among arguments, in place: a traceback may show the frame that has them."""
        for name in cls.url_fields:
            if name in values:
                values[name] = secret_url(values[name])

    @model_validator(mode="wrap")
    @classmethod
    def _mask_nested(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Mask what other settings pass, in which these are nested: their errors show their input."""
        if isinstance(data, dict):
            data = dict(data)
            cls._mask(data)
        return validate(data)

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a value is wrong. The message names the variable, and does not contain
                the value.
        """
        return cls()


def _describe(prefix: str, detail: ErrorDetails, *, given: Collection[str]) -> str:
    """Describe a problem by the name of its argument, or of its variable if it was no argument."""
    name = ".".join(str(part) for part in detail["loc"])
    if detail["loc"][:1] and detail["loc"][0] not in given:
        name = (prefix + name).upper()
    return f"{name}: {problem_of(detail)}"


def problem_of(detail: ErrorDetails) -> str:
    """Return what is wrong with a value."""
    return detail["msg"].removeprefix("Value error, ")
