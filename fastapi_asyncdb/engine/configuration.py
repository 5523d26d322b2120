"""``Configuration``: what the starts of one ``Database`` are made from: settings, password, options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dialects import Preset, parse_url, preset_for
from fastapi_asyncdb.options import PLAIN, TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings


class Configuration:
    """The settings and the password of the next start, and the options that its database must have.

    Args:
        password: Returns the password for new connections, if the URL has none.
        own: Returns the settings of the ``Database``, if it has some of its own.
    """

    def __init__(
        self, password: PasswordFunction | None, own: Callable[[], DatabaseSettings | None]
    ) -> None:
        self._password = password
        self._own = own
        self._override: DatabaseSettings | None = None
        self._options: set[TransactionOptions] = set()

    @property
    def overridden(self) -> bool:
        """Whether a block of ``override()`` is open."""
        return self._override is not None

    @property
    def password(self) -> PasswordFunction | None:
        """The function of the ``Database``; settings that override its own have their credentials."""
        return None if self.overridden else self._password

    def wanted(self, given: DatabaseSettings | None) -> DatabaseSettings | None:
        """Return the settings that a start asks for; ``None`` leaves it to the environment."""
        return self._override or given

    def now(self) -> DatabaseSettings:
        """Return the settings that a start without any of its own would have now.

        Raises:
            ConfigurationError: the environment has a wrong value.
        """
        return self._override or self._own() or DatabaseSettings.load()

    @contextmanager
    def override(self, settings: DatabaseSettings) -> Iterator[None]:
        """Use these settings for each start in the block."""
        before, self._override = self._override, settings
        try:
            yield
        finally:
            self._override = before

    def declare(
        self, options: TransactionOptions, settings: DatabaseSettings | None
    ) -> TransactionOptions:
        """Check options at each start, and now if the settings are known; return them.

        Raises:
            ConfigurationError: the database does not have them.
        """
        if options == PLAIN:
            return PLAIN  # each request compares with it, by identity first
        if not options.autocommit:
            self._options.add(options)
            if settings is not None:
                preset_for(parse_url(settings.url)).check(options)
        return options

    def check(self, preset: Preset) -> None:
        """Check the options that were declared.

        Raises:
            ConfigurationError: the database does not have one of them.
        """
        for options in self._options:
            preset.check(options)
