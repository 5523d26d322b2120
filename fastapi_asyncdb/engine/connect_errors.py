"""Connections that could not be made: a description of the cause, without the password."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine.interfaces import ExceptionContext

from fastapi_asyncdb.dialects import Diagnosis, ErrorStep, Preset, Target
from fastapi_asyncdb.dialects.base import NO_ANSWER
from fastapi_asyncdb.errors import CannotConnect
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
    cause = _innermost(error)
    words = " ".join(str(cause).split()).rstrip(".?! ") or f"{NO_ANSWER} within {seconds:g} s"
    password = target.url.password
    if password:
        words = words.replace(str(password), "***")
    return Failure(f"{type(cause).__name__}: {words}", preset.diagnose(error, target))


def connect_failures(target: Target, preset: Preset, seconds: float) -> ErrorStep:
    """Return the step that raises ``CannotConnect`` where a connection cannot be made.

    Args:
        target: Where to.
        preset: Knows the errors of the database.
        seconds: The time that the server has to answer.
    """

    def explain(context: ExceptionContext) -> BaseException | None:
        # With a connection it is a statement that failed, or a COMMIT.
        if context.connection is not None or context.sqlalchemy_exception is None:
            return None
        error = context.original_exception
        failure = failure_of(error, target, preset, seconds)
        forget_locals(error)
        return CannotConnect(f"Cannot connect to {target.url!r}: {failure}", error)

    return explain


def _innermost(error: BaseException) -> BaseException:
    """Follow the causes of an error, except for the cancellation behind a timeout.

    Not its context, which may be the end of an older connection. Where the time was up, the preset's
    words are better than the driver's.
    """
    while isinstance(cause := getattr(error, "orig", None) or error.__cause__, Exception):
        if str(error).startswith(NO_ANSWER):
            break
        error = cause
    return error
