"""Answers of generated statements, against the objects that the same statements load."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter
from sqlalchemy import Select, desc, exists, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    aliased,
    contains_eager,
    defer,
    joinedload,
    load_only,
    selectinload,
    subqueryload,
    with_loader_criteria,
)

from fastapi_asyncdb import Page, PageQuery, answer, paginate, rows
from fastapi_asyncdb.errors import AsyncDBError
from tests.data.answers.forum import (
    Author,
    Base,
    Checked,
    Comment,
    Post,
    PostOut,
    Tag,
    TagOut,
    Title,
    fill,
)
from tests.data.one_loop import OneLoop, one_loop
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

Step = Callable[[Select[Any], Any], Select[Any]]
"""Gets a statement, and the class of posts or an alias of it."""


class Tagged(BaseModel):
    id: int
    tags: list[TagOut]


class CheckedPost(PostOut):
    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


ROWS: dict[str, Step] = {
    "where": lambda rows, post: rows.where(post.views > 5, post.id != 2),
    "to one": lambda rows, post: rows.join(post.author),
    "outer": lambda rows, post: rows.outerjoin(post.author).where(
        or_(Author.name == "Ada", Author.name == "Bob")
    ),
    "to many": lambda rows, post: rows.join(post.tags),
    "outer to many": lambda rows, post: rows.outerjoin(post.comments),
    "any": lambda rows, post: rows.where(post.tags.any(Tag.name == "web")),
    "has": lambda rows, post: rows.where(post.author.has(Author.name == "Ada")),
    "exists": lambda rows, post: rows.where(exists().where(Comment.post_id == post.id)),
    "in": lambda rows, post: rows.where(post.id.in_(select(Comment.post_id))),
    "distinct": lambda rows, post: rows.distinct(),
    "group": lambda rows, post: rows.group_by(post.id),
    "deleted": lambda rows, post: rows.execution_options(include_deleted=True),
    "lock": lambda rows, post: rows.with_for_update(),
}
LIMITS: dict[str, Step] = {
    "all": lambda rows, post: rows,
    "limit": lambda rows, post: rows.limit(2),
    "offset": lambda rows, post: rows.offset(1).limit(5),
}
OPTIONS: dict[str, Step] = {
    "selectin": lambda rows, post: rows.options(selectinload(post.tags)),
    "joined": lambda rows, post: rows.options(joinedload(post.comments)),
    "joined to one": lambda rows, post: rows.options(joinedload(post.author)),
    "subquery": lambda rows, post: rows.options(subqueryload(post.comments)),
    "inner": lambda rows, post: rows.options(joinedload(post.tags, innerjoin=True)),
    "narrowed": lambda rows, post: rows.options(
        selectinload(post.comments.and_(Comment.text == "nice"))
    ),
    "filled": lambda rows, post: rows.join(post.tags).options(contains_eager(post.tags)),
    "load only": lambda rows, post: rows.options(load_only(post.title)),
    "defer": lambda rows, post: rows.options(defer(post.body)),
    "criteria": lambda rows, post: rows.options(with_loader_criteria(Tag, Tag.name == "web")),
    "criteria of aliases": lambda rows, post: rows.options(
        with_loader_criteria(Comment, lambda cls: cls.id > 1, include_aliases=True)
    ),
}
ORDERS: list[Step] = [
    lambda rows, post: rows.order_by(post.id),
    lambda rows, post: rows.order_by(post.views.desc(), post.id),
    lambda rows, post: rows.order_by("title", post.id),
    lambda rows, post: rows.order_by(desc("views"), post.id),
    lambda rows, post: rows.order_by(func.lower(post.title), post.id),
]
ENTITIES: list[Callable[[], Any]] = [
    lambda: Post,
    lambda: aliased(Post),
    lambda: aliased(Post, select(Post).where(Post.id < 9).subquery()),
]
SCHEMAS: list[Any] = [PostOut, CheckedPost, Tagged, Title, Checked]


@pytest.fixture
def loop(database_url: str) -> Iterator[OneLoop]:
    """A database with three posts."""
    with one_loop(database_url, Base.metadata) as loop:
        loop.runner.run(fill(loop.database))
        yield loop


def loading(post: Any, schema: Any) -> Sequence[Any]:
    """Return what loads the relationships of a schema, where the statement does not."""
    options: list[Any] = []
    if schema not in (Title, Checked):
        options.append(selectinload(post.tags))
    if issubclass(schema, PostOut):
        options.append(selectinload(post.author))
        options.append(selectinload(post.comments).selectinload(Comment.author))
    for option in options:
        for element in option.context:
            element._reconcile_to_other = True
    return options


async def result(session: AsyncSession, work: Callable[[], Any]) -> Any:
    """Return the result of a function in a session without objects; ``None`` of one that fails."""
    try:
        return await work()
    except (SQLAlchemyError, AsyncDBError, TypeError):
        await session.rollback()
        return None
    finally:
        session.expunge_all()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    entity=st.sampled_from(ENTITIES),
    row=st.lists(st.sampled_from(sorted(ROWS)), max_size=3, unique=True),
    option=st.lists(st.sampled_from(sorted(OPTIONS)), max_size=2, unique=True),
    order=st.sampled_from(ORDERS),
    limit=st.sampled_from(sorted(LIMITS)),
    schema=st.sampled_from(SCHEMAS),
)
def test_answers_are_those_of_the_objects(
    loop: OneLoop,
    entity: Callable[[], Any],
    row: list[str],
    option: list[str],
    order: Step,
    limit: str,
    schema: Any,
):
    """Lists, pages and values, unless SQLAlchemy or the database refuses the statement."""
    post = entity()
    statement: Select[Any] = select(post)
    for step in (*(ROWS[name] for name in row), *(OPTIONS[name] for name in option), order):
        statement = step(statement, post)
    limited = LIMITS[limit](statement, post)
    options = loading(post, schema)
    adapter = TypeAdapter[Any](list[schema])

    def shown(items: Any) -> Any:
        return json.loads(adapter.dump_json(adapter.validate_python(items, from_attributes=True)))

    async def compare(session: AsyncSession) -> None:
        async def objects() -> Any:
            found = await session.execute(limited.options(*options))
            unique = found.unique() if found._unique_filter_state is not None else found
            return shown(unique.scalars().all())

        async def page_of_objects() -> Any:
            page = await paginate(session, statement.options(*options), PageQuery(limit=2))
            return {**page.model_dump(exclude={"items"}), "items": shown(page.items)}

        expected = await result(session, objects)
        if expected is not None:
            assert (
                json.loads(bytes((await answer(session, limited, list[schema])).body)) == expected
            )
            session.expunge_all()
            assert shown(await rows(session, limited, schema)) == expected
            session.expunge_all()
        expected = await result(session, page_of_objects)
        if expected is not None:
            page = await answer(session, statement, Page[schema], page=PageQuery(limit=2))
            assert json.loads(bytes(page.body)) == expected
        await session.rollback()

    loop.write(compare)
