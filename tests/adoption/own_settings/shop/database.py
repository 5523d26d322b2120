"""Where the settings of the application become those of the database."""

from fastapi_asyncdb import DatabaseSettings, default_database
from shop.config import settings as own

settings = DatabaseSettings(
    driver=own.DB_DRIVER,
    host=own.DB_HOST,
    port=own.DB_PORT,
    user=own.DB_USER,
    password=own.DB_PASSWORD,
    name=own.DB_NAME,
)
default_database.configure(settings)
