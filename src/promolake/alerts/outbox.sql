CREATE TABLE IF NOT EXISTS alerts (           -- every transition of ops.alerts, once
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,                       -- the row of ops.alerts, JSON
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    ingested_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS alerts_fingerprint ON alerts (fingerprint, seq);
CREATE INDEX IF NOT EXISTS alerts_ingested_at ON alerts (ingested_at);
CREATE TABLE IF NOT EXISTS firing (           -- what fires now
    fingerprint TEXT PRIMARY KEY,
    alert_id TEXT NOT NULL,
    labels TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS groups (
    group_key TEXT PRIMARY KEY,
    policy TEXT NOT NULL,                     -- receiver, labels and intervals, JSON
    due_at REAL,                              -- NULL: nothing to say
    sent_at REAL,
    repeats INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS waiting (          -- transitions a group has not spoken of yet
    group_key TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    held TEXT NOT NULL DEFAULT '',            -- silenced, inhibited
    PRIMARY KEY (group_key, alert_id)
);
CREATE TABLE IF NOT EXISTS notifications (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    receiver TEXT NOT NULL,
    group_labels TEXT NOT NULL,
    alert_ids TEXT NOT NULL,                  -- JSON array
    is_digest INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'due',        -- due, delivered, dead, merged (into a digest)
    created_at REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (channel, state, due_at);
CREATE TABLE IF NOT EXISTS deliveries (       -- the ledger: one row per try
    notification_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,                    -- delivered, failed, refused, dead, merged; of an alert told to nobody: silenced, inhibited, untold, past
    detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS deliveries_at ON deliveries (channel, at);
CREATE TABLE IF NOT EXISTS spoken (           -- transitions a group has spoken of while some of it fires
    group_key TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    PRIMARY KEY (group_key, alert_id)
);
