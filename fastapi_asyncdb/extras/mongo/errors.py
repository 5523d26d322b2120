"""PyMongo's errors as those of the library. Pure: looks at an error, and raises nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from fastapi_asyncdb.errors import (
    AsyncDBError,
    CannotConnect,
    DatabaseUnavailable,
    DuplicateKey,
    InvalidValue,
    OperationTimeout,
    PoolTimeout,
    TransactionConflict,
    TransactionsNotSupported,
)
from fastapi_asyncdb.tracebacks import forget_locals

TRANSIENT = "TransientTransactionError"
UNKNOWN_COMMIT = "UnknownTransactionCommitResult"
# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_DUPLICATE = (11000, 11001, 12582)
_REJECTED = (2, 52, 54, 57, 121, 10334, 17280, 17419)
"""Bad values, names of fields, documents that are too large or that a validator refuses."""
_AUTHENTICATION = (18,)
MAX_TIME = 50
_NO_TRANSACTIONS = (20, 263)
_AWAY = (91, 189, 10107, 11600, 11602, 13435, 13436)
"""The server shuts down, or is no primary any more."""
_INDEX = re.compile(r"index: (\S+) dup key")


class _Duplicate(DuplicateKey, DuplicateKeyError):
    """Also what code that knows PyMongo catches."""

    def __init__(self, message: str, error: PyMongoError, details: Mapping[str, Any]) -> None:
        DuplicateKeyError.__init__(self, message, 11000, details)
        found = _INDEX.search(str(details.get("errmsg", "")))
        self.args = (message,)
        self.index = found[1] if found else None
        self.fields = tuple(details.get("keyPattern") or ())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], None, self.details or {}), self.__dict__


class _Lost(DatabaseUnavailable, AutoReconnect):
    """The connection was lost, or the server has stepped down, before there was an answer."""


class _LostInTransaction(_Lost, TransactionConflict):
    """The same before the commit: nothing was stored, so the transaction may be repeated."""


def explained(error: BaseException) -> BaseException:
    """Return the error of the library for one of PyMongo's; any other error as it is."""
    if not isinstance(error, PyMongoError | InvalidDocument) or isinstance(error, AsyncDBError):
        return error
    if isinstance(error, ConnectionFailure | OperationFailure):
        forget_locals(error)  # a credential is in the frames of a handshake
    for cls, explain in _EXPLANATIONS:
        if isinstance(error, cls):
            return explain(error)
    return error


def _document_error(error: Exception) -> AsyncDBError:
    return InvalidValue(
        f"MongoDB cannot store a document ({type(error).__name__}): it is larger than 16 MB, or "
        "has a value of a type that BSON does not have. Limit the sizes in the Pydantic model."
    )


def _configuration_error(error: ConfigurationError) -> Exception:
    return no_transactions() if "essions are not" in str(error) else error


def _connection_error(error: ConnectionFailure) -> AsyncDBError:
    reason = reason_of(error)
    if isinstance(error, WaitQueueTimeoutError):
        return PoolTimeout(
            f"No connection to MongoDB became free in time: {reason}. All MONGO_POOL_SIZE "
            "connections are in use. Look for slow operations before you raise the limit."
        )
    if isinstance(error, ServerSelectionTimeoutError):
        return CannotConnect(
            f"No MongoDB server could be reached, so nothing was sent: {reason}. The server is "
            "down, an election is under way, or the network is cut. Requests succeed again when "
            "it is back.",
            error,
        )
    lost = _LostInTransaction if error.has_error_label(TRANSIENT) else _Lost
    return lost(
        f"The connection to MongoDB was lost before there was an answer: {reason}. The server or "
        "the network failed at that moment. Outside of a transaction a write may be stored: look "
        "before you repeat it."
    )


def _bulk_error(error: BulkWriteError) -> Exception:
    details = error.details or {}
    first: Mapping[str, Any] = next(
        iter(details.get("writeErrors") or details.get("writeConcernErrors") or ()), {}
    )
    return _server_error(
        error, first.get("code"), {**first, "errorLabels": details.get("errorLabels")}
    )


def _server_error(
    error: OperationFailure, code: int | None, details: Mapping[str, Any]
) -> Exception:
    if code in _DUPLICATE:
        message = (
            "A document with the same values exists already, and a unique index allows them once. "
            "Another request was first. Answer 409, or change the stored document: "
            "repository.upsert()."
        )
        return _Duplicate(message, error, details)
    if error.has_error_label(TRANSIENT):
        return TransactionConflict(
            f"MongoDB has ended the transaction (code {code}), most likely because another one changes "
            "the same documents; nothing was stored. Run it again: mongo.run_in_transaction() does, and "
            "RetryRoute for a request."
        )
    if code in _NO_TRANSACTIONS and "ransaction" in str(error):
        return no_transactions()
    if code == MAX_TIME or isinstance(error, ExecutionTimeout):
        return OperationTimeout(
            "MongoDB has ended an operation that took longer than its limit, "
            "MONGO_OPERATION_TIMEOUT by default. An index is missing, or it reads too many "
            "documents."
        )
    if code in _REJECTED:
        return InvalidValue(
            f"MongoDB refuses a value or a document (code {code}): it is too large, has the wrong "
            "form, or a validator of the collection refuses it. Limit the values in the Pydantic "
            "model."
        )
    if code in _AUTHENTICATION:
        return CannotConnect(
            "MongoDB refuses the user or the password. Correct MONGO_URL, and authSource in it.",
            error,
        )
    if code in _AWAY:
        return _Lost(
            f"MongoDB has stepped down or shuts down (code {code}). Try again in a moment."
        )
    return error


def no_transactions() -> TransactionsNotSupported:
    """Return the error of a transaction on a server that has none."""
    return TransactionsNotSupported(
        "MongoDB has no transactions here: the server is a standalone one, and only members of a "
        "replica set, and mongos, have them. Start it with 'mongod --replSet rs0' and run "
        "rs.initiate() once in mongosh, which also works with a single server; or use Mongo "
        "instead of MongoTransaction, and let each operation stand alone."
    )


def reason_of(error: BaseException) -> str:
    """Return the text of an error of the driver in one line, without the description of the topology."""
    text = str(error).partition(", Timeout:")[0].partition(", full error:")[0]
    return " ".join(text.split()).rstrip(".") or type(error).__name__


_EXPLANATIONS: tuple[tuple[type[Exception], Callable[[Any], Exception]], ...] = (
    (InvalidDocument, _document_error),
    (DocumentTooLarge, _document_error),
    (ConnectionFailure, _connection_error),
    (BulkWriteError, _bulk_error),
    (OperationFailure, lambda error: _server_error(error, error.code, error.details or {})),
    (ConfigurationError, _configuration_error),
)
