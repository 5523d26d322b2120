"""One transaction for a whole test, rolled back at its end."""

from fastapi_asyncdb.testing.sandbox.transaction import sandbox

__all__ = ["sandbox"]
