"""capture_commit_hooks sees the hooks of committed transactions, and may keep them from running."""

import asyncio
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, on_commit, on_rollback
from fastapi_asyncdb.session import hooks
from fastapi_asyncdb.session.hooks import Hooks
from fastapi_asyncdb.testing import async_client, capture_commit_hooks
from tests.support.application import Note
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
def sent() -> list[str]:
    """What was sent."""
    return []


async def test_captured_in_order_and_run(notes: Database, sent: list[str]):
    """By default the block only watches; each transaction's come when it is committed."""

    async def publish(event: str, *, to: str) -> None:
        await asyncio.sleep(0)
        sent.append(f"{event} to {to}")

    with capture_commit_hooks() as captured:
        async with notes.session() as session:
            session.add(Note(text="first"))
            on_commit(session, sent.append, "plain")
            on_commit(session, publish, "async", to="all")
            assert captured == []
            await session.commit()
            assert len(captured) == 2
            on_commit(session, sent.append, "at the end")
    assert sent == ["plain", "async to all", "at the end"]
    assert [(hook.fn, hook.args, hook.kwargs) for hook in captured] == [
        (sent.append, ("plain",), {}),
        (publish, ("async",), {"to": "all"}),
        (sent.append, ("at the end",), {}),
    ]


async def test_not_run_unless_the_test_calls_them(notes: Database, sent: list[str]):
    """With execute=False the test decides; what a called hook registers is captured then."""

    async def publish(event: str) -> None:
        async with notes.session() as session:
            on_commit(session, sent.append, event)

    with capture_commit_hooks(execute=False) as captured:
        async with notes.session() as session:
            on_commit(session, publish, "event")
        assert (sent, len(captured)) == ([], 1)
        result = captured[0]()
        assert asyncio.iscoroutine(result)
        await result
        assert (sent, len(captured)) == ([], 2)
        captured[1]()
    assert sent == ["event"]


@pytest.mark.parametrize("execute", [True, False])
async def test_rolled_back_ones_are_not_captured(notes: Database, sent: list[str], execute: bool):
    """Neither a savepoint's, nor a whole transaction's; on_rollback hooks run and are not captured."""
    with capture_commit_hooks(execute=execute) as captured:
        async with notes.session() as session:
            savepoint = await session.begin_nested()
            on_commit(session, sent.append, "dropped")
            on_rollback(session, sent.append, "savepoint rolled back")
            await savepoint.rollback()
        with pytest.raises(ZeroDivisionError):
            async with notes.session() as session:
                on_commit(session, sent.append, "dropped")
                on_rollback(session, sent.append, "rolled back")
                raise ZeroDivisionError
    assert captured == []
    assert sent == ["savepoint rolled back", "rolled back"]


async def test_outside_of_the_block_nothing_changes(notes: Database, sent: list[str]):
    """What is committed before or after runs and is not seen, also after an error in the block."""
    take = Hooks.take
    with pytest.raises(ZeroDivisionError), capture_commit_hooks(execute=False) as captured:
        raise ZeroDivisionError
    async with notes.session() as before:
        on_commit(before, sent.append, "after")
        with capture_commit_hooks(execute=False) as within:
            pass
    assert (sent, captured, within) == (["after"], [], [])
    assert Hooks.take is take


def test_nothing_of_the_kit_is_in_the_code_of_production():
    """What captures hooks lives in the testing kit; without a block nothing is looked up for it."""
    mutable = {name for name, value in vars(hooks).items() if isinstance(value, list | dict | set)}
    assert {name for name in mutable if not name.startswith("__")} == set()


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
async def test_nested_blocks_all_see_and_all_must_agree(
    notes: Database, sent: list[str], outer: bool, inner: bool
):
    """A hook is committed inside of both; it runs if both let it."""
    with capture_commit_hooks(execute=outer) as seen_outside:
        with capture_commit_hooks(execute=inner) as seen_inside:
            async with notes.session() as session:
                on_commit(session, sent.append, "inside")
        async with notes.session() as session:
            on_commit(session, sent.append, "between")
    assert [hook.args for hook in seen_inside] == [("inside",)]
    assert [hook.args for hook in seen_outside] == [("inside",), ("between",)]
    assert sent == ["inside"] * (outer and inner) + ["between"] * outer


async def test_request_is_seen_from_the_test(notes: Database, sent: list[str]):
    """In whichever task it is served."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(notes.get_db)]) -> None:
        db.add(Note(text="written"))
        on_commit(db, sent.append, "mail")

    async with async_client(app) as client:
        with capture_commit_hooks(execute=False) as captured:
            await asyncio.create_task(client.post("/"))
    assert ([hook.args for hook in captured], sent) == ([("mail",)], [])
