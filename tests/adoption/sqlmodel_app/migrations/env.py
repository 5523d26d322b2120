from fastapi_asyncdb.migrations import run_env

run_env()
