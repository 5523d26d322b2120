"""Users: create, get, list."""

from fastapi import APIRouter

from example_app.activity import record
from example_app.models import User
from example_app.repositories import ByOffset, UserQueries, Users
from example_app.schemas import Id, UserCreate, UserOut
from fastapi_asyncdb import Answer, Page, answer

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


@router.get("/{user_id}", responses={404: {"description": "No such user"}})
async def get_user(user_id: Id, users: UserQueries) -> Answer[UserOut]:
    """Get one user."""
    return await answer(users.session, users.select(User.id == user_id), UserOut)


@router.get("")
async def list_users(query: ByOffset, users: UserQueries) -> Answer[Page[UserOut]]:
    """List users, the oldest first."""
    statement = users.select(order_by=User.id)
    return await answer(users.session, statement, Page[UserOut], page=query)
