"""The application."""

from fastapi import FastAPI
from sqlalchemy import select

from app.models import City
from fastapi_asyncdb import ReadDB, db_lifespan

app = FastAPI(lifespan=db_lifespan)


@app.get("/cities")
async def cities(db: ReadDB) -> list[str]:
    return list(await db.scalars(select(City.name)))
