"""Pages by offset, and what both kinds have in common: statements, joins, counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from pydantic.dataclasses import dataclass
from sqlalchemy import (
    ForeignKey,
    ForeignKeyConstraint,
    MetaData,
    Select,
    String,
    and_,
    desc,
    event,
    func,
    literal,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    contains_eager,
    defer,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    paginate,
    paginate_cursor,
)
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing import count_queries
from tests.support.databases import ONE_DRIVER


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Team(Base):
    __tablename__ = "paged_team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class User(Base):
    __tablename__ = "paged_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))
    team: Mapped[Team | None] = relationship()
    posts: Mapped[list[Post]] = relationship(back_populates="user")


class Post(Base):
    __tablename__ = "paged_post"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    user: Mapped[User] = relationship(back_populates="posts")


class Part(Base):
    """Two columns are its key."""

    __tablename__ = "paged_part"
    machine: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    wears: Mapped[list[Wear]] = relationship()


class Wear(Base):
    __tablename__ = "paged_wear"
    id: Mapped[int] = mapped_column(primary_key=True)
    machine: Mapped[int]
    number: Mapped[int]
    __table_args__ = (ForeignKeyConstraint(["machine", "number"], [Part.machine, Part.number]),)


class UserOut(BaseModel):
    id: int
    name: str


class PostRow(BaseModel):
    id: int
    title: str


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A reading session: teams 1 and 2, users 1 to 9 with 0 to 2 posts, parts with two wears each."""
    async with database.session() as writer:
        teams = [Team(id=number, name=f"team {number}") for number in (1, 2)]
        writer.add_all(teams)
        for number in range(1, 10):
            posts = [Post(title=f"{number}-{post}") for post in range(number % 3)]
            team = teams[number % 2] if number < 9 else None
            name = "abc"[number % 3]
            writer.add(User(id=number, name=name, email=f"e{10 - number}", team=team, posts=posts))
        writer.add_all(Part(machine=n // 3, number=n % 3, wears=[Wear(), Wear()]) for n in range(6))
    async with database.read_session() as session:
        yield session


async def walk(session: AsyncSession, statement: Select[Any], limit: int = 2) -> list[Any]:
    """Return the items of all pages, by offset and by cursor, both ways: they are the same."""
    by_offset: list[Any] = []
    while True:
        page = await paginate(session, statement, PageQuery(len(by_offset), limit))
        by_offset += page.items
        if not page.has_more:
            break
    assert page.total == len(by_offset)
    step = await paginate_cursor(session, statement, CursorQuery(limit=limit))
    there = list(step.items)
    while step.next_cursor:
        step = await paginate_cursor(session, statement, CursorQuery(step.next_cursor, limit))
        there += step.items
    back = list(step.items)
    while step.previous_cursor:
        step = await paginate_cursor(session, statement, CursorQuery(step.previous_cursor, limit))
        back = [*step.items, *back]
    assert there == back == by_offset
    return by_offset


class Visible:
    """Criteria that an event adds to each ORM statement, as a soft delete does."""

    @staticmethod
    def add(state: Any) -> None:
        """Leave out the user 1."""
        if state.is_select and state.is_orm_statement:
            state.statement = state.statement.options(
                with_loader_criteria(User, lambda cls: cls.id != 1, include_aliases=True)
            )


# The page itself


async def test_a_page_says_where_it_is(session: AsyncSession):
    """Items, total, offset, limit, and whether there is more."""
    page = await paginate(session, select(User).order_by(User.id), PageQuery(2, 3))
    assert [user.id for user in page.items] == [3, 4, 5]
    assert (page.total, page.offset, page.limit, page.has_more) == (9, 2, 3, True)
    page = await paginate(session, select(User), PageQuery(6, 3))
    assert (len(page.items), page.total, page.has_more) == (3, 9, False)
    page = await paginate(session, select(User), PageQuery(50, 3))
    assert (page.items, page.total, page.has_more) == ([], 9, False)


async def test_to_validates_the_items(session: AsyncSession):
    """The result is exactly a Page of the schema, which FastAPI returns as it is."""
    page = (await paginate(session, select(User).order_by(User.id), PageQuery(limit=2))).to(UserOut)
    assert type(page) is Page[UserOut]
    assert page.items == [UserOut(id=1, name="b"), UserOut(id=2, name="c")]
    rows = select(Post.id, Post.title).order_by(Post.id)
    step = (await paginate_cursor(session, rows, CursorQuery(limit=1))).to(PostRow)
    assert type(step) is CursorPage[PostRow]
    assert step.items == [PostRow(id=1, title="1-0")]
    names = (await paginate(session, select(User.name).order_by(User.id), PageQuery(limit=2))).to(
        str
    )
    assert names.items == ["b", "c"]


async def test_queries_have_bounds_and_subclasses_have_others():
    """A limit that a client sends cannot grow without bound."""
    for bad in ({"limit": 101}, {"limit": 0}, {"offset": -1}, {"offset": 2**31}):
        with pytest.raises(ValidationError):
            PageQuery(**bad)
    for wrong in (101, 0):
        with pytest.raises(ValidationError):
            CursorQuery(limit=wrong)
    with pytest.raises(ValidationError):
        CursorQuery("A" * 5000)

    @dataclass(frozen=True)
    class Wide(PageQuery):
        limit: Annotated[int, Field(ge=1, le=500)] = 50

    assert Wide().limit == 50
    assert Wide(limit=500).offset == 0
    with pytest.raises(ValidationError):
        Wide(limit=501)


# Statements


SELECTS: list[tuple[Any, list[Any]]] = [
    (select(User.id), list(range(1, 10))),
    (select(User.id).order_by(User.id.desc()), list(range(9, 0, -1))),
    (select(User.name).order_by(User.name), list("aaabbbccc")),
    (select(User.name).distinct(), list("abc")),
    (select(User.name).distinct().order_by(User.name.desc()), list("cba")),
    (select(User.id).order_by(User.email), list(range(9, 0, -1))),
    (select(User.id).order_by("id"), list(range(1, 10))),
    (select(User.id.label("page_total")).order_by(desc("page_total")), list(range(9, 0, -1))),
    (
        select(User.id).order_by(User.team_id.nulls_first(), User.id),
        [9, 2, 4, 6, 8, 1, 3, 5, 7],
    ),
    (select(User.id).join(Team).order_by(Team.name.desc()), [1, 3, 5, 7, 2, 4, 6, 8]),
    (
        select(User.id).outerjoin(User.team).order_by(Team.name.desc().nulls_last()),
        [1, 3, 5, 7, 2, 4, 6, 8, 9],
    ),
    (select(User.name, func.count()).group_by(User.name), [("a", 3), ("b", 3), ("c", 3)]),
    (
        select(User.name, func.count(Post.id).label("posts"))
        .outerjoin(Post)
        .group_by(User.name)
        .having(func.count(Post.id) < 6)
        .order_by(desc("posts")),
        [("b", 3), ("a", 0)],
    ),
    (
        select(Post.title, User.name).join(User).order_by(User.name.desc(), Post.title.desc()),
        [
            ("8-1", "c"),
            ("8-0", "c"),
            ("5-1", "c"),
            ("5-0", "c"),
            ("2-1", "c"),
            ("2-0", "c"),
            ("7-0", "b"),
            ("4-0", "b"),
            ("1-0", "b"),
        ],
    ),
    (
        select(Post.title, User.name, Team.name)
        .join(Post.user)
        .join(User.team)
        .where(Post.title < "3"),
        [("1-0", "b", "team 2"), ("2-0", "c", "team 1"), ("2-1", "c", "team 1")],
    ),
    (
        select(User.id, Team.id).select_from(Post).join(User).join(Team).order_by(User.email),
        [(8, 1), (8, 1), (7, 2), (5, 2), (5, 2), (4, 1), (2, 1), (2, 1), (1, 2)],
    ),
    (select(User.id, literal(1)).where(User.id < 3), [(1, 1), (2, 1)]),
    (select(Part.number).order_by(Part.number.desc()), [2, 2, 1, 1, 0, 0]),
    (select(Team.__table__), [(1, "team 1"), (2, "team 2")]),
    (select(User.id).where(User.id < 0), []),
    (select(User.id).where(User.team_id == Team.id, Team.id == 1), [2, 4, 6, 8]),
]


async def test_any_select_has_pages(session: AsyncSession):
    """Scalars, rows, joins, groups: the pages together are the whole result, each row once."""
    for statement, expected in SELECTS:
        rows = bool(expected) and isinstance(expected[0], tuple)
        found = await walk(session, statement)
        assert [tuple(item) if rows else item for item in found] == expected, str(statement)


async def test_rows_have_the_names_that_were_selected(session: AsyncSession):
    """The keys of the ordering are not among them."""
    statement = select(User.name, User.id.label("number")).order_by(User.email)
    page = await paginate_cursor(session, statement, CursorQuery(limit=1))
    [row] = page.items
    assert (row.name, row.number) == ("a", 9)
    assert row._fields == ("name", "number")


async def test_unions_are_paged_as_subqueries(session: AsyncSession):
    """The error for a union says how."""
    union = union_all(select(User.id, User.name), select(Team.id, Team.name))
    with pytest.raises(TypeError, match=r"union.subquery\(\)"):
        await paginate(session, union, PageQuery())  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="TextClause"):
        await paginate_cursor(session, text("SELECT 1"), CursorQuery())  # type: ignore[call-overload]
    rows = union.subquery()
    assert len(await walk(session, select(rows).order_by(rows.c.name))) == 11
    subquery = select(User).where(User.id > 5).limit(3).order_by(User.id).subquery()
    user = aliased(User, subquery)
    found = await walk(session, select(user).order_by(user.name))
    assert [each.id for each in found] == [6, 7, 8]


async def test_a_limit_of_its_own_is_refused(session: AsyncSession):
    """The page sets it; another one would be lost."""
    for statement in (select(User).limit(5), select(User).offset(5)):
        with pytest.raises(ConfigurationError, match="LIMIT or OFFSET"):
            await paginate(session, statement, PageQuery())


async def test_distinct_by_what_is_not_selected_is_refused(session: AsyncSession):
    """Rows with the same values would have several places."""
    statement = select(User.name).distinct().order_by(User.email)
    with pytest.raises(ConfigurationError, match="DISTINCT"):
        await paginate_cursor(session, statement, CursorQuery())


async def test_statements_are_left_as_they_are(session: AsyncSession):
    """The same statement may be paged again, or run without a page."""
    statement = select(User).options(selectinload(User.posts)).order_by(User.name)
    before = str(statement)
    await walk(session, statement)
    assert str(statement) == before
    assert len((await session.scalars(statement)).all()) == 9


async def test_key_values_are_those_of_the_rows(database: Database, session: AsyncSession):
    """An object in the session may have other values than its row by now."""
    user = await session.get_one(User, 3)
    async with database.session() as writer:
        await writer.execute(update(User).where(User.id == 3).values(name="aa"))
    statement = select(User).order_by(User.name)
    assert [each.id for each in await walk(session, statement, 1)] == [6, 9, 3, 1, 4, 7, 2, 5, 8]
    assert user.name == "a"


# Joins


AUTHORS = select(User.id, User.email).join(User.posts).subquery()
"""Repeats the keys of users."""
ENTITIES: list[tuple[Select[Any], list[int]]] = [
    (select(User).join(User.posts), [1, 2, 4, 5, 7, 8]),
    (select(User).join(Post, Post.user_id == User.id), [1, 2, 4, 5, 7, 8]),
    (select(User).join(User.posts).options(contains_eager(User.posts)), [1, 2, 4, 5, 7, 8]),
    (
        select(User).outerjoin(User.posts).options(contains_eager(User.posts)),
        list(range(1, 10)),
    ),
    (select(User).join(User.posts).order_by(Post.title.desc()), [8, 7, 5, 4, 2, 1]),
    (
        select(User).outerjoin(User.posts).order_by(Post.title.desc().nulls_last()),
        [8, 7, 5, 4, 2, 1, 3, 6, 9],
    ),
    (select(User).join(User.posts).order_by(User.name.desc(), Post.title), [2, 5, 8, 1, 4, 7]),
    (select(User).where(User.id == Post.user_id).order_by(User.email), [8, 7, 5, 4, 2, 1]),
    (select(User).join(User.posts).where(Post.title.like("%-1")), [2, 5, 8]),
    (
        select(User).join(User.posts).join(User.team).order_by(Team.name, User.id.desc()),
        [8, 4, 2, 7, 5, 1],
    ),
    (select(User).join(AUTHORS, AUTHORS.c.id == User.id), [1, 2, 4, 5, 7, 8]),
    (select(User).join(AUTHORS, AUTHORS.c.email == User.email), [1, 2, 4, 5, 7, 8]),
    (select(User).select_from(Post).join(Post.user), [1, 2, 4, 5, 7, 8]),
    (select(User).select_from(Post).join(Post.user).join(User.team), [1, 2, 4, 5, 7, 8]),
    (select(User).join(User.posts).distinct(), [1, 2, 4, 5, 7, 8]),
    (select(User).join(User.posts).group_by(User.id), [1, 2, 4, 5, 7, 8]),
    (select(User).options(joinedload(User.posts)).order_by(User.email), list(range(9, 0, -1))),
    (
        select(User).join(User.team).options(contains_eager(User.team)).order_by(Team.name),
        [2, 4, 6, 8, 1, 3, 5, 7],
    ),
]


async def test_entities_are_paged_once(session: AsyncSession):
    """A join along a collection has several rows for an entity; the page and the total have one."""
    for statement, expected in ENTITIES:
        found = [user.id for user in await walk(session, statement)]
        assert found == expected, str(statement)


async def test_collections_are_complete(session: AsyncSession):
    """A page cuts no collection, whichever way it is loaded."""
    for statement in (
        select(User).join(User.posts).options(contains_eager(User.posts)).order_by(User.id),
        select(User).where(User.id.in_([1, 2, 4])).options(joinedload(User.posts)),
        select(User).where(User.id.in_([1, 2, 4])).options(selectinload(User.posts)),
    ):
        session.expunge_all()
        page = await paginate(session, statement, PageQuery(limit=2))
        assert [sorted(post.title for post in user.posts) for user in page.items] == [
            ["1-0"],
            ["2-0", "2-1"],
        ]


async def test_rows_have_entities_with_their_collections(session: AsyncSession):
    """Joined loading is no join of the statement: it changes neither their order nor their number."""
    statement: Any = select(User, Team.name).join(User.team).options(joinedload(User.posts))
    found = await walk(session, statement.order_by(User.id))
    assert [(user.id, len(user.posts), name) for user, name in found] == [
        (number, number % 3, f"team {1 + number % 2}") for number in range(1, 9)
    ]


async def test_distinct_rows_are_ordered_by_the_keys_of_entities(session: AsyncSession):
    """A deferred column is not selected, so PostgreSQL would refuse to order distinct rows by it."""
    statement: Any = select(User, Team.id).join(User.team).distinct().options(defer(User.email))
    found = await walk(session, statement)
    assert [(user.id, team) for user, team in found] == [(n, 1 + n % 2) for n in range(1, 9)]


async def test_a_page_of_a_join_can_lock_its_rows(database: Database, session: AsyncSession):
    """Without OF too, where PostgreSQL would not lock the grouped rows of the page."""
    async with database.session() as writer:
        for lock in (select(User).with_for_update(), select(User).with_for_update(of=User)):
            assert len(await walk(writer, lock.join(User.posts).order_by(User.id))) == 6


async def test_composite_keys_are_paged_once(session: AsyncSession):
    """Both columns identify the entity."""
    found = await walk(session, select(Part).join(Part.wears).order_by(Part.number.desc()))
    assert [(part.machine, part.number) for part in found] == [
        (0, 2),
        (1, 2),
        (0, 1),
        (1, 1),
        (0, 0),
        (1, 0),
    ]


async def test_aliases_are_paged_once(session: AsyncSession):
    """An alias of a class is an entity too."""
    user = aliased(User)
    found = await walk(session, select(user).join(user.posts).order_by(user.email))
    assert [each.id for each in found] == [8, 7, 5, 4, 2, 1]


TO_ONE: list[Select[Any]] = [
    select(Post).join(Post.user),
    select(Post).join(User),
    select(Post).join(User, User.id == Post.user_id),
    select(Post).join(User, and_(Post.user_id == User.id, User.name == "c")),
    select(Post).join(Post.user).join(User.team),
    select(Post).join(Post.user).outerjoin(User.team),
    select(Post).join(User, literal("e1") == User.email),
    select(User).join(User.team).options(joinedload(User.posts)),
]


@pytest.mark.databases("sqlite")
async def test_joins_to_one_take_the_plain_way(database: Database, session: AsyncSession):
    """A join along a many-to-one relationship repeats nothing, and needs no subquery."""
    for statement in TO_ONE:
        with count_queries(database) as queries:
            await paginate(session, statement, PageQuery(limit=1))
            await paginate_cursor(session, statement, CursorQuery(limit=1))
        assert not [each for each in queries.statements if "GROUP BY" in each.sql], str(statement)


# Counts


@pytest.mark.databases("sqlite")
async def test_the_count_runs_neither_order_nor_loaders(database: Database, session: AsyncSession):
    """It selects nothing but the count, and keeps the conditions."""
    statement = (
        select(User)
        .where(User.id > 1)
        .order_by(User.name, func.lower(User.email))
        .options(joinedload(User.posts), selectinload(User.team))
    )
    with count_queries(database) as queries:
        page = await paginate(session, statement, PageQuery(limit=2))
    [count] = [query.sql for query in queries.statements if "count" in query.sql]
    assert "(SELECT count(*) AS count_1 FROM paged_user WHERE paged_user.id > ?) AS" in " ".join(
        count.split()
    )
    assert page.total == 8


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("query", "total", "number"),
    [
        (PageQuery(0, 3), "exact", 1),
        (PageQuery(0, 50), "exact", 1),
        (PageQuery(50, 3), "exact", 2),
        (PageQuery(0, 3), "estimated", 2),
        (PageQuery(0, 9), "estimated", 1),
        (PageQuery(0, 3), None, 1),
    ],
    ids=str,
)
async def test_the_total_costs_no_statement_of_its_own(
    database: Database, session: AsyncSession, query: PageQuery, total: Any, number: int
):
    """The statement of a page counts, unless it has no row. A page that is not full is not estimated."""
    with count_queries(database) as queries:
        page = await paginate(session, select(User), query, total=total)
    assert len(queries.statements) == number
    assert page.total == (None if total is None else 9)


