"""Messages of the library's errors: each ends with its page, and the page explains the class."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from sqlalchemy.exc import DBAPIError
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from fastapi_asyncdb import errors
from fastapi_asyncdb.unavailable import answered

PAGE = (Path(__file__).parent.parent / "docs" / "errors.md").read_text()
PUBLIC = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type)
    and issubclass(value, errors.AsyncDBError)
    and not name.startswith("_")
}
WITH_DRIVER_ERROR = [cls for cls in PUBLIC.values() if issubclass(cls, DBAPIError)]
UNAVAILABLE = [
    errors.PoolTimeout,
    errors.TooManyWaiting,
    errors.CannotConnect,
    errors.DatabaseStopping,
]
HTTP = HTTPConnection({"type": "http"})
SOCKET = WebSocket({"type": "websocket"}, None, None)  # type: ignore[arg-type]


def make(cls: Any) -> errors.AsyncDBError:
    """Build an error with a message, and with a driver's error where the class has one."""
    error: errors.AsyncDBError = cls("The fact.", *([OSError("cut")] * (cls in WITH_DRIVER_ERROR)))
    return error


@pytest.mark.parametrize("cls", PUBLIC.values())
def test_each_class_has_a_section_with_its_anchor(cls: type[errors.AsyncDBError]):
    """The link at the end of a message leads to the section of the class."""
    anchor = cls.page.removeprefix("docs/errors.md#")
    section = re.search(rf'<a id="{anchor}"></a>\n\n### `(\w+)`\n', PAGE)
    assert section
    assert section[1] == cls.__name__


def test_each_anchor_belongs_to_a_class():
    """A class that is renamed is renamed on the page too."""
    anchors = re.findall(r'<a id="(.+)"></a>', PAGE)
    pages = [cls.page.removeprefix("docs/errors.md#") for cls in PUBLIC.values()]
    assert sorted(anchors) == sorted(pages)


@pytest.mark.parametrize("cls", PUBLIC.values())
def test_message_ends_with_the_page(cls: type[errors.AsyncDBError]):
    """str() appends the page; args and repr() have the message alone."""
    error = make(cls)
    assert str(error) == f"The fact. ({cls.page})"
    assert (error.args, repr(error)) == (("The fact.",), f"{cls.__name__}('The fact.')")


@pytest.mark.parametrize("cls", PUBLIC.values())
def test_pickling_keeps_an_error_as_it_is(cls: type[errors.AsyncDBError]):
    """A process pool or a task queue sends errors to another process."""
    error = make(cls)
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.args) == (cls, str(error), error.args)
    assert copy.__notes__ == ["a note"]
    if isinstance(error, DBAPIError):
        assert copy.connection_invalidated is error.connection_invalidated
        assert str(copy.orig) == "cut"


def test_pickling_keeps_the_transaction_id():
    """The process that handles the error can look up the outcome."""
    error = errors.CommitOutcomeUnknown("The fact.", OSError("cut"), transaction_id=7)
    assert pickle.loads(pickle.dumps(error)).transaction_id == 7


@pytest.mark.parametrize("connection", [HTTP, SOCKET], ids=["request", "socket"])
@pytest.mark.parametrize("cls", UNAVAILABLE)
def test_answered_error_has_the_page_once_and_the_client_none_of_it(
    cls: type[errors.AsyncDBError], connection: HTTPConnection
):
    """The log has the message with its page; the client's detail is the same for all causes."""
    error = answered(make(cls), connection)  # type: ignore[arg-type]
    assert isinstance(error, cls)
    assert str(error) == f"The fact. ({cls.page})"
    told = error.detail if isinstance(error, HTTPException) else vars(error)["reason"]
    assert "docs/" not in told
    assert "fact" not in told


def test_subclass_elsewhere_keeps_the_page_of_its_base():
    """A class of an application, or a private one, has no section of its own."""

    class QueueFull(errors.TooManyWaiting):
        """An application's own."""

    assert QueueFull.page == errors.TooManyWaiting.page
    assert str(QueueFull("Busy.")) == "Busy. (docs/errors.md#too-many-waiting)"


def test_error_without_a_message_is_its_page():
    """No text, no parentheses."""
    assert str(errors.SessionClosed()) == "docs/errors.md#session-closed"
