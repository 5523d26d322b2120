from typing import Annotated

from fastapi import Depends, FastAPI
from sqladmin import Admin, ModelView
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette_admin.contrib.sqla import Admin as StarletteAdmin
from starlette_admin.contrib.sqla import ModelView as StarletteView

from fastapi_asyncdb import Database, install_error_handlers
from shop.models import Product

SECRET = "not a secret"
database = Database()  # DATABASE_URL
app = FastAPI(lifespan=database.lifespan)
install_error_handlers(app)


@app.get("/products")
async def names(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> list[str]:
    return list(await db.scalars(select(Product.name).order_by(Product.id)))


class ProductAdmin(ModelView, model=Product):
    column_list = ("id", "name", "price")


admin = Admin(app, session_maker=database.sessionmaker, base_url="/sqladmin")
admin.add_view(ProductAdmin)
install_error_handlers(admin.admin)  # an outage is a 503

panel = StarletteAdmin(database.sessionmaker, base_url="/panel", secret_key=SECRET)
panel.add_view(StarletteView(Product))
panel.mount_to(app)
install_error_handlers(panel.app)

# The same on the engine.
Admin(app, database.engine, base_url="/sqladmin-engine").add_view(ProductAdmin)
second = StarletteAdmin(
    database.engine, base_url="/panel-engine", route_name="second", secret_key=SECRET
)
second.add_view(StarletteView(Product))
second.mount_to(app)