async def test_no_total_knows_whether_there_is_more(session: AsyncSession):
    """One more row says so."""
    page = await paginate(session, select(User), PageQuery(0, 8), total=None)
    assert (len(page.items), page.total, page.has_more) == (8, None, True)
    page = await paginate(session, select(User), PageQuery(0, 9), total=None)
    assert (len(page.items), page.total, page.has_more) == (9, None, False)


async def test_counts_keep_criteria(database: Database, session: AsyncSession):
    """Those of the statement's options, and those that an event adds."""
    only = with_loader_criteria(User, User.id > 3)
    for each, number in (
        (select(User), 6),
        (select(User).join(User.posts), 4),
        (select(User).join(User.posts).distinct(), 4),
    ):
        for offset in (0, 50):
            page = await paginate(session, each.options(only), PageQuery(offset, 2))
            assert page.total == number, str(each)
    event.listen(session.sync_session, "do_orm_execute", Visible.add)
    statements: list[Any] = [
        select(User),
        select(User.name),
        select(aliased(User)),
        select(User).join(User.team),
        select(User).where(User.id < 9).distinct(),
        select(User).join(User.posts),
        select(User.id, func.count()).group_by(User.id),
    ]
    numbers = [(await paginate(session, each, PageQuery(limit=2))).total for each in statements]
    assert numbers == [8, 8, 8, 7, 7, 5, 8]
    for each in statements:
        assert len(await walk(session, each)) == (await paginate(session, each, PageQuery())).total


