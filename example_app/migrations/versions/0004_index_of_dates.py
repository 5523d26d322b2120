"""Posts are listed by their date: an index, created while the application writes.

Revision: 0004, after 0003.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Outside of a transaction: https://www.postgresql.org/docs/current/sql-createindex.html
    with op.get_context().autocommit_block():
        op.create_index(
            op.f("ix_posts_created_at"), "posts", ["created_at"], postgresql_concurrently=True
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(op.f("ix_posts_created_at"), "posts", postgresql_concurrently=True)
