"""The tables of the users' database; a change of them is a new `SCHEMA_VERSION`."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1

METADATA = MetaData()

# Names and values: the schema's version, and the salt under which names of users are hashed.
META = Table(
    "moalign_meta",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)

# One row a user. `version` counts changes of the user's feedback; `summary` is what was learned from it at `summary_version`, JSON.
USERS = Table(
    "moalign_users",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("summary", Text),
    Column("summary_version", Integer),
)

# One row a judgement: rewards of the better minus those of the worse, in units of the reward heads, as JSON by objective.
FEEDBACK = Table(
    "moalign_feedback",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("user_key", String(64), ForeignKey("moalign_users.key", ondelete="CASCADE"), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("differences", Text, nullable=False),
    Column("label", Float, nullable=False),
    Column("texts", Text),
    Index("moalign_feedback_of_user", "user_key", "id"),
)
