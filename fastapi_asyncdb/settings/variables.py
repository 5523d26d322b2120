"""``Variables``: the environment, ``.env`` and the folder of secrets, asked for single names."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, SecretStr
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource, SecretsSettingsSource


class Variables:
    """Find variables of any name, in the order and by the rules of pydantic-settings.

    Args:
        sources: Those of pydantic-settings, the nearest first. Sources of other kinds are not asked.
    """

    def __init__(self, *sources: PydanticBaseSettingsSource) -> None:
        self._environments = [each for each in sources if isinstance(each, EnvSettingsSource)]
        self._secrets = [
            each
            for each in sources
            if isinstance(each, SecretsSettingsSource) and each.secrets_dir is not None
        ]
        for each in self._secrets:
            each()  # finds the folders

    @property
    def prefix(self) -> str:
        """What the names of the settings begin with."""
        return self._environments[0].env_prefix if self._environments else ""

    def names(self) -> set[str]:
        """Return the names of all variables; files of secrets are not listed."""
        return {name.upper() for each in self._environments for name in each.env_vars}

    def has(self, name: str) -> bool:
        """Return whether there is such a variable, though it may be empty."""
        return any(True for _ in self._values(name))

    def find(self, name: str) -> SecretStr | None:
        """Return a variable; ``None`` if there is none, or if it is empty or says ``none``."""
        text = next(self._values(name), None)
        # A text that means None has a class of its own.
        return SecretStr(text) if text and type(text) is str else None

    def _values(self, name: str) -> Iterator[str]:
        for source in self._environments:
            value = source.env_vars.get(name if source.case_sensitive else name.lower())
            if value is not None:
                yield value
        for folder in self._secrets:
            value, _, _ = folder.get_field_value(Field(validation_alias=name), name)
            if value is not None:
                yield value
