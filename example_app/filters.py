"""What clients may filter, search and order by, and the dependencies that routes declare."""

from typing import Annotated

from fastapi import Depends

from example_app.models import Post, User
from fastapi_asyncdb import AnyOf, Filter, FilterSet, OrderBy, Search


class PostFilter(FilterSet[Post]):
    """Posts by number, the newest first, unless the client names another order."""

    author_id = Filter(Post.author_id, "eq", "in")
    author_name = Filter(User.name, "eq", "icontains", through=Post.author)
    title = Filter(Post.title, "eq", "icontains", "istartswith")
    summary = Filter(Post.summary, "is_null")
    created_at = Filter(Post.created_at, "ge", "lt")
    search = Search(Post.title, Post.summary, Post.body, language="english")
    either = AnyOf()
    order_by = OrderBy(Post.id, Post.created_at, Post.title, default="-id")


class FeedFilter(PostFilter):
    """The same posts by time."""

    order_by = OrderBy(Post.id, Post.created_at, Post.title, default="-created_at,-id")


PostFilters = Annotated[PostFilter, Depends()]
FeedFilters = Annotated[FeedFilter, Depends()]
