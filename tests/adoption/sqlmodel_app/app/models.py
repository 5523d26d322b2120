"""The models of FastAPI's tutorial, and a team for the heroes."""

from datetime import UTC, datetime

from sqlmodel import Field, Relationship, SQLModel

__all__ = ["Hero", "SQLModel", "Team"]


class Team(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, max_length=100)
    heroes: list["Hero"] = Relationship(back_populates="team")


class HeroBase(SQLModel):
    name: str = Field(index=True)
    age: int | None = Field(default=None, index=True)
    team_id: int | None = Field(default=None, foreign_key="team.id")


class Hero(HeroBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    secret_name: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    team: Team | None = Relationship(back_populates="heroes")


class HeroPublic(HeroBase):
    id: int


class HeroCreate(HeroBase):
    secret_name: str


class HeroUpdate(SQLModel):
    name: str | None = None
    age: int | None = None
    secret_name: str | None = None


class TeamPublic(SQLModel):
    id: int
    name: str
    heroes: list[HeroPublic]
