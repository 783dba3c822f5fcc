-- +goose Up

-- Proof that people who left have no access any more: one row for each time that a person lost access to an application
-- where they have an account. Rows outlive the person, and hold in words what may be gone when somebody asks.
CREATE TABLE receipts (
    id              TEXT PRIMARY KEY,
    application_id  TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    user_id         TEXT   NOT NULL,
    user_name       TEXT   NOT NULL,
    user_email      TEXT   NOT NULL, -- lower case
    reason          TEXT   NOT NULL CHECK (reason IN ('suspended', 'deleted', 'left')),
    cause           TEXT   NOT NULL, -- event by which access ended; '' if it was lost
    cause_text      TEXT   NOT NULL,
    cause_actor     TEXT   NOT NULL,
    ended_at        BIGINT NOT NULL, -- when access ended
    remote_id       TEXT   NOT NULL, -- '' while unknown
    state           TEXT   NOT NULL CHECK (state IN ('open', 'closed', 'withdrawn')),
    outcome         TEXT   NOT NULL DEFAULT '' CHECK (outcome IN ('', 'verified', 'absent', 'unreadable', 'by_hand')),
    sent_at         BIGINT NOT NULL DEFAULT 0, -- when the target acknowledged that the account is off
    sent_event      TEXT   NOT NULL DEFAULT '',
    request         TEXT   NOT NULL DEFAULT '', -- method and path
    answer          BIGINT NOT NULL DEFAULT 0, -- status
    read_at         BIGINT NOT NULL DEFAULT 0, -- when the account was last read back
    read_event      TEXT   NOT NULL DEFAULT '',
    finding         TEXT   NOT NULL DEFAULT '', -- what was found then, or why nothing can be
    alarmed_at      BIGINT NOT NULL DEFAULT 0,
    closed_at       BIGINT NOT NULL DEFAULT 0,
    closed_by       TEXT   NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX receipts_open ON receipts (application_id, user_id) WHERE state = 'open';
CREATE INDEX receipts_waiting ON receipts (ended_at) WHERE state = 'open';
CREATE INDEX receipts_user ON receipts (user_id, id);
CREATE INDEX receipts_email ON receipts (user_email);

-- Signs of life of each target, over all replicas and restarts.
CREATE TABLE target_health (
    application_id TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    answered_at    BIGINT NOT NULL DEFAULT 0, -- last good answer
    silent_at      BIGINT NOT NULL DEFAULT 0, -- when silence was told; 0 while it answers
    budget_left    BIGINT NOT NULL DEFAULT -1, -- requests that could be sent at once; -1 without a limit
    failures       BIGINT NOT NULL DEFAULT 0, -- in a row
    updated_at     BIGINT NOT NULL
);

-- How many objects were brought to rest and how many requests were sent in each minute, for an hour.
CREATE TABLE target_pace (
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    minute         BIGINT NOT NULL, -- since 1970
    finished       BIGINT NOT NULL,
    requests       BIGINT NOT NULL,
    failures       BIGINT NOT NULL,
    PRIMARY KEY (application_id, minute)
);
