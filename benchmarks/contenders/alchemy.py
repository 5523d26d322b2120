"""advanced-alchemy, with its FastAPI extension and ``commit_mode="autocommit"``.

https://docs.advanced-alchemy.litestar.dev/latest/usage/frameworks/fastapi.html
"""

from advanced_alchemy.config import AsyncSessionConfig
from advanced_alchemy.extensions.fastapi import AdvancedAlchemy, EngineConfig, SQLAlchemyAsyncConfig
from fastapi import Depends, FastAPI

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""
    engine = EngineConfig(
        pool_size=pool.size,
        max_overflow=pool.overflow,
        pool_timeout=int(pool.timeout),
        pool_pre_ping=True,
    )
    config = SQLAlchemyAsyncConfig(
        connection_string=url,
        engine_config=engine,
        session_config=AsyncSessionConfig(expire_on_commit=False),
        commit_mode="autocommit",
    )
    app = FastAPI()
    session = Depends(AdvancedAlchemy(config, app).provide_session())
    add_routes(app, session, session)
    return app
