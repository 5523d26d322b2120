"""Users: create, get, list."""

from fastapi import APIRouter

from example_app.activity import record
from example_app.models import User
from example_app.repositories import ByOffset, UserQueries, Users
from example_app.schemas import Id, UserCreate, UserOut
from fastapi_asyncdb import Page

router = APIRouter(prefix="/users", tags=["users"])


@router.post(
    "",
    status_code=201,
    response_model=UserOut,
    responses={409: {"description": "The e-mail address is taken"}},
)
async def create_user(body: UserCreate, users: Users) -> User:
    """Create a user, unless the e-mail address is taken."""
    # A query first would not help: two concurrent requests would both find the address free.
    user = await users.create(body)
    record(users.session, "user created", user.name)
    return user


@router.get("/{user_id}", response_model=UserOut, responses={404: {"description": "No such user"}})
async def get_user(user_id: Id, users: UserQueries) -> User:
    """Get one user."""
    return await users.get_or_raise(user_id)


@router.get("")
async def list_users(query: ByOffset, users: UserQueries) -> Page[UserOut]:
    """List users, the oldest first."""
    return (await users.page(query, order_by=User.id)).to(UserOut)
