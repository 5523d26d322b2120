"""Connections that could not be made: a description of the cause, without the password."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine.interfaces import ExceptionContext

from fastapi_asyncdb.dialects import Diagnosis, ErrorStep, Preset, Target
from fastapi_asyncdb.dialects.base import NO_ANSWER
from fastapi_asyncdb.errors import CannotConnect
from fastapi_asyncdb.pool.server_limit import Refusal
from fastapi_asyncdb.tracebacks import forget_locals


@dataclass(frozen=True, slots=True)
class Failure:
    """The cause of one failed attempt, without the exception and its frames."""

    words: str
    diagnosis: Diagnosis

    def __str__(self) -> str:
        return f"{self.words}. {self.diagnosis.advice}."


def failure_of(error: BaseException, target: Target, preset: Preset, seconds: float) -> Failure:
    """Return the driver's words, below the errors that wrap it, and the preset's diagnosis.

    Args:
        error: Why there is no connection.
        target: Where to.
        preset: Knows the errors of the database.
        seconds: The time that the server had to answer.
    """
    cause = innermost(error)
    words = " ".join(str(cause).split()).rstrip(".?! ") or f"{NO_ANSWER} within {seconds:g} s"
    password = target.url.password
    if password:
        words = words.replace(str(password), "***")
    return Failure(f"{type(cause).__name__}: {words}", preset.diagnose(error, target))


def refusal_of(error: BaseException, target: Target, preset: Preset, seconds: float) -> Refusal:
    """Return why there is no connection, with the error to raise; the arguments are ``failure_of``'s."""
    failure = failure_of(error, target, preset, seconds)
    forget_locals(error)
    message = f"Cannot connect to {target.url!r}: {failure}"
    return Refusal(failure.words, CannotConnect(message, error), failure.diagnosis.full)


def connect_failures(explain: Callable[[BaseException], Refusal]) -> ErrorStep:
    """Return the step that raises ``CannotConnect`` where a connection cannot be made.

    Args:
        explain: Returns why there is no connection.
    """

    def step(context: ExceptionContext) -> BaseException | None:
        # With a connection it is a statement that failed, or a COMMIT.
        if context.connection is not None or context.sqlalchemy_exception is None:
            return None
        return explain(context.original_exception).error

    return step


def innermost(error: BaseException) -> BaseException:
    """Follow the causes of an error, except for the cancellation behind a timeout.

    Not its context, which may be the end of an older connection. Where the time was up, the preset's
    words are better than the driver's.
    """
    while isinstance(cause := getattr(error, "orig", None) or error.__cause__, Exception):
        if str(error).startswith(NO_ANSWER):
            break
        error = cause
    return error
