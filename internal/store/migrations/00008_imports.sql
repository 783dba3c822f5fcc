-- +goose Up

-- Imports -----------------------------------------------------------------------------------

-- Where listing goes on, should this process end.
ALTER TABLE imports ADD COLUMN next TEXT NOT NULL DEFAULT '';

ALTER TABLE import_rows RENAME TO import_rows_before;
CREATE TABLE import_rows (
    import_id    TEXT NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    remote_id    TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('new', 'matched', 'likely', 'conflict', 'orphan')),
    user_id      TEXT NOT NULL DEFAULT '', -- ours, as far as one is meant
    username     TEXT NOT NULL,
    email        TEXT NOT NULL,
    display_name TEXT NOT NULL,
    search_key   TEXT NOT NULL,
    resource     TEXT NOT NULL, -- JSON
    detail       TEXT NOT NULL DEFAULT '', -- why it has its status
    job          TEXT NOT NULL DEFAULT '', -- the job that has still to deal with it
    outcome      TEXT NOT NULL DEFAULT '' CHECK (outcome IN ('', 'created', 'linked', 'updated', 'skipped', 'failed', 'undone', 'kept')),
    result       TEXT NOT NULL DEFAULT '', -- what was done with it, in words
    made         TEXT NOT NULL DEFAULT '', -- JSON: what undoing takes back, empty for nothing
    PRIMARY KEY (import_id, remote_id)
);
INSERT INTO import_rows (import_id, remote_id, status, user_id, username, email, display_name, search_key, resource, detail, outcome, result)
SELECT import_id, remote_id, status, user_id, username, email, display_name, search_key, resource, detail,
    CASE WHEN result LIKE 'created%' THEN 'created' WHEN result LIKE 'skipped%' THEN 'skipped' WHEN result LIKE 'failed%' THEN 'failed' ELSE '' END,
    result
FROM import_rows_before;
DROP TABLE import_rows_before;
-- Counts read only the first, lists are read in the order of either.
CREATE INDEX import_rows_status ON import_rows (import_id, status, username, remote_id);
CREATE INDEX import_rows_name ON import_rows (import_id, username, remote_id);
CREATE INDEX import_rows_job ON import_rows (job, remote_id) WHERE job <> '';
CREATE INDEX import_rows_made ON import_rows (import_id, remote_id) WHERE made <> '';

-- One act upon many accounts of an import. Which accounts it has still to deal with, the rows say.
CREATE TABLE import_jobs (
    id         TEXT PRIMARY KEY,
    import_id  TEXT   NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    act        TEXT   NOT NULL CHECK (act IN ('create', 'link', 'update', 'undo')),
    state      TEXT   NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    reason     TEXT   NOT NULL DEFAULT '', -- why it failed
    actor      TEXT   NOT NULL, -- JSON
    user_state TEXT   NOT NULL DEFAULT '', -- of people that are created
    total      BIGINT NOT NULL,
    counts     TEXT   NOT NULL DEFAULT '{}', -- JSON: rows by outcome
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX import_jobs_import ON import_jobs (import_id, id);
CREATE UNIQUE INDEX import_jobs_running ON import_jobs (import_id) WHERE state = 'running';
