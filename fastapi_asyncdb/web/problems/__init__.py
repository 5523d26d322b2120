"""Errors as answers: the problems of RFC 9457."""
