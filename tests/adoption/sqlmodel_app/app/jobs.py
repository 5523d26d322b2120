"""What runs outside of requests."""

from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.database import database
from app.models import Hero, Team


@database.transactional()
async def join_team(session: AsyncSession, team: str, hero: str) -> int:
    """Run as often as it takes, from the start after a conflict."""
    joined = (await session.exec(select(Team).where(Team.name == team))).one()
    member = (await session.exec(select(Hero).where(Hero.name == hero))).one()
    member.team_id = joined.id
    await session.flush()
    counted = select(func.count()).select_from(Hero).where(Hero.team_id == joined.id)
    return (await session.exec(counted)).one()


async def names(session: AsyncSession) -> list[str]:
    return list((await session.exec(select(Hero.name).order_by(Hero.name))).all())
