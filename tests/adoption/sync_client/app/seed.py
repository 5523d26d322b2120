from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Country


async def seed(session: AsyncSession) -> None:
    session.add_all([Country(code=code) for code in ("AT", "CH", "DE")])
