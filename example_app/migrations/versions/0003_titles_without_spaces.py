"""Titles that were stored before requests were checked lose the spaces around them.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from fastapi_asyncdb.migrations import backfill

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In batches, each of which is committed: no row is locked for long.
    backfill(
        op.get_context(),
        "posts",
        values={"title": sa.func.trim(sa.column("title"))},
        where="title <> trim(title)",
    )


# asyncdb: safe(downgrade-missing): the code of the revision before reads these titles as well
def downgrade() -> None:
    """Leave the titles as they are."""
