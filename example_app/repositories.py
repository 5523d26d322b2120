"""The repositories of the tables, and the dependencies that routes declare."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import joinedload

from example_app.models import Account, Post, User
from fastapi_asyncdb import CursorQuery, PageQuery, ReadRepository, Repository, UnitOfWork

with_author = joinedload(Post.author, innerjoin=True)


class Blog(UnitOfWork):
    """Users and their posts, in one transaction."""

    users: Repository[User]
    posts: Repository[Post]


class Bank(UnitOfWork):
    """Users and their accounts, in one transaction."""

    users: Repository[User]
    accounts: Repository[Account]


# They write, over the session of DB.
BlogDep = Annotated[Blog, Depends()]
BankDep = Annotated[Bank, Depends()]
Users = Annotated[Repository[User], Depends()]
# They read, over the session of ReadDB.
UserQueries = Annotated[ReadRepository[User], Depends()]
PostQueries = Annotated[ReadRepository[Post], Depends()]
AccountQueries = Annotated[ReadRepository[Account], Depends()]
# Where a page begins, and how long it is.
ByOffset = Annotated[PageQuery, Depends()]
ByCursor = Annotated[CursorQuery, Depends()]