async def test_an_estimate_is_the_planners(database: Database, session: AsyncSession):
    """With parameters, in autocommit, and exact where the database has no planner to ask."""
    async with database.engine.begin() as connection:
        tables = ", ".join(Base.metadata.tables)
        mysql = connection.dialect.name == "mysql"
        await connection.execute(text(f"ANALYZE TABLE {tables}" if mysql else "ANALYZE"))
    for statement, low, high in (
        (select(User).order_by(User.name), 9, 9),
        (select(User).where(User.id > 4, User.name != "x").options(selectinload(User.posts)), 2, 9),
        (select(User).join(User.posts), 2, 9),
        (select(User.name, func.count()).group_by(User.name), 2, 9),
        (select(User.name).distinct(), 2, 9),
    ):
        page: Page[Any] = await paginate(session, statement, PageQuery(limit=1), total="estimated")
        assert low <= (page.total or 0) <= high
        assert page.has_more


@pytest.mark.databases("postgresql-asyncpg")
async def test_an_estimate_counts_nothing(database: Database, session: AsyncSession):
    """The planner answers from its statistics, criteria included."""
    event.listen(session.sync_session, "do_orm_execute", Visible.add)
    with count_queries(database) as queries:
        await paginate(session, select(User), PageQuery(limit=1), total="estimated")
    page, plan = [" ".join(query.sql.split()) for query in queries.statements]
    assert plan.startswith("EXPLAIN (FORMAT JSON) SELECT 1 FROM paged_user WHERE")
    assert "count" not in page + plan


# Sessions


@pytest.mark.databases(*ONE_DRIVER)
async def test_any_session_has_pages(database: Database, session: AsyncSession):
    """Plain ones of SQLAlchemy, with an engine that this library has not made."""
    url = database.engine.url
    engine = create_async_engine(
        url.set(drivername=database.engine.dialect.name + "+" + url.get_driver_name())
    )
    async with async_sessionmaker(engine)() as plain, plain.begin():
        assert len(await walk(plain, select(User).order_by(User.name))) == 9
        page = await paginate(plain, select(User), PageQuery(limit=1), total="estimated")
        assert page.has_more
    await engine.dispose()


async def test_execution_options_are_kept(session: AsyncSession):
    """populate_existing reads an object again that the session has."""
    seen = []

    def look(state: Any) -> None:
        seen.append(state.execution_options.get("mine"))

    event.listen(session.sync_session, "do_orm_execute", look)
    for statement in (select(User), select(User).distinct(), select(User).join(User.posts)):
        mine = statement.execution_options(mine=True)
        await paginate(session, mine, PageQuery(limit=1))
        await paginate_cursor(session, mine, CursorQuery(limit=1))
    assert len(seen) == 6
    assert all(seen)
