"""The application: the database in its lifespan, the routes around it."""

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from example_app.routes import accounts, export, posts, users
from fastapi_asyncdb import db_lifespan

app = FastAPI(title="fastapi_asyncdb example", lifespan=db_lifespan)
app.include_router(users.router)
app.include_router(posts.router)
app.include_router(accounts.router)
app.include_router(export.router)


@app.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Lead a browser to the API page."""
    return RedirectResponse("/docs")
