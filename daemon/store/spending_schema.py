"""What the tables of money lacked, and those of compaction, as one step of the schema.

`tokens` of a model call is what it counts for in the budgets: its reservation while it is under
way, what the provider counted when it is done, and its reservation again if what became of it is
not known. `cost` is the same in money. In the tables by day, `reserved_*` is set aside for calls
under way, and `unknown_tokens` is what attempts without an answer count for.
"""

from __future__ import annotations

SPENDING = (
    "ALTER TABLE model_calls ADD COLUMN answer_tokens INTEGER NOT NULL DEFAULT 0",  # of reserved
    "ALTER TABLE model_calls ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE model_calls ADD COLUMN purpose TEXT NOT NULL DEFAULT 'turn'",  # or compaction
    "UPDATE model_calls SET tokens = coalesce(prompt_tokens + completion_tokens, 0)",
    "CREATE INDEX model_calls_started ON model_calls (started_at)",
    "ALTER TABLE usage ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE usage ADD COLUMN unknown_tokens INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE usage ADD COLUMN reserved_cost REAL NOT NULL DEFAULT 0",
    """CREATE TABLE agent_usage (
        agent_id TEXT NOT NULL REFERENCES agents (id),
        day TEXT NOT NULL,                 -- as in usage
        calls INTEGER NOT NULL DEFAULT 0,
        reserved_tokens INTEGER NOT NULL DEFAULT 0,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        cached_tokens INTEGER NOT NULL DEFAULT 0,
        completion_tokens INTEGER NOT NULL DEFAULT 0,
        unknown_tokens INTEGER NOT NULL DEFAULT 0,
        reserved_cost REAL NOT NULL DEFAULT 0,
        cost REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (agent_id, day)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE compactions (
        id INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL REFERENCES sessions (id),
        through_turn INTEGER NOT NULL REFERENCES turns (id),   -- all up to it are in the summary
        turns INTEGER NOT NULL,            -- how many were taken in by this one
        summary TEXT NOT NULL,
        model_call_id INTEGER NOT NULL REFERENCES model_calls (id),
        tokens_before INTEGER NOT NULL,    -- of the whole context, as far as is known
        tokens_after INTEGER NOT NULL,
        created_at REAL NOT NULL,
        UNIQUE (session_id, through_turn)
    ) STRICT""",
    # What is pending or was told about a session's summaries. A conversation is named by the
    # session's `fresh_after`, which /new moves on.
    """CREATE TABLE compacting (
        session_id TEXT PRIMARY KEY REFERENCES sessions (id),
        wanted_at REAL,                    -- somebody has asked for one
        failures INTEGER NOT NULL DEFAULT 0,     -- in a row
        not_before REAL NOT NULL DEFAULT 0,
        told_done INTEGER,                 -- the conversation that was told of its first summary
        told_failed INTEGER                -- the conversation that was told of a failure
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX compacting_wanted ON compacting (session_id) WHERE wanted_at IS NOT NULL",
)
