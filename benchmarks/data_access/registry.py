"""The list of ways to read and write rows. Each module has a class ``Products`` with its verbs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class DataAccess:
    """A way that takes part."""

    name: str
    module: str
    """In this package."""
    packages: tuple[str, ...] = ()
    """What it is made of, besides SQLAlchemy and the driver."""
    many_rows_only: bool = False
    """Whether it takes part in the measure of many rows alone."""

    def products(self) -> type[Any]:
        """Return its class ``Products``, which takes a session.

        Raises:
            ImportError: a package of it is not installed.
        """
        module = import_module(f"benchmarks.data_access.{self.module}")
        products: type[Any] = module.Products
        return products

    def versions(self) -> dict[str, str]:
        """Return the version of each of its packages.

        Raises:
            PackageNotFoundError: it is not installed.
        """
        return {package: version(package) for package in self.packages}


BY_HAND = DataAccess("by hand", "by_hand")
OURS = DataAccess("fastapi_asyncdb", "asyncdb", ("fastapi-asyncdb",))
DATA_ACCESS = (
    BY_HAND,
    DataAccess("by hand, executemany", "by_hand_executemany", many_rows_only=True),
    DataAccess("advanced-alchemy", "alchemy", ("advanced-alchemy",)),
    DataAccess("fastcrud", "fast_crud", ("fastcrud",)),
    OURS,
)
