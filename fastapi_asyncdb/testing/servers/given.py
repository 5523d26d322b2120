"""The server that the user names for the tests, in the environment or the configuration."""

from __future__ import annotations

import os
import re

from pydantic import SecretStr

from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.errors import ConfigurationError


def given_server(variable: str = "TEST_DATABASE_URL") -> str | None:
    """Return the URL of the server that the user names for the tests, if there is one.

    ``given_server() or stack.enter_context(postgres_server()).url()`` is a server in any case.

    Args:
        variable: The environment variable with the URL.

    Returns:
        The URL as it stands in the environment; ``None`` if the variable is not set, or empty.

    Raises:
        ConfigurationError: the URL is not one of PostgreSQL, MySQL or MariaDB, or its database does
            not look like one for tests: tests throw away what they find. The message contains no
            password.
    """
    # Some loggers print the local variables of a traceback: none of these shows a password.
    url = SecretStr(os.environ.get(variable, "").strip())
    return for_tests(url, variable).get_secret_value() if url else None


def for_tests(url: SecretStr, variable: str) -> SecretStr:
    """Return a URL that the user has written down, if it names a database for tests.

    Args:
        url: The URL.
        variable: Where the user has written it.

    Raises:
        ConfigurationError: as ``given_server``.
    """
    _refuse_what_is_not_for_tests(parse_url(url), variable)
    return url


# The words of "app_test", "TestApp" and "TEST2"; "latest" and "contest" are one word each.
_WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SERVERS = {"postgresql", "mysql"}
_TEST_WORDS = {"test", "tests", "testing", "testdb"}


def _refuse_what_is_not_for_tests(target: Target, variable: str) -> None:
    if family_of(target.url.get_backend_name()) not in _SERVERS:
        raise ConfigurationError(
            f"{variable} is a URL of {target.url.get_backend_name()}, which has no server, and tests "
            f"need one. Name a PostgreSQL, MySQL or MariaDB, or unset {variable}: the tests then start "
            "their own."
        )
    if not has_test_in_it(target.url.database or ""):
        raise ConfigurationError(
            f"{variable} names the database {target.url.database!r}, which does not look like one for "
            "tests, and tests throw away what they find. Name a database with the word 'test' in it, "
            f"such as 'app_test', or unset {variable}: the tests then start their own server."
        )


def has_test_in_it(name: str) -> bool:
    """Return whether a name has the word "test" in it, or one of its forms."""
    return not _TEST_WORDS.isdisjoint(word.lower() for word in _WORDS.findall(name))
