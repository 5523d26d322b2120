"""The database layer for FastAPI: async SQLAlchemy that commits before it answers."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastapi_asyncdb.public import *  # noqa: F403
    from fastapi_asyncdb.public import __all__ as __all__
else:
    # The command line answers without FastAPI and SQLAlchemy: the first use of a name imports them.
    # Type checkers do not see this function, which would make any name exist: https://peps.python.org/pep-0562/
    def __getattr__(name: str) -> object:
        if find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        public = import_module(f"{__name__}.public")
        if name != "__all__" and name not in public.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals().update({each: getattr(public, each) for each in ("__all__", *public.__all__)})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module(f"{__name__}.public").__all__})
