"""Background tasks see the commit, have their own, and cannot undo the handler's."""

from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from tests.support.application import Note, Request, checked_out, stored

pytestmark = pytest.mark.promise("T7")


def background_app(database: Database, seen: list[int]) -> FastAPI:
    """A handler that writes, and a background task that looks, writes and perhaps fails."""
    app = FastAPI()

    async def later(db: AsyncSession, *, fail: bool) -> None:
        async with database.read_session() as witness:
            seen.append(await witness.scalar(select(func.count()).select_from(Note)) or 0)
        db.add(Note(text="later"))
        await db.flush()
        if fail:
            raise RuntimeError("bug in the background")

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        tasks: BackgroundTasks,
        fail: bool = False,
    ) -> None:
        db.add(Note(text="handler"))
        tasks.add_task(later, db, fail=fail)

    return app


async def test_background_task_sees_the_commit_and_commits_its_own_work(database: Database):
    """The handler's row is there when the task starts, the task's own at request end."""
    seen: list[int] = []
    await Request(background_app(database, seen), "/", "POST").run()
    assert seen == [1]
    assert await stored(database) == ["handler", "later"]


async def test_failing_background_task_never_undoes_the_handlers_work(database: Database):
    """Its own work is rolled back, the acknowledged row stays."""
    request = Request(background_app(database, []), "/?fail=true", "POST")
    with pytest.raises(RuntimeError, match="bug in the background"):
        await request.run()
    assert request.status == 200
    assert await stored(database) == ["handler"]


async def test_tasks_with_the_request_session_share_a_transaction(database: Database):
    """One that fails undoes what those before it wrote, but not what has a transaction of its own."""
    app = FastAPI()

    @database.transactional()
    async def own(session: AsyncSession) -> None:
        session.add(Note(text="own"))

    async def shared(db: AsyncSession, text: str) -> None:
        db.add(Note(text=text))
        await db.flush()
        if text == "second":
            raise RuntimeError("bug in the background")

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)], tasks: BackgroundTasks
    ) -> None:
        db.add(Note(text="handler"))
        tasks.add_task(own)
        tasks.add_task(shared, db, "first")
        tasks.add_task(shared, db, "second")
        tasks.add_task(own)  # Starlette leaves it out

    with pytest.raises(RuntimeError, match="bug in the background"):
        await Request(app, "/", "POST").run()
    assert await stored(database) == ["handler", "own"]


async def test_work_after_yield_in_a_dependency_is_committed(database: Database):
    """A dependency of the user's own may write after its yield, when the response is gone."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def audit(db: DB):
        yield
        db.add(Note(text="audit"))

    @app.post("/", dependencies=[Depends(audit)])
    async def endpoint(db: DB) -> None:
        db.add(Note(text="handler"))

    await Request(app, "/", "POST").run()
    assert await stored(database) == ["handler", "audit"]


async def test_connection_is_free_between_response_and_background(database: Database):
    """The commit gives the connection back; a slow task holds none until it uses one."""
    app = FastAPI()
    in_use: list[int] = []

    async def later() -> None:
        in_use.append(checked_out(database))

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)], tasks: BackgroundTasks
    ) -> None:
        db.add(Note(text="handler"))
        tasks.add_task(later)

    await Request(app, "/", "POST").run()
    assert in_use == [0]
