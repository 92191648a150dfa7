"""0002_issued_document."""

import sqlalchemy as sa
from alembic import op

revision = "0002_issued_document"
down_revision = "0001_spine"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "issued_document",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("document_id", name=op.f("issued_document_pkey")),
        sa.UniqueConstraint("lookup", name=op.f("issued_document_lookup_key")),
    )
    op.create_index(op.f("issued_document_case_id_idx"), "issued_document", ["case_id"], unique=False)


def downgrade() -> None:
    """Take it back."""
    op.drop_index(op.f("issued_document_case_id_idx"), table_name="issued_document")
    op.drop_table("issued_document")
