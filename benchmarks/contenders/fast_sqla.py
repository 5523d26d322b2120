"""FastSQLA, with its lifespan and its ``Session``, which is committed before the response.

https://hadrien.github.io/FastSQLA/
"""

import logging

import fastsqla
import structlog
from fastapi import Depends, FastAPI

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""
    # It logs each step of a request, and structlog prints that by default. No contender logs here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    lifespan = fastsqla.new_lifespan(
        url,
        pool_size=pool.size,
        max_overflow=pool.overflow,
        pool_timeout=pool.timeout,
        pool_pre_ping=True,
    )
    app = FastAPI(lifespan=lifespan)
    session = Depends(fastsqla.new_session, scope="function")
    add_routes(app, session, session, open_session=fastsqla.open_session)
    return app
