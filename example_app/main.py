"""The application: its database, its routes, its health checks, its answers to errors."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from example_app.activity import is_recorded
from example_app.cache import lifespan
from example_app.routes import accounts, events, export, imports, posts, users
from example_app.settings import Settings
from fastapi_asyncdb import health_router, install_error_handlers, install_read_your_writes

app = FastAPI(title="fastapi_asyncdb example", lifespan=lifespan)
if is_recorded():
    from example_app.routes import activities

    app.include_router(activities.router)
app.include_router(users.router)
app.include_router(posts.router)
app.include_router(accounts.router)
app.include_router(export.router)
app.include_router(imports.router)
app.include_router(events.router)
app.include_router(
    health_router(migrations=Path(__file__).with_name("alembic.ini"), access_log=False)
)
install_error_handlers(
    app,
    constraints={
        "uq_users_email": "The e-mail address is taken.",
        "ck_accounts_balance_not_negative": "Insufficient funds.",
    },
    http_exceptions=True,
)
# With DATABASE_REPLICA_URLS, a client finds what it has just written; without, this does nothing.
install_read_your_writes(app, secret=Settings().cookie_secret)


@app.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Redirect a browser to the API page."""
    return RedirectResponse("/docs")
