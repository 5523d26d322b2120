"""The routes of FastAPI's tutorial, and a few with what the library adds."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import StreamingResponse
from sqladmin import Admin, ModelView
from sqlalchemy.orm import selectinload
from sqlmodel import col, select

from app.database import ReadSessionDep, SessionDep, database
from app.models import Hero, HeroCreate, HeroPublic, HeroUpdate, Team, TeamPublic
from app.repositories import Filters, Heroes, Queries
from fastapi_asyncdb import Page, PageQuery, install_error_handlers

app = FastAPI(lifespan=database.lifespan)
install_error_handlers(app)


class HeroAdmin(ModelView, model=Hero):
    column_list = ("id", "name", "age")


Admin(app, database.engine).add_view(HeroAdmin)


@app.post("/heroes/", response_model=HeroPublic, status_code=201)
async def create_hero(hero: HeroCreate, session: SessionDep) -> Hero:
    db_hero = Hero.model_validate(hero)
    session.add(db_hero)
    await session.flush()
    return db_hero


@app.get("/heroes/", response_model=list[HeroPublic])
async def read_heroes(
    session: ReadSessionDep, offset: int = 0, limit: Annotated[int, Query(le=100)] = 100
) -> Sequence[Hero]:
    heroes = await session.exec(select(Hero).order_by(col(Hero.id)).offset(offset).limit(limit))
    return heroes.all()


@app.get("/heroes/{hero_id}", response_model=HeroPublic)
async def read_hero(hero_id: int, session: ReadSessionDep) -> Hero:
    hero = await session.get(Hero, hero_id)
    if not hero:
        raise HTTPException(status_code=404, detail="Hero not found")
    return hero


@app.patch("/heroes/{hero_id}", response_model=HeroPublic)
async def update_hero(hero_id: int, hero: HeroUpdate, session: SessionDep) -> Hero:
    db_hero = await session.get(Hero, hero_id)
    if not db_hero:
        raise HTTPException(status_code=404, detail="Hero not found")
    db_hero.sqlmodel_update(hero.model_dump(exclude_unset=True))
    return db_hero


@app.delete("/heroes/{hero_id}")
async def delete_hero(hero_id: int, session: SessionDep) -> dict[str, bool]:
    hero = await session.get(Hero, hero_id)
    if not hero:
        raise HTTPException(status_code=404, detail="Hero not found")
    await session.delete(hero)
    return {"ok": True}


@app.post("/teams/", status_code=201)
async def create_team(name: str, session: SessionDep) -> int | None:
    team = Team(name=name)
    session.add(team)
    await session.flush()
    return team.id


@app.get("/teams/{team_id}", response_model=TeamPublic)
async def read_team(team_id: int, session: ReadSessionDep, *, eager: bool = True) -> Team:
    loading = [selectinload(Team.heroes)] if eager else []
    team = await session.get(Team, team_id, options=loading)
    if not team:
        raise HTTPException(status_code=404, detail="Team not found")
    return team


@app.get("/search")
async def search(
    queries: Queries, filters: Filters, page: Annotated[PageQuery, Depends()]
) -> Page[HeroPublic]:
    found = await queries.page(page, *filters.where, order_by=filters.order_by)
    return found.to(HeroPublic)


@app.post("/import", status_code=201)
async def import_heroes(rows: list[HeroCreate], heroes: Heroes) -> int:
    return await heroes.create_many(rows)


@app.get("/export")
async def export(queries: Queries) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for hero in queries.stream(order_by=col(Hero.id)):
            yield f"{hero.name}\n"

    return StreamingResponse(lines(), media_type="text/plain")
