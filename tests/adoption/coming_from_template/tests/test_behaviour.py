"""What changes: the table of docs/coming-from/full-stack-template.md."""

from importlib import import_module
from types import ModuleType
from uuid import uuid4

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from behaviour import AFTER, BEFORE
from models import Shelf


@pytest.fixture(scope="session", autouse=True)
def probes(main: ModuleType, side: str) -> None:
    """Add routes that do not call ``commit()``, or do so before they fail."""
    SessionDep = import_module(f"{side}.api.deps").SessionDep

    @main.app.post("/probes/forgets", status_code=201)
    async def forgets(name: str, session: SessionDep) -> None:
        session.add(Shelf(name=name))

    @main.app.post("/probes/raises")
    async def raises(name: str, session: SessionDep) -> None:
        session.add(Shelf(name=name))
        if side == "before":
            session.commit()
        raise HTTPException(409)

    @main.app.post("/probes/commits", status_code=201)
    async def commits(name: str, session: SessionDep) -> str:
        session.add(shelf := Shelf(name=name))
        if side == "before":
            session.commit()
        else:
            await session.commit()
        return str(shelf.id)


def stored(db: Session, name: str) -> str:
    """Return whether a shelf of this name is stored."""
    found = db.exec(select(Shelf).where(Shelf.name == name)).all()
    return "stored" if found else "not stored"


@pytest.mark.parametrize("probe", ["forgets", "raises", "commits"])
def test_what_is_stored(side: str, client: TestClient, db: Session, probe: str) -> None:
    """And what the client was told."""
    name = uuid4().hex
    answer = client.post(f"/probes/{probe}", params={"name": name})
    found = f"`{answer.status_code}`, {stored(db, name)}"
    assert found == {"before": BEFORE, "after": AFTER}[side][probe]


def test_a_name_that_is_taken(side: str, client: TestClient) -> None:
    """The second shelf of a name."""
    name = uuid4().hex
    answers = [client.post("/probes/commits", params={"name": name}) for _ in range(2)]
    assert f"`{answers[1].status_code}`" == {"before": BEFORE, "after": AFTER}[side]["taken"]
