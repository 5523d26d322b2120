"""A password as text: it reaches who asks for text, and shows in no representation."""

import pickle

from pydantic import SecretStr

from fastapi_asyncdb.dialects import parse_url
from tests.support.leaks import PASSWORD, leaks


def test_password_of_a_target_is_text_for_those_who_need_it():
    """SQLAlchemy's URL renders it, compares it, and takes it through pickle, as any other."""
    url = parse_url(SecretStr(f"postgresql://u:{PASSWORD}@db/app")).url
    assert url.password == PASSWORD
    assert f":{PASSWORD}@" in url.render_as_string(hide_password=False)
    assert pickle.loads(pickle.dumps(url)) == url


def test_password_of_a_target_is_in_no_representation():
    """Nor in a part of it: loggers go into tuples, and shorten what is long."""
    target = parse_url(SecretStr(f"postgresql://u:{PASSWORD}@db/app?sslpassword={PASSWORD}"))
    assert not leaks(raised(target, tuple(target.url)))
    password = target.url.password
    assert repr(password) == repr(str(password)) == repr((password or "")[:3]) == "'***'"


def raised(*arguments: object) -> Exception:
    """Return an error with the arguments in a frame, and in itself."""
    try:
        raise ValueError(arguments)
    except ValueError as error:
        return error
