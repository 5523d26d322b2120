"""The pages of fastapi-sqla and FastSQLA, for clients that know them."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass

from fastapi_asyncdb import Page, PageQuery

T = TypeVar("T")


@dataclass(frozen=True)
class DataQuery(PageQuery):
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class Item(BaseModel, Generic[T]):
    data: T


class Meta(BaseModel):
    offset: int
    total_items: int
    total_pages: int
    page_number: int


class DataPage(BaseModel, Generic[T]):
    data: list[T]
    meta: Meta


def data_page(page: Page[T]) -> DataPage[T]:
    """Return a page as ``data`` and ``meta``."""
    meta = Meta(
        offset=page.offset,
        total_items=page.total,
        total_pages=-(-page.total // page.limit),
        page_number=page.offset // page.limit + 1,
    )
    return DataPage(data=page.items, meta=meta)
