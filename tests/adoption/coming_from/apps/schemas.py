"""What clients send and get, whichever library is behind it."""

from pydantic import BaseModel, ConfigDict, Field


class AuthorIn(BaseModel):
    name: str


class AuthorOut(AuthorIn):
    model_config = ConfigDict(from_attributes=True)
    id: int


class BookIn(BaseModel):
    title: str = Field(min_length=1)
    author_id: int


class BookOut(BookIn):
    model_config = ConfigDict(from_attributes=True)
    id: int
