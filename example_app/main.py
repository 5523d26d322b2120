"""The application: its database, its routes, its health checks, its answer to invalid requests."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse

from example_app.routes import accounts, events, export, imports, posts, users
from fastapi_asyncdb import db_lifespan, health_router

app = FastAPI(title="fastapi_asyncdb example", lifespan=db_lifespan)
app.include_router(users.router)
app.include_router(posts.router)
app.include_router(accounts.router)
app.include_router(export.router)
app.include_router(imports.router)
app.include_router(events.router)
app.include_router(
    health_router(migrations=Path(__file__).with_name("alembic.ini"), access_log=False)
)


@app.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Redirect a browser to the API page."""
    return RedirectResponse("/docs")


@app.exception_handler(RequestValidationError)
async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer 422 as FastAPI does, without the input.

    Python's parser accepts what a response in JSON cannot contain: NaN, and lone surrogates.
    """
    details = [{key: part[key] for key in ("type", "loc", "msg")} for part in error.errors()]
    return JSONResponse({"detail": details}, 422)
