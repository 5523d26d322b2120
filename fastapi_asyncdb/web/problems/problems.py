"""The problem of an error, in the words that the application has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from sqlalchemy import MetaData

from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.dialects import Rejection
from fastapi_asyncdb.errors import NotFoundError
from fastapi_asyncdb.models import Base
from fastapi_asyncdb.web.problems import kinds
from fastapi_asyncdb.web.problems.classification import classify
from fastapi_asyncdb.web.problems.constraints import complete
from fastapi_asyncdb.web.problems.problem import Problem
