"""The tables, as SQL that a reader can print and pin up.

Conventions. A time is REAL, in Unix seconds, and is always given by the caller. `ref` is a random
name for a row that a person may see; integer ids order rows and never leave the program. `boot`
names the run of the daemon that owns a row in flight: after a restart every such row is known to
be ours no longer, without asking whether some process is alive. A place in a chat network is
(channel, account, chat, topic): the kind of network, which of our accounts there, the chat, and
the thread in it ('' where there is none).

What is open, due or in trouble is little beside what is over, and is found by partial indexes. A
statement uses one only if it repeats the index's condition word for word; INDEXED BY makes it an
error to have it otherwise.
"""

from __future__ import annotations

PEOPLE = (
    """CREATE TABLE users (
        id TEXT PRIMARY KEY,
        role TEXT NOT NULL CHECK (role IN ('owner', 'user', 'guest')),
        name TEXT NOT NULL,
        zone TEXT,                        -- IANA name; NULL: the configured one
        created_at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE identities (
        channel TEXT NOT NULL,
        external_id TEXT NOT NULL,
        user_id TEXT NOT NULL REFERENCES users (id),
        PRIMARY KEY (channel, external_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE agents (
        id TEXT PRIMARY KEY,
        owner_id TEXT REFERENCES users (id),   -- NULL: the household's own agent
        name TEXT NOT NULL,
        instructions TEXT NOT NULL DEFAULT '',
        model TEXT,                            -- NULL: the configured one
        place TEXT NOT NULL DEFAULT 'here',
        share_token_hash BLOB,
        state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'gone')),
        created_at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE chat_focus (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL DEFAULT '',
        agent_id TEXT NOT NULL REFERENCES agents (id),
        PRIMARY KEY (channel, account, chat, topic)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE secrets (
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        key_id TEXT NOT NULL,
        ciphertext BLOB NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (owner, name)
    ) STRICT, WITHOUT ROWID""",
)

INTAKE = (
    """CREATE TABLE boots (
        id TEXT PRIMARY KEY,
        version TEXT NOT NULL,
        started_at REAL NOT NULL,
        ended_at REAL                      -- NULL: running, or killed
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE polls (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,             -- the bot's id, so that a new bot starts afresh
        next_offset INTEGER NOT NULL,
        PRIMARY KEY (channel, account)
    ) STRICT, WITHOUT ROWID""",
    # external_id is the network's id and a digest of the body: an id that comes again with
    # another body is another update (Telegram's ids restart at random after a quiet week).
    """CREATE TABLE inbox (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        external_id TEXT NOT NULL,
        body TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'closed')),
        outcome TEXT,                      -- turn, command, button, ignored, malformed, dead, ...
        turn_id INTEGER REFERENCES turns (id),
        attempts INTEGER NOT NULL DEFAULT 0,
        received_at REAL NOT NULL,
        closed_at REAL,
        UNIQUE (channel, account, external_id)
    ) STRICT""",
    "CREATE INDEX inbox_new ON inbox (id) WHERE state = 'new'",
    "CREATE INDEX inbox_closed ON inbox (closed_at) WHERE state = 'closed'",
    "CREATE INDEX inbox_dead ON inbox (id) WHERE outcome = 'dead'",
    """CREATE TABLE attachments (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        kind TEXT NOT NULL,                -- photo, document, voice, ...
        file_id TEXT NOT NULL,
        name TEXT,
        mime_type TEXT,
        size INTEGER,
        state TEXT NOT NULL CHECK (state IN ('named', 'wanted', 'spooled', 'placed', 'failed')),
        error TEXT,
        created_at REAL NOT NULL
    ) STRICT""",
)

