from typing import Annotated

import svcs
from dependency_injector.wiring import Provide, inject
from fastapi import Depends, FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shop.containers import Container, registry
from shop.database import User, database
from shop.users import UserCreate, UserRead, backend, users

app = FastAPI(lifespan=database.lifespan)
app.include_router(users.get_register_router(UserRead, UserCreate), prefix="/auth")
app.include_router(users.get_auth_router(backend), prefix="/auth")
app.include_router(users.get_users_router(UserRead, UserRead), prefix="/users")
container = Container()
count = select(func.count()).select_from(User)


@app.get("/injected")
@inject
async def injected(
    engine: Annotated[AsyncEngine, Depends(Provide[Container.engine])],
    make: Annotated[async_sessionmaker[AsyncSession], Depends(Provide[Container.sessionmaker])],
    session: Annotated[AsyncSession, Depends(Provide[Container.session])],
) -> list[int]:
    async with engine.connect() as connection, make() as made, session:
        return [(await each.execute(count)).scalar_one() for each in (connection, made, session)]


container.wire(modules=[__name__])


@app.get("/located")
async def located() -> list[int]:
    async with svcs.Container(registry) as services:
        engine = await services.aget(AsyncEngine)
        session = await services.aget(AsyncSession)
        async with engine.connect() as connection:
            return [(await each.execute(count)).scalar_one() for each in (connection, session)]
