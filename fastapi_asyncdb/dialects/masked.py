"""Text that no representation shows. Encrypts nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Masked(str):
    """A password, for code that needs text: SQLAlchemy's ``URL``, for example.

    Loggers that print local variables show the representation of what they find, also inside of
    tuples, and a ``URL`` is one. Where text is asked for, it is the text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        """Return it as it is: ``str(url.password)`` must not bring it to light."""
        return self

    def __getitem__(self, key: Any) -> Masked:
        """Return a part, as hidden: loggers shorten long text before they print it."""
        return Masked(super().__getitem__(key))


def supplier(text: str) -> Callable[[], str]:
    """Return a function that returns the text, as drivers take passwords that change.

    Unlike text it has nothing to show, whatever is made of it: ``repr`` or ``str``.
    """
    return lambda: str.__str__(text)
