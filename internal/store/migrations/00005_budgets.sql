-- +goose Up

-- Who may send to an application's target: one replica at a time, so that the target's limits hold over all of them.
CREATE TABLE budgets (
    application_id TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    holder         TEXT   NOT NULL,
    held_until     BIGINT NOT NULL,
    quiet_until    BIGINT NOT NULL -- the target asked to be left alone until then; 0
);
