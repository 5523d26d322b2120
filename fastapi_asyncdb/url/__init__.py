"""Any URL that a host hands out, as an async SQLAlchemy URL and connect arguments.

Pure functions over text: no file is read, no driver is imported, no name is resolved.
"""

from fastapi_asyncdb.url.parse import parse_url
from fastapi_asyncdb.url.target import TLS, Target, TLSMode

__all__ = ["TLS", "TLSMode", "Target", "parse_url"]