CONVERSATION = (
    """CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL DEFAULT '',
        agent_id TEXT NOT NULL REFERENCES agents (id),
        fresh_after INTEGER NOT NULL DEFAULT 0,   -- turns up to this id are out of context (/new)
        created_at REAL NOT NULL,
        UNIQUE (channel, account, chat, topic, agent_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE turns (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL REFERENCES sessions (id),
        lane TEXT NOT NULL,                -- the session's id; a child turn has a lane of its own
        cause TEXT NOT NULL
            CHECK (cause IN ('update', 'console', 'schedule', 'child', 'heartbeat', 'link')),
        parent_id INTEGER REFERENCES turns (id),
        payer_id TEXT REFERENCES users (id),
        state TEXT NOT NULL CHECK (state IN ('ready', 'running', 'waiting', 'ended')),
        waiting_for TEXT CHECK (waiting_for IN ('approval', 'question', 'child', 'gathering')),
        gather_key TEXT,                   -- what may still join: an album, a sender's cut text
        deadline REAL,                     -- when waiting ends by itself
        outcome TEXT CHECK (outcome IN ('answered', 'failed', 'stopped', 'dead')),
        error TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,     -- runs begun since the last step that was kept
        boot TEXT REFERENCES boots (id),
        ran_seconds REAL NOT NULL DEFAULT 0,     -- running time of earlier boots; waiting is free
        asked_at REAL NOT NULL,            -- when the person sent it, by the network's clock
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL
    ) STRICT""",
    "CREATE INDEX turns_open ON turns (lane, id) WHERE state <> 'ended'",
    "CREATE INDEX turns_session ON turns (session_id, id)",
    "CREATE INDEX turns_dead ON turns (id) WHERE outcome = 'dead'",
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'tool')),
        content TEXT NOT NULL,
        tool_call_id INTEGER UNIQUE REFERENCES tool_calls (id),   -- of a result: one per call
        created_at REAL NOT NULL,
        CHECK ((role = 'tool') = (tool_call_id IS NOT NULL))
    ) STRICT""",
    "CREATE INDEX messages_turn ON messages (turn_id, id)",
    """CREATE TABLE tool_calls (
        id INTEGER PRIMARY KEY,
        message_id INTEGER NOT NULL REFERENCES messages (id),     -- the assistant's
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        position INTEGER NOT NULL,
        call_id TEXT NOT NULL,             -- the model's own name for it
        name TEXT NOT NULL,
        arguments TEXT NOT NULL,           -- as the model wrote them, well formed or not
        state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done')),
        failed INTEGER NOT NULL DEFAULT 0,
        boot TEXT REFERENCES boots (id),
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        UNIQUE (message_id, position)
    ) STRICT""",
    "CREATE INDEX tool_calls_turn ON tool_calls (turn_id, id)",
)

MONEY = (
    """CREATE TABLE model_calls (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        user_id TEXT REFERENCES users (id),
        agent_id TEXT NOT NULL REFERENCES agents (id),
        model TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'unknown')),
        boot TEXT NOT NULL REFERENCES boots (id),
        reserved_tokens INTEGER NOT NULL,
        prompt_tokens INTEGER,
        cached_tokens INTEGER,
        completion_tokens INTEGER,
        cost REAL,                         -- in the currency of the configured prices
        error TEXT,
        started_at REAL NOT NULL,
        ended_at REAL
    ) STRICT""",
    "CREATE INDEX model_calls_running ON model_calls (boot) WHERE state = 'running'",
    "CREATE INDEX model_calls_turn ON model_calls (turn_id)",
    """CREATE TABLE usage (
        user_id TEXT NOT NULL REFERENCES users (id),
        day TEXT NOT NULL,                 -- UTC, YYYY-MM-DD, of the call's start
        calls INTEGER NOT NULL DEFAULT 0,
        reserved_tokens INTEGER NOT NULL DEFAULT 0,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        completion_tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (user_id, day)
    ) STRICT, WITHOUT ROWID""",
)

SENDING = (
    """CREATE TABLE destinations (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        last_seq INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0,      -- the network told us to wait until then
        PRIMARY KEY (channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL DEFAULT '',
        seq INTEGER NOT NULL,              -- order within the destination
        turn_id INTEGER REFERENCES turns (id),
        method TEXT NOT NULL,
        params TEXT NOT NULL,              -- JSON; without the address
        state TEXT NOT NULL
            CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'unknown', 'held')),
        attempts INTEGER NOT NULL DEFAULT 0,
        doubts INTEGER NOT NULL DEFAULT 0,       -- sends of it that may or may not have arrived
        boot TEXT REFERENCES boots (id),
        message_id TEXT,                   -- the network's: "delivered" means that it is there
        error TEXT,
        about TEXT NOT NULL DEFAULT '',    -- the beginning of what it answers
        asked_at REAL,
        created_at REAL NOT NULL,
        sent_at REAL,
        UNIQUE (channel, account, chat, seq)
    ) STRICT""",
    """CREATE INDEX outbox_due ON outbox (channel, account, chat, seq)
        WHERE state IN ('queued', 'sending')""",
    "CREATE INDEX outbox_trouble ON outbox (state) WHERE state IN ('held', 'failed', 'unknown')",
    """CREATE INDEX outbox_past ON outbox (created_at)
        WHERE state IN ('sent', 'failed', 'unknown')""",
    "CREATE INDEX outbox_turn ON outbox (turn_id)",
)

FIRST = (*PEOPLE, *INTAKE, *CONVERSATION, *MONEY, *SENDING)

# A part that is a file: its key in the spool, and the name that the chat is shown.
FILES = (
    "ALTER TABLE outbox ADD COLUMN file TEXT",
    "ALTER TABLE outbox ADD COLUMN file_name TEXT NOT NULL DEFAULT ''",
)

# How many sends of a part were cut off on the way, which leaves no doubt.
CUTS = ("ALTER TABLE outbox ADD COLUMN cuts INTEGER NOT NULL DEFAULT 0",)

# Questions whether a tool call may run, and turns that are begun by others.
ASKING = (
    """CREATE TABLE approvals (
        id INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        call_id INTEGER NOT NULL UNIQUE REFERENCES tool_calls (id),
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        what TEXT NOT NULL,                -- all that the call would do, as the person sees it
        state TEXT NOT NULL DEFAULT 'open'
            CHECK (state IN ('open', 'granted', 'denied', 'lapsed', 'void')),
        deadline REAL NOT NULL,
        answered_by TEXT REFERENCES users (id),   -- NULL: at the console, or by nobody
        created_at REAL NOT NULL,
        answered_at REAL
    ) STRICT""",
    "CREATE INDEX approvals_open ON approvals (turn_id) WHERE state = 'open'",
    # The turn whose answer is the result of this call.
    "ALTER TABLE tool_calls ADD COLUMN child_id INTEGER REFERENCES turns (id)",
    "CREATE INDEX tool_calls_child ON tool_calls (child_id) WHERE child_id IS NOT NULL",
    "ALTER TABLE turns ADD COLUMN label TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE turns ADD COLUMN specialist TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX turns_children ON turns (parent_id) WHERE parent_id IS NOT NULL",
    """CREATE TABLE heartbeats (
        agent_id TEXT NOT NULL,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        last_at REAL NOT NULL,
        PRIMARY KEY (agent_id, channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
)

# The executor's name for the files, of a chat that has taken them along to another id. NULL: the
# chat has never moved, and the name is made of its own (`daemon.store.values.workspace_key`).
MOVED = ("ALTER TABLE sessions ADD COLUMN workspace TEXT",)

# What is sent in the place of a rich message that is refused: plain messages' parameters, in JSON.
RICH = ("ALTER TABLE outbox ADD COLUMN instead TEXT",)
