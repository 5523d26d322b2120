import os

from fastapi_asyncdb import DatabaseSettings

url = DatabaseSettings(_env_prefix="TEST_DB_").url.get_secret_value()
os.environ["TEST_DATABASE_URL"] = url  # from TEST_DB_HOST, TEST_DB_NAME ...
