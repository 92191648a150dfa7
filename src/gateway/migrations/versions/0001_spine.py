"""0001_spine."""

import sqlalchemy as sa
from alembic import op

revision = "0001_spine"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "data_key",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.String(length=7), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("retention", sa.String(length=32), nullable=False),
        sa.Column("master_version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("data_key_pkey")),
        sa.UniqueConstraint(
            "owner", "owner_id", "retention", name=op.f("data_key_owner_owner_id_retention_key")
        ),
    )
    op.create_table(
        "grant_use",
        sa.Column("basis_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("basis_id", "call_id", name=op.f("grant_use_pkey")),
    )
    op.create_table(
        "lawful_basis",
        sa.Column("basis_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("subject", sa.String(length=36), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("record_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('consent', 'separate_consent', 'written_consent', 'statutory_duty', 'law', 'contract')",
            name=op.f("lawful_basis_kind_check"),
        ),
        sa.CheckConstraint(
            "state IN ('shown', 'granted', 'refused', 'lapsed', 'consumed', 'paused', 'withdrawn', 'revoked', 'expired', 'superseded', 'recorded', 'in_force', 'ended')",
            name=op.f("lawful_basis_state_check"),
        ),
        sa.PrimaryKeyConstraint("basis_id", "revision", name=op.f("lawful_basis_pkey")),
    )
    op.create_index(
        op.f("lawful_basis_case_id_current_idx"), "lawful_basis", ["case_id", "current"], unique=False
    )
    op.create_index(
        "lawful_basis_one_current_idx",
        "lawful_basis",
        ["basis_id"],
        unique=True,
        postgresql_where=sa.text("current = 1"),
        sqlite_where=sa.text("current = 1"),
    )
    op.create_index(
        op.f("lawful_basis_state_current_expires_at_idx"),
        "lawful_basis",
        ["state", "current", "expires_at"],
        unique=False,
    )
    op.create_index(
        op.f("lawful_basis_subject_current_basis_id_idx"),
        "lawful_basis",
        ["subject", "current", "basis_id"],
        unique=False,
    )
    op.create_table(
        "log_entry",
        sa.Column("idx", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("idx", name=op.f("log_entry_pkey")),
        sa.UniqueConstraint("event_id", name=op.f("log_entry_event_id_key")),
    )
    op.create_table(
        "log_event",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("subject", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("log_event_pkey")),
        sa.UniqueConstraint("subject", "seq", name=op.f("log_event_subject_seq_key")),
    )
    op.create_table(
        "log_head",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("log_head_pkey")),
    )
    op.create_table(
        "log_pending",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("log_pending_pkey")),
    )
    op.create_table(
        "log_published",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("log_published_one_row_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("log_published_pkey")),
    )
    op.create_table(
        "log_subject",
        sa.Column("subject", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("log_subject_pkey")),
    )
    op.create_table(
        "log_tile",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "n", name=op.f("log_tile_pkey")),
    )
    op.create_table(
        "notice",
        sa.Column("notice_sha256", sa.String(length=64), nullable=False),
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("notice_sha256", name=op.f("notice_pkey")),
    )
    op.create_table(
        "status_slot",
        sa.Column("list", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("basis_id", sa.Uuid(), nullable=False),
        sa.Column("revoked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("list", "idx", name=op.f("status_slot_pkey")),
        sa.UniqueConstraint("basis_id", name=op.f("status_slot_basis_id_key")),
    )
    op.create_index(op.f("status_slot_list_revoked_idx"), "status_slot", ["list", "revoked"], unique=False)
    op.create_table(
        "agency_call",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("case_number", sa.String(length=12), nullable=False),
        sa.Column("agency", sa.String(length=60), nullable=False),
        sa.Column("operation", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=7), nullable=False),
        sa.Column("basis_id", sa.Uuid(), nullable=True),
        sa.Column("basis_revision", sa.Integer(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("maybe_sent", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("answer_digest", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.CheckConstraint(
            "status IN ('ready', 'leased', 'waiting', 'unknown', 'done', 'refused', 'dead')",
            name=op.f("agency_call_status_check"),
        ),
        sa.PrimaryKeyConstraint("call_id", name=op.f("agency_call_pkey")),
    )
    op.create_index(op.f("agency_call_case_id_idx"), "agency_call", ["case_id"], unique=False)
    op.create_index(op.f("agency_call_status_due_at_idx"), "agency_call", ["status", "due_at"], unique=False)
    op.create_index(
        op.f("agency_call_status_lease_until_idx"), "agency_call", ["status", "lease_until"], unique=False
    )
    op.create_table(
        "case_event",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("v", sa.SmallInteger(), nullable=False),
        sa.Column("machine_time", sa.BigInteger(), nullable=False),
        sa.Column("legal_time", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "seq", name=op.f("case_event_pkey")),
    )
    op.create_table(
        "document",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("document_id", name=op.f("document_pkey")),
    )
    op.create_index(op.f("document_case_id_idx"), "document", ["case_id"], unique=False)
    op.create_table(
        "document_chunk",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("document_id", "n", name=op.f("document_chunk_pkey")),
    )
    op.create_table(
        "idempotent_answer",
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("idempotent_answer_pkey")),
    )
    op.create_index(
        op.f("idempotent_answer_created_at_idx"), "idempotent_answer", ["created_at"], unique=False
    )
    op.create_table(
        "legal_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offset_seconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("legal_clock_pkey")),
    )
    op.create_table(
        "payment",
        sa.Column("payment", sa.String(length=80), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("amount_ntd", sa.Integer(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payment", name=op.f("payment_pkey")),
    )
    op.create_table(
        "service_case",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.String(length=12), nullable=False),
        sa.Column("service", sa.String(length=40), nullable=False),
        sa.Column("edition", sa.String(length=10), nullable=False),
        sa.Column("applicant", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'submitted', 'in_review', 'waiting_for_applicant', 'waiting_for_payment', 'approved', 'refused', 'dismissed', 'withdrawn', 'under_review', 'set_aside', 'completed')",
            name=op.f("service_case_state_check"),
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("service_case_pkey")),
        sa.UniqueConstraint("number", name=op.f("service_case_number_key")),
    )
    op.create_index(
        op.f("service_case_applicant_case_id_idx"), "service_case", ["applicant", "case_id"], unique=False
    )
    op.create_table(
        "timer",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "name", name=op.f("timer_pkey")),
    )
    op.create_index(op.f("timer_due_at_idx"), "timer", ["due_at"], unique=False)
    op.create_table(
        "person",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("identity_hash", sa.LargeBinary(), nullable=False),
        sa.Column("profile", sa.LargeBinary(), nullable=False),
        sa.Column("first_login_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("person_pkey")),
        sa.UniqueConstraint("identity_hash", name=op.f("person_identity_hash_key")),
    )
    op.create_table(
        "session",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("session_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("session_token_hash_key")),
    )
    op.create_index(op.f("session_expires_at_idx"), "session", ["expires_at"], unique=False)
    op.create_index(
        op.f("session_person_id_started_at_idx"), "session", ["person_id", "started_at"], unique=False
    )
    op.create_table(
        "used_login",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("used_login_pkey")),
    )
    op.create_index(op.f("used_login_expires_at_idx"), "used_login", ["expires_at"], unique=False)


def downgrade() -> None:
    """Take it back."""
    op.drop_index(op.f("used_login_expires_at_idx"), table_name="used_login")
    op.drop_table("used_login")
    op.drop_index(op.f("session_person_id_started_at_idx"), table_name="session")
    op.drop_index(op.f("session_expires_at_idx"), table_name="session")
    op.drop_table("session")
    op.drop_table("person")
    op.drop_index(op.f("timer_due_at_idx"), table_name="timer")
    op.drop_table("timer")
    op.drop_index(op.f("service_case_applicant_case_id_idx"), table_name="service_case")
    op.drop_table("service_case")
    op.drop_table("payment")
    op.drop_table("legal_clock")
    op.drop_index(op.f("idempotent_answer_created_at_idx"), table_name="idempotent_answer")
    op.drop_table("idempotent_answer")
    op.drop_table("document_chunk")
    op.drop_index(op.f("document_case_id_idx"), table_name="document")
    op.drop_table("document")
    op.drop_table("case_event")
    op.drop_index(op.f("agency_call_status_lease_until_idx"), table_name="agency_call")
    op.drop_index(op.f("agency_call_status_due_at_idx"), table_name="agency_call")
    op.drop_index(op.f("agency_call_case_id_idx"), table_name="agency_call")
    op.drop_table("agency_call")
    op.drop_index(op.f("status_slot_list_revoked_idx"), table_name="status_slot")
    op.drop_table("status_slot")
    op.drop_table("notice")
    op.drop_table("log_tile")
    op.drop_table("log_subject")
    op.drop_table("log_published")
    op.drop_table("log_pending")
    op.drop_table("log_head")
    op.drop_table("log_event")
    op.drop_table("log_entry")
    op.drop_index(op.f("lawful_basis_subject_current_basis_id_idx"), table_name="lawful_basis")
    op.drop_index(op.f("lawful_basis_state_current_expires_at_idx"), table_name="lawful_basis")
    op.drop_index(
        "lawful_basis_one_current_idx",
        table_name="lawful_basis",
        postgresql_where=sa.text("current = 1"),
        sqlite_where=sa.text("current = 1"),
    )
    op.drop_index(op.f("lawful_basis_case_id_current_idx"), table_name="lawful_basis")
    op.drop_table("lawful_basis")
    op.drop_table("grant_use")
    op.drop_table("data_key")
