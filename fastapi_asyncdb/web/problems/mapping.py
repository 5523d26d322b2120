"""The problem of an error, in the words that the application has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi.exceptions import RequestValidationError
from sqlalchemy import MetaData

from fastapi_asyncdb.client_errors import not_found
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.dialects import Rejection
from fastapi_asyncdb.errors import InvalidCursor, NotFoundError
from fastapi_asyncdb.models import Base
from fastapi_asyncdb.web.problems.classification import classify
from fastapi_asyncdb.web.problems.constraints import complete
from fastapi_asyncdb.web.problems.kinds import TYPE_BASE, Kind
from fastapi_asyncdb.web.problems.problem import Problem
from fastapi_asyncdb.web.problems.validation import problem_of_request


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A problem, and what the log says of its error."""

    problem: Problem
    kind: str
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class ProblemMapping:
    """Makes problems; the fields are the arguments of ``install_error_handlers``."""

    constraints: Mapping[str, str | Problem] = field(default_factory=dict)
    metadata: MetaData | None = None
    type_base: str = TYPE_BASE

    def of(self, error: BaseException) -> Diagnosed | None:
        """Return the problem of an error; ``None`` if it is no error of a database or a request."""
        if isinstance(error, RequestValidationError) and not isinstance(error, InvalidCursor):
            return Diagnosed(problem_of_request(error, self.type_base), "invalid-request")
        kind, rejection = classify(error)
        if kind is None:
            return None
        if rejection is None:
            problem = kind.problem(self.type_base, detail=_detail(error))
            return Diagnosed(problem, kind.name)
        rejection = complete(rejection, self._metadata())
        return Diagnosed(self._of_rejection(kind, rejection), kind.name, rejection)

    def _of_rejection(self, kind: Kind, rejection: Rejection) -> Problem:
        """Return the application's own problem for the constraint, or the kind's."""
        own = self.constraints.get(rejection.constraint or "")
        if isinstance(own, Problem):
            return own
        return kind.problem(
            self.type_base,
            detail=own,
            constraint=rejection.constraint,
            columns=list(rejection.columns),
        )

    def _metadata(self) -> MetaData:
        return self.metadata or default_database.metadata or Base.metadata


def _detail(error: BaseException) -> str | None:
    return not_found(error.model) if isinstance(error, NotFoundError) else None


def problem_of(error: BaseException) -> Problem | None:
    """Return the problem of an error, for an application that answers in its own way.

    Args:
        error: Any exception.

    Returns:
        The problem as ``install_error_handlers`` would answer it by default, without an ``instance``;
        ``None`` if the error is neither of SQLAlchemy, nor of this library, nor a
        ``RequestValidationError``.
    """
    found = ProblemMapping().of(error)
    return None if found is None else found.problem
