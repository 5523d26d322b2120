"""``Injectable``: classes that FastAPI makes for a request without a worker thread."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import cache
from types import FunctionType
from typing import Any, ClassVar, Self, get_type_hints


class _Awaited:
    """What ``inspect.unwrap`` finds behind a class: a coroutine function with its parameters."""

    def __get__(
        self, instance: object, owner: type[Any]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        known: Any = owner
        return _making(known, known.__init__)


@cache
def _making(owner: Any, init: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the coroutine function, the same each time: FastAPI looks for it in every request.

    Args:
        owner: The class.
        init: Its ``__init__``, which a dataclass gets after the class was created.
    """

    async def make(*args: Any, **kwargs: Any) -> Any:
        return owner(*args, **kwargs)

    # FastAPI evaluates annotations that are strings with the globals of what it finds here.
    names = vars(sys.modules[owner.__module__])
    found = FunctionType(make.__code__, names, closure=make.__closure__)
    found.__signature__ = _signature(init)  # type: ignore[attr-defined]
    return found


def _signature(init: Callable[..., None]) -> inspect.Signature:
    """Return the parameters of a class; of an inherited ``__init__`` as its own module has them."""
    _, *parameters = inspect.signature(init).parameters.values()
    with suppress(NameError):
        hints = get_type_hints(init, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
            for parameter in parameters
        ]
    return inspect.Signature(parameters)


class Injectable:
    """Base class for ``Annotated[SomeClass, Depends()]``.

    FastAPI calls a class in ``Depends()`` in a worker thread, which costs a sixth of a read. It awaits a
    coroutine function, also one that it finds behind ``__wrapped__``; what it calls then is the class,
    and what it awaits is the object. FastAPI before 0.123.5 does not look there, and takes the thread.
    https://docs.python.org/3/library/inspect.html#inspect.unwrap
    """

    __wrapped__: ClassVar[_Awaited] = _Awaited()

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the object itself."""
        yield from ()
        return self
