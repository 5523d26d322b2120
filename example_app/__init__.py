"""A small application on fastapi_asyncdb: users, their posts, their accounts. Made to be copied."""
