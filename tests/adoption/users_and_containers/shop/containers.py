import svcs
from dependency_injector import containers, providers
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shop.database import database


class Container(containers.DeclarativeContainer):
    engine = providers.Object(database.engine)
    sessionmaker = providers.Object(database.sessionmaker)
    session = providers.Factory(database.sessionmaker)


registry = svcs.Registry()
registry.register_value(AsyncEngine, database.engine)
registry.register_factory(AsyncSession, database.sessionmaker)  # closed with the container
