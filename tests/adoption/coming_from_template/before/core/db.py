from sqlmodel import Session, create_engine, select

from before.core.config import settings
from models import Shelf

engine = create_engine(str(settings.SQLALCHEMY_DATABASE_URI))


def init_db(session: Session) -> None:
    statement = select(Shelf).where(Shelf.name == settings.FIRST_SHELF)
    if session.exec(statement).first() is None:
        session.add(Shelf(name=settings.FIRST_SHELF))
        session.commit()
