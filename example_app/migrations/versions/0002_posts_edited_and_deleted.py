"""Posts have a summary, a version, and the times of their last change and of their deletion.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

from fastapi_asyncdb.models import UTCDateTime, utcnow

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("posts") as posts:
        posts.alter_column(
            "created_at", type_=UTCDateTime(), server_default=utcnow(), existing_nullable=False
        )
        posts.add_column(sa.Column("summary", sa.String(length=500), nullable=True))
        posts.add_column(
            sa.Column("updated_at", UTCDateTime(), server_default=utcnow(), nullable=False)
        )
        posts.add_column(sa.Column("deleted_at", UTCDateTime(), nullable=True))
        posts.add_column(sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    if op.get_context().dialect.name == "sqlite":
        # CURRENT_TIMESTAMP, the default until now, left texts that are shorter than those which
        # SQLAlchemy compares them with.
        op.execute("UPDATE posts SET created_at = strftime('%Y-%m-%d %H:%M:%f000', created_at)")
    op.execute("UPDATE posts SET updated_at = created_at")


def downgrade() -> None:
    with op.batch_alter_table("posts") as posts:
        for name in ("version", "deleted_at", "updated_at", "summary"):
            posts.drop_column(name)
        posts.alter_column(
            "created_at",
            type_=sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            existing_nullable=False,
        )
