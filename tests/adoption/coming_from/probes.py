"""Routes that end in the ways that the tables of docs/coming-from compare."""

from collections.abc import AsyncIterator
from contextlib import suppress
from types import ModuleType
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response, WebSocket
from fastapi.responses import RedirectResponse, StreamingResponse
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from schema import authors, books


def session_of(module: ModuleType) -> Any:
    """Return the annotation by which the routes of this application get their session."""
    if hasattr(module, "SQLAlchemyMiddleware"):

        async def current_session() -> AsyncSession:
            return module.db.session

        return Annotated[AsyncSession, Depends(current_session)]
    for name in ("DB", "Session", "AsyncSession"):
        if hasattr(module, name):
            return getattr(module, name)
    from fastapi_asyncdb import DB

    return DB


def add_probes(module: ModuleType) -> None:
    """Add the routes to ``module.app``."""
    app: FastAPI = module.app
    Session = session_of(module)

    def current(session: AsyncSession) -> AsyncSession:
        """Return the session as code gets it that runs after the handler."""
        return module.db.session if hasattr(module, "SQLAlchemyMiddleware") else session

    async def add(session: AsyncSession, title: str, author_id: int) -> None:
        await session.execute(insert(books).values(title=title, author_id=author_id))

    async def add_later(session: AsyncSession, title: str, author_id: int) -> None:
        await add(current(session), title, author_id)

    @app.post("/probes/plain", status_code=201)
    async def plain(title: str, author_id: int, session: Session) -> None:
        await add(session, title, author_id)

    @app.post("/probes/raises")
    async def raises(title: str, author_id: int, session: Session) -> None:
        await add(session, title, author_id)
        raise HTTPException(409)

    @app.post("/probes/returns")
    async def returns(title: str, author_id: int, session: Session) -> Response:
        await add(session, title, author_id)
        return Response(status_code=409)

    @app.post("/probes/redirects")
    async def redirects(title: str, author_id: int, session: Session) -> Response:
        await add(session, title, author_id)
        return RedirectResponse("/", 303)

    @app.post("/probes/swallows", status_code=201)
    async def swallows(title: str, author_id: int, session: Session) -> None:
        await add(session, title, author_id)
        with suppress(IntegrityError):
            await session.execute(insert(authors).values(id=author_id, name="taken"))

    @app.post("/probes/background", status_code=201)
    async def background(
        title: str, author_id: int, session: Session, tasks: BackgroundTasks
    ) -> None:
        tasks.add_task(add_later, session, title, author_id)

    @app.post("/probes/background-fails", status_code=201)
    async def background_fails(
        title: str, author_id: int, session: Session, tasks: BackgroundTasks
    ) -> None:
        async def fail() -> None:
            await current(session).execute(text("SELECT 1"))
            raise RuntimeError

        await add(session, title, author_id)
        tasks.add_task(fail)

    @app.get("/probes/stream")
    async def stream(session: Session) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            yield f"{await current(session).scalar(select(1))}\n"

        return StreamingResponse(lines())

    @app.get("/probes/keeps")
    async def keeps(session: Session) -> None:
        app.state.kept = session

    @app.websocket("/probes/socket")
    async def socket(websocket: WebSocket, session: Session) -> None:
        await websocket.accept()
        await websocket.send_text(str(await session.scalar(select(1))))
