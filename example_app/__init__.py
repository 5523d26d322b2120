"""A small application on fastapi_asyncdb: users, their posts, their money. Made to be copied."""
