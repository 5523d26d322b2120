"""The settings of the application, which it had before."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    PROJECT_NAME: str = "shop"
    DB_DRIVER: str = "postgresql"
    DB_HOST: str = ""
    DB_PORT: int | None = None
    DB_USER: str = ""
    DB_PASSWORD: str = ""
    DB_NAME: str


settings = Settings()
