"""Answers without objects: JSON that the database builds, and rows that Pydantic validates."""
