"""What clients send and receive. Each value that is valid here fits its column."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

# PostgreSQL's integer is 32 bits wide; a larger one in a query is an error, not a missing row.
Id = Annotated[int, Field(ge=1, le=2**31 - 1)]

# PostgreSQL's text type has no NUL.
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00]*$")]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=254,
        # Printable ASCII, one @, a dot behind it. Only a message to the address proves more.
        pattern=r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$",
    ),
]

# Ten billion in cents: millions of such amounts add up to a bigint.
Cents = Annotated[int, Field(strict=True, ge=0, le=10**12)]


def _in_utc(moment: datetime) -> datetime:
    """Name the time zone, which SQLite does not store."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class _Row(BaseModel):
    """Read from the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


class UserCreate(BaseModel):
    name: Annotated[Line, Field(max_length=100)]
    email: Email


class UserOut(_Row):
    id: int
    name: str
    email: str


class PostCreate(BaseModel):
    author_id: Id
    title: Annotated[Line, Field(max_length=200)]
    body: Annotated[Line, Field(max_length=10_000)]


class PostOut(_Row):
    id: int
    title: str
    body: str
    created_at: Annotated[datetime, AfterValidator(_in_utc)]
    author: UserOut


class AccountCreate(BaseModel):
    owner_id: Id
    balance: Cents = 0


class AccountOut(_Row):
    id: int
    owner_id: int
    balance: int


class Transfer(BaseModel):
    from_account: Id
    to_account: Id
    amount: Annotated[Cents, Field(gt=0)]

    @model_validator(mode="after")
    def _two_accounts(self) -> Self:
        if self.from_account == self.to_account:
            raise ValueError("from_account and to_account are the same account")
        return self


class TransferOut(_Row):
    from_account: AccountOut
    to_account: AccountOut


class Page(BaseModel):
    limit: int = Field(default=20, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=2**31 - 1)


PageQuery = Annotated[Page, Query()]
