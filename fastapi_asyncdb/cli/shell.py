"""The command ``shell``: an interpreter with the models and a session, in which ``await`` works."""

from __future__ import annotations

import ast
import asyncio
import code
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from importlib import import_module
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.ping import describe
from fastapi_asyncdb.cli.project import load_config, load_database, load_settings

if TYPE_CHECKING:
    from fastapi_asyncdb.database import Database
    from fastapi_asyncdb.migrations import MigrationConfig

Run = Callable[[Any], Any]
"""Runs a coroutine to its end."""


def shell(
    context: typer.Context,
    command: Annotated[
        str | None, typer.Option("--command", "-c", metavar="CODE", help="Run this and stop.")
    ] = None,
) -> None:
    """Open an interpreter with the models and a session; await works in it.

    IPython's, if it is installed. At the end the session is rolled back: await session.commit() stores.
    """
    config = load_config(context)
    database = load_database(config)
    names = _names(config)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        names |= runner.run(_open(stack, database))
        try:
            _interact(
                names, runner.run, command, f"{describe(load_settings(config))}: {_list(names)}"
            )
        finally:
            runner.run(_close(stack, names["session"]))


async def _open(stack: AsyncExitStack, database: Database[Any]) -> dict[str, Any]:
    await stack.enter_async_context(database)
    session = await stack.enter_async_context(database.session())
    return {"database": database, "session": session}


async def _close(stack: AsyncExitStack, session: Any) -> None:
    try:
        await session.rollback()
    finally:
        await stack.aclose()


def _names(config: MigrationConfig) -> dict[str, Any]:
    """Return what the interpreter knows: the models, and what selects them."""
    import sqlalchemy

    tables = {id(each) for each in config.load_metadata()}
    models = {model.__name__: model for model in _models() if id(model.metadata) in tables}
    return {"select": sqlalchemy.select, "text": sqlalchemy.text, **models}


def _models() -> Iterator[Any]:
    """Yield the mapped classes of the modules that are imported."""
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, type) and "__mapper__" in value.__dict__:
                yield value


def _list(names: dict[str, Any]) -> str:
    return ", ".join(sorted(names))


def _interact(names: dict[str, Any], run: Run, command: str | None, banner: str) -> None:
    console = _Console(names, run)
    if command is not None:
        console.run(console.compile.compiler(command, "<command>", "exec"))
    elif not _interact_with_ipython(names, run, banner):
        console.interact(banner, exitmsg="")


class _Console(code.InteractiveConsole):
    """Python's own interpreter, in which ``await`` works, as in ``python -m asyncio``."""

    def __init__(self, names: dict[str, Any], run: Run) -> None:
        super().__init__(names)
        self._run = run
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def run(self, program: CodeType) -> None:
        """Run a program; its errors are the caller's."""
        result = FunctionType(program, self.locals)()
        if inspect.iscoroutine(result):
            self._run(result)

    def runcode(self, code: CodeType) -> None:
        """Run what was typed; show its errors."""
        try:
            self.run(code)
        except SystemExit:
            raise
        except BaseException:
            self.showtraceback()


def _interact_with_ipython(names: dict[str, Any], run: Run, banner: str) -> bool:
    """Return whether there are a terminal and IPython; it has run."""
    if not sys.stdin.isatty():
        return False
    try:
        embed: Any = import_module("IPython.terminal.embed")
    except ImportError:
        return False
    shell = embed.InteractiveShellEmbed(
        user_ns=names, banner1=f"{banner}\n", default_user_namespaces=False
    )
    shell.autoawait = True
    shell.loop_runner = run
    shell.mainloop()
    return True
