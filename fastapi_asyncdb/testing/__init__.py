"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.sandbox import sandbox

__all__ = ["sandbox"]
