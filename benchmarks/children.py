"""Processes of the benchmark's own: started, watched and ended. Knows not what they do."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
GRACE = 5.0
"""Seconds that a process gets to end."""


class ChildFailed(Exception):
    """A process ended by itself; the message is the last line that it wrote."""


class Child:
    """Run a module of this package for as long as the block runs.

    Args:
        module: Its name in this package.
        arguments: What the module reads from its command line, as JSON.
        pass_fds: Open files that it inherits.
    """

    def __init__(self, module: str, *arguments: Any, pass_fds: tuple[int, ...] = ()) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *map(json.dumps, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            pass_fds=pass_fds,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def say(self, message: Any) -> None:
        """Send a line to the process.

        Raises:
            ChildFailed: it has ended.
        """
        assert self._process.stdin is not None  # noqa: S101
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except OSError:
            raise self._failed() from None

    def listen(self) -> Any:
        """Return the next line of the process.

        Raises:
            ChildFailed: it has ended.
        """
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        return json.loads(line)

    def _failed(self) -> ChildFailed:
        self._process.wait(GRACE)
        self._log.seek(0)
        # Below the error, uvicorn says no more than that the start failed.
        lines = [line.strip() for line in self._log if line.strip() and "ERROR: " not in line[:7]]
        return ChildFailed(lines[-1] if lines else f"exit code {self._process.returncode}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A server with a thousand open streams would end slowly, and has nothing to lose.
        self._process.kill()
        self._process.communicate()
        self._log.close()


class InChild:
    """What runs in a ``Child``: the block begins when that has said that it is ready."""

    _child: Child

    def _heard(self) -> Any:
        return self._child.listen()

    def __enter__(self) -> Self:
        self._child.__enter__()
        try:
            self._heard()
        except BaseException:
            self._child.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)


class Worker(InChild):
    """A child that answers each message, with a value or with the reason why there is none."""

    def ask(self, *message: Any) -> Any:
        """Return what the child answers.

        Raises:
            ChildFailed: it has ended, or has no value.
        """
        self._child.say(message)
        return self._heard()

    def _heard(self) -> Any:
        value, error = self._child.listen()
        if error is not None:
            raise ChildFailed(error)
        return value


def arguments() -> list[Any]:
    """Return what the parent gave, in the process of a ``Child``."""
    return [json.loads(argument) for argument in sys.argv[1:]]


def answer(message: Any) -> None:
    """Send a line to the parent, in the process of a ``Child``."""
    print(json.dumps(message), file=_TO_PARENT, flush=True)


_TO_PARENT = sys.stdout


async def attempt(work: Awaitable[Any]) -> None:
    """Send the value of the work to the parent of a ``Worker``, or the reason why there is none."""
    try:
        value = await work
    except Exception as error:
        answer([None, f"{type(error).__name__}: {error}".partition("\n")[0]])
    else:
        answer([value, None])


async def answer_messages(work: Callable[..., Awaitable[Any]]) -> None:
    """Do what the parent of a ``Worker`` says, until it ends the process."""
    # An event loop with a timer costs a little more, and uvicorn's always has one.
    asyncio.get_running_loop().call_later(3600, lambda: None)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await attempt(work(*json.loads(line)))


def keep_output() -> None:
    """Keep the pipe to the parent free of what the libraries of an application print."""
    sys.stdout = sys.stderr


def end_with_parent() -> None:
    """End this process when the parent has ended, which closes the pipe."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
