"""The managed session has each method of the installed SQLAlchemy, and knows how it is used."""

import inspect

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.session.managed import DELEGATING, ManagedSession

ENDINGS = {"close", "commit", "invalidate", "reset", "rollback"}


def coroutines(session_class: type[AsyncSession]) -> set[str]:
    """Return the public methods of a class that have to be awaited, its bases not included."""
    return {
        name
        for name, method in vars(session_class).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }


def test_each_coroutine_takes_the_sessions_turn_or_ends_its_transaction():
    """One that SQLAlchemy adds is derived; one that only calls another is named as such."""
    assert coroutines(ManagedSession) == coroutines(AsyncSession) - DELEGATING


def test_endings_are_written_out():
    """They commit, roll back or close, which runs to its end although the caller is cancelled."""
    assert coroutines(AsyncSession) >= ENDINGS
    own = {name: inspect.getsource(vars(ManagedSession)[name]) for name in ENDINGS}
    assert all("await end(" in source for source in own.values())


def test_methods_that_delegate_do_no_more():
    """Each calls another coroutine of the session, so that one turn is taken."""
    for name in DELEGATING:
        source = inspect.getsource(vars(AsyncSession)[name])
        assert "await self." in source
        assert "greenlet_spawn" not in source


def test_signatures_are_sqlalchemys():
    """A derived method has the parameters that the documentation of SQLAlchemy names."""
    for name in coroutines(ManagedSession) - ENDINGS - {"stream"}:
        assert inspect.signature(getattr(ManagedSession, name)) == inspect.signature(
            getattr(AsyncSession, name)
        )
