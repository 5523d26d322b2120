from fastapi import FastAPI
from sqlalchemy import select

import shop.database  # noqa: F401 - configures the database
from fastapi_asyncdb import DB, ReadDB, db_lifespan
from shop.config import settings
from shop.models import Item

app = FastAPI(title=settings.PROJECT_NAME, lifespan=db_lifespan)


@app.post("/items", status_code=201)
async def create_item(name: str, db: DB) -> int:
    item = Item(name=name)
    db.add(item)
    await db.flush()
    return item.id


@app.get("/items")
async def list_items(db: ReadDB) -> list[str]:
    return list(await db.scalars(select(Item.name).order_by(Item.id)))
