"""``Injectable``: classes that FastAPI makes for a request without a worker thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Self


class _Awaited:
    """What ``inspect.unwrap`` finds behind a class: a coroutine function with its parameters."""

    def __get__(
        self, instance: object, owner: type[Any]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def make(*args: Any, **kwargs: Any) -> Any:
            return owner(*args, **kwargs)

        make.__signature__ = _signature(owner)  # type: ignore[attr-defined]
        return make


def _signature(owner: type[Any]) -> inspect.Signature:
    """Return the parameters of the class, with annotations that are no strings where possible.

    FastAPI looks for the names in a string among the globals of what it calls; a class has none.
    """
    init = owner.__init__
    try:
        signature = inspect.signature(init, eval_str=True)
    except NameError:
        signature = inspect.signature(init)
    _, *parameters = signature.parameters.values()
    return inspect.Signature(parameters)


class Injectable:
    """Base class for ``Annotated[SomeClass, Depends()]``.

    FastAPI calls a class in ``Depends()`` in a worker thread, which costs a sixth of a read. It awaits a
    coroutine function, also one that it finds behind ``__wrapped__``; what it calls then is the class,
    and what it awaits is the object. FastAPI before 0.123 does not look there, and takes the thread.
    https://docs.python.org/3/library/inspect.html#inspect.unwrap
    """

    __wrapped__ = _Awaited()

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the object itself."""
        yield from ()
        return self
