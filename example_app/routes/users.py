"""Users: create, get, list."""

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from example_app.models import User
from example_app.routes.lookup import get_or_404
from example_app.schemas import Id, PageQuery, UserCreate, UserOut
from fastapi_asyncdb import DB, ReadDB

router = APIRouter(prefix="/users", tags=["users"])


@router.post(
    "",
    status_code=201,
    response_model=UserOut,
    responses={409: {"description": "The e-mail address is taken"}},
)
async def create_user(body: UserCreate, db: DB) -> User:
    """Create a user, unless the e-mail address is taken."""
    user = User(**body.model_dump())
    db.add(user)
    try:
        await db.flush()
    except IntegrityError as error:
        # A query first would not help: two concurrent requests would both find the address free.
        raise HTTPException(409, f"The e-mail address {body.email} is taken.") from error
    return user


@router.get("/{user_id}", response_model=UserOut, responses={404: {"description": "No such user"}})
async def get_user(user_id: Id, db: ReadDB) -> User:
    """Get one user."""
    return await get_or_404(db, User, user_id)


@router.get("", response_model=list[UserOut])
async def list_users(page: PageQuery, db: ReadDB) -> Sequence[User]:
    """List users, the oldest first."""
    users = select(User).order_by(User.id).limit(page.limit).offset(page.offset)
    return (await db.scalars(users)).all()
