"""fastapi-sqla, with its middleware and the session that it puts into the request.

https://github.com/dialoguemd/fastapi-sqla
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import fastapi_sqla
import structlog
from fastapi import Depends, FastAPI
from fastapi_sqla.async_sqla import default_async_session_dep

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""
    # It logs each error, which structlog prints with long tracebacks. No contender logs here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    os.environ |= {
        "sqlalchemy_url": url,
        "sqlalchemy_pool_size": str(pool.size),
        "sqlalchemy_max_overflow": str(pool.overflow),
        "sqlalchemy_pool_timeout": str(int(pool.timeout)),
        "sqlalchemy_pool_pre_ping": "true",
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await fastapi_sqla.startup()
        yield

    app = FastAPI(lifespan=lifespan)
    fastapi_sqla.setup_middlewares(app)
    session = Depends(default_async_session_dep)
    add_routes(app, session, session)
    return app
