"""Queries and changes of heroes, for routes with pages and filters."""

from typing import Annotated

from fastapi import Depends
from sqlmodel import col

from app.database import ReadSessionDep, SessionDep
from app.models import Hero
from fastapi_asyncdb import Filter, FilterSet, OrderBy, ReadRepository, Repository


class HeroRepository(Repository[Hero]):
    def __init__(self, session: SessionDep) -> None:
        super().__init__(session)


class HeroQueries(ReadRepository[Hero]):
    def __init__(self, session: ReadSessionDep) -> None:
        super().__init__(session)


class HeroFilter(FilterSet[Hero]):
    name = Filter(col(Hero.name), "eq", "icontains")
    age = Filter(col(Hero.age), "ge", "lt")
    order_by = OrderBy(col(Hero.name), col(Hero.age), default="name")


Heroes = Annotated[HeroRepository, Depends()]
Queries = Annotated[HeroQueries, Depends()]
Filters = Annotated[HeroFilter, Depends()]
