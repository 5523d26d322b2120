"""fastapi-async-sqlalchemy, with its middleware and ``db.session``.

https://github.com/h0rn3t/fastapi-async-sqlalchemy
"""

from fastapi import Depends, FastAPI
from fastapi_async_sqlalchemy import SQLAlchemyMiddleware, db
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""
    app = FastAPI()
    app.add_middleware(
        SQLAlchemyMiddleware,
        db_url=url,
        engine_args={
            "pool_size": pool.size,
            "max_overflow": pool.overflow,
            "pool_timeout": pool.timeout,
            "pool_pre_ping": True,
        },
        commit_on_exit=True,
    )
    session = Depends(current_session)
    add_routes(app, session, session, open_session=OpenSession)
    return app


async def current_session() -> AsyncSession:
    """Return the session of the request, as handlers do that read ``db.session``."""
    session: AsyncSession = db.session
    return session


class OpenSession:
    """Opens the session of a stream, as the middleware's error message says."""

    def __init__(self) -> None:
        self._db = db()

    async def __aenter__(self) -> AsyncSession:
        await self._db.__aenter__()
        return await current_session()

    async def __aexit__(self, *error: object) -> None:
        await self._db.__aexit__(*error)
