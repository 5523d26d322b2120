"""Posts: publish, get, list, edit, delete, restore; always with their author."""

from typing import Any

from fastapi import APIRouter

from example_app.activity import record
from example_app.cache import cached_post, post_changes
from example_app.filters import FeedFilters, PostFilters
from example_app.models import Post
from example_app.repositories import BlogDep, ByCursor, ByOffset, PostQueries, with_author
from example_app.schemas import Id, PostCreate, PostOut, PostPatch
from fastapi_asyncdb import Answer, CursorPage, Page, answer

router = APIRouter(prefix="/posts", tags=["posts"])

Responses = dict[int | str, dict[str, Any]]
NOT_FOUND: Responses = {404: {"description": "No such post"}}
CHANGED: Responses = {409: {"description": "Another request has changed the post"}}


@router.post(
    "",
    status_code=201,
    response_model=PostOut,
    responses={404: {"description": "No such author"}},
)
async def create_post(body: PostCreate, blog: BlogDep) -> Post:
    """Publish a post."""
    author = await blog.users.get_or_raise(body.author_id)
    post = await blog.posts.create(body, author=author)
    record(blog.posts.session, "post published", post.title)
    return post


@router.get("")
async def list_posts(
    query: ByOffset, filters: PostFilters, posts: PostQueries
) -> Answer[Page[PostOut]]:
    """List posts, by number and the newest first unless ordered otherwise, with their total."""
    statement = posts.select(*filters.where, order_by=filters.order_by)
    return await answer(posts.session, statement, Page[PostOut], page=query)


@router.get("/feed")
async def read_feed(
    query: ByCursor, filters: FeedFilters, posts: PostQueries
) -> Answer[CursorPage[PostOut]]:
    """Walk through the posts, the newest first: as fast at the end as at the beginning."""
    statement = posts.select(*filters.where, order_by=filters.order_by)
    return await answer(posts.session, statement, CursorPage[PostOut], page=query)


@router.get("/{post_id}", responses=NOT_FOUND)
@cached_post
async def get_post(post_id: Id, posts: PostQueries) -> Answer[PostOut]:
    """Get one post."""
    return await answer(posts.session, posts.select(Post.id == post_id), PostOut)


@router.patch("/{post_id}", response_model=PostOut, responses=NOT_FOUND | CHANGED)
async def edit_post(post_id: Id, body: PostPatch, blog: BlogDep) -> Post:
    """Change what the client has sent, if the post still has the version that it names."""
    post_changes(blog.session, post_id)
    post = await blog.posts.get_or_raise(post_id, options=[with_author])
    return await blog.posts.update(post, body)


@router.delete("/{post_id}", status_code=204, responses=NOT_FOUND)
async def delete_post(post_id: Id, blog: BlogDep) -> None:
    """Delete a post; it can be restored."""
    post_changes(blog.session, post_id)
    await blog.posts.delete(post_id)


@router.post("/{post_id}/restore", responses=NOT_FOUND)
async def restore_post(post_id: Id, blog: BlogDep) -> Answer[PostOut]:
    """Restore a deleted post."""
    post_changes(blog.session, post_id)
    await blog.posts.restore(post_id)
    return await answer(blog.session, blog.posts.select(Post.id == post_id), PostOut)
