from fastapi_asyncdb.testing.migrations import *  # noqa: F403
