from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from sqlalchemy import select

from app.models import Base, Country, Guest
from fastapi_asyncdb import DB, ReadDB, create_lifespan

app = FastAPI(lifespan=create_lifespan(metadata=Base.metadata, auto_create_tables=True))


def current_user(authorization: Annotated[str, Header()] = "nobody") -> str:
    return authorization


@app.get("/countries")
async def list_countries(db: ReadDB) -> list[str]:
    return list(await db.scalars(select(Country.code).order_by(Country.code)))


@app.post("/guests", status_code=201)
async def create_guest(name: str, country: str, db: DB) -> int:
    guest = Guest(name=name, country_code=country)
    db.add(guest)
    await db.flush()
    return guest.id


@app.get("/guests")
async def list_guests(db: ReadDB) -> list[str]:
    return list(await db.scalars(select(Guest.name).order_by(Guest.name)))


@app.get("/me")
async def me(request: Request, user: Annotated[str, Depends(current_user)]) -> list[str]:
    return [user, request.cookies.get("session", ""), str(request.url)]
