"""Posts: create, get, list, always with their author."""

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from example_app.models import Post, User
from example_app.routes.lookup import get_or_404
from example_app.schemas import Id, PageQuery, PostCreate, PostOut
from fastapi_asyncdb import DB, ReadDB

router = APIRouter(prefix="/posts", tags=["posts"])

with_author = joinedload(Post.author, innerjoin=True)


@router.post(
    "",
    status_code=201,
    response_model=PostOut,
    responses={404: {"description": "No such author"}},
)
async def create_post(body: PostCreate, db: DB) -> Post:
    """Publish a post."""
    author = await get_or_404(db, User, body.author_id)
    post = Post(author=author, title=body.title, body=body.body)
    db.add(post)
    await db.flush()
    return post


@router.get("/{post_id}", response_model=PostOut, responses={404: {"description": "No such post"}})
async def get_post(post_id: Id, db: ReadDB) -> Post:
    """Get one post."""
    return await get_or_404(db, Post, post_id, with_author)


@router.get("", response_model=list[PostOut])
async def list_posts(page: PageQuery, db: ReadDB) -> Sequence[Post]:
    """List posts, the newest first."""
    posts = select(Post).options(with_author).order_by(Post.id.desc())
    return (await db.scalars(posts.limit(page.limit).offset(page.offset))).all()
