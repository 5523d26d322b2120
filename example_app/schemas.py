"""What clients send and receive. Each value that is valid here fits its column."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import (
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


Title = Annotated[Line, Field(max_length=200)]
Summary = Annotated[Line, Field(max_length=500)]
Body = Annotated[Line, Field(max_length=10_000)]


class PostCreate(BaseModel):
    author_id: Id
    title: Title
    summary: Summary | None = None
    body: Body


class PostPatch(BaseModel):
    """What the client leaves out stays. A summary of null removes it; the others cannot be null."""

    title: Title = Field(default_factory=str)
    summary: Summary | None = None
    body: Body = Field(default_factory=str)
    version: int | None = Field(
        default=None, description="That of the post as the client has read it."
    )


class PostOut(_Row):
    id: int
    title: str
    summary: str | None
    body: str
    created_at: datetime
    updated_at: datetime
    version: int
    author: UserOut


class Imported(BaseModel):
    posts: int


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
