-- +goose Up

-- Drift -------------------------------------------------------------------------------------

-- How often an application is compared with what should be there, and what becomes of what differs.
CREATE TABLE drift_settings (
    application_id TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    settings       TEXT   NOT NULL, -- JSON
    updated_at     BIGINT NOT NULL
);

-- One comparison. While it runs, phase and next say where reading goes on, should this process end.
CREATE TABLE drift_reports (
    id             TEXT PRIMARY KEY,
    application_id TEXT    NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    state          TEXT    NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    reason         TEXT    NOT NULL DEFAULT '', -- why it failed
    held           TEXT    NOT NULL DEFAULT '', -- why repairs wait for a person
    asked_by       TEXT    NOT NULL DEFAULT '', -- a person's name; '' for the clock
    cause          TEXT    NOT NULL DEFAULT '', -- the event that tells the result
    phase          TEXT    NOT NULL,
    next           TEXT    NOT NULL DEFAULT '',
    by_object      BOOLEAN NOT NULL DEFAULT FALSE, -- the target can't list: nothing is known of unmanaged accounts
    counts         TEXT    NOT NULL, -- JSON
    started_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    ended_at       BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX drift_reports_application ON drift_reports (application_id, id);

CREATE TABLE drift_rows (
    report_id   TEXT NOT NULL REFERENCES drift_reports (id) ON DELETE CASCADE,
    object_kind TEXT NOT NULL CHECK (object_kind IN ('user', 'group')),
    remote_id   TEXT NOT NULL,
    object_id   TEXT NOT NULL, -- '' for what isn't ours
    name        TEXT NOT NULL,
    finding     TEXT NOT NULL CHECK (finding IN ('changed', 'deleted', 'active', 'inactive', 'members', 'unmanaged')),
    state       TEXT NOT NULL CHECK (state IN ('open', 'repairing', 'kept', 'parked')),
    repair      BOOLEAN NOT NULL DEFAULT FALSE, -- the policy says so
    differences TEXT NOT NULL, -- JSON
    remote      TEXT NOT NULL, -- JSON: what was read, as far as a repair has to know
    note        TEXT NOT NULL DEFAULT '',
    search_key  TEXT NOT NULL,
    repaired_at BIGINT NOT NULL DEFAULT 0, -- when the repair was asked for
    PRIMARY KEY (report_id, object_kind, remote_id)
);
CREATE INDEX drift_rows_finding ON drift_rows (report_id, finding, state);
CREATE INDEX drift_rows_object ON drift_rows (report_id, object_kind, object_id);

-- Which of our objects a running comparison has seen.
CREATE TABLE drift_seen (
    report_id   TEXT NOT NULL REFERENCES drift_reports (id) ON DELETE CASCADE,
    object_kind TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    PRIMARY KEY (report_id, object_kind, object_id)
);

-- What is left at the target otherwise than the directory says, JSON, '' for nothing: values kept as they are there, and
-- an account that was deleted there and isn't made again unless somebody says so.
ALTER TABLE links ADD COLUMN drift TEXT NOT NULL DEFAULT '';
