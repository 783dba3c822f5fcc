-- +goose Up

-- Sign-on in depth: names that people have at applications, requests that were answered, the last exchanges for the
-- inspector, watched metadata, reminders, and mail.

-- A person's persistent, pairwise name at an application (saml-core §8.3.7). The rows outlive the person: a name is
-- never given to anybody else.
CREATE TABLE name_ids (
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    user_id        TEXT   NOT NULL,
    value          TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (application_id, user_id)
);
CREATE UNIQUE INDEX name_ids_value ON name_ids (application_id, value);

-- Messages that were acted upon, by their ID, until they are stale anyway: each counts once.
CREATE TABLE saml_requests (
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    request_id     TEXT   NOT NULL,
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (application_id, request_id)
);
CREATE INDEX saml_requests_expires ON saml_requests (expires_at);

-- The last exchanges of each application, redacted before they are written.
CREATE TABLE saml_exchanges (
    id             TEXT PRIMARY KEY,
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    kind           TEXT   NOT NULL, -- sign_on, logout_request, logout_response
    outcome        TEXT   NOT NULL, -- success, failure, denied
    reason         TEXT   NOT NULL, -- '' or a stable word
    user_id        TEXT   NOT NULL,
    user_name      TEXT   NOT NULL,
    correlation    TEXT   NOT NULL,
    content        TEXT   NOT NULL, -- JSON: binding, request, response, findings
    created_at     BIGINT NOT NULL
);
CREATE INDEX saml_exchanges_application ON saml_exchanges (application_id, id);

-- A service provider's metadata at a URL. What was found there and differs waits for a person's word.
CREATE TABLE metadata_sources (
    application_id TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    url            TEXT   NOT NULL,
    entity_id      TEXT   NOT NULL, -- which one, if the document holds several; ''
    signer         TEXT   NOT NULL DEFAULT '', -- PEM; '' takes an unsigned document
    etag           TEXT   NOT NULL DEFAULT '',
    last_modified  TEXT   NOT NULL DEFAULT '',
    found          TEXT   NOT NULL DEFAULT '', -- JSON: what the document said when last read; '' if it never was
    known          TEXT   NOT NULL DEFAULT '', -- JSON: what it said when it was last agreed to
    settled        TEXT   NOT NULL DEFAULT '', -- fingerprint of what was agreed to or turned down
    cache_seconds  BIGINT NOT NULL DEFAULT 0, -- how long it says that it may be kept
    error          TEXT   NOT NULL DEFAULT '',
    valid_until    BIGINT NOT NULL DEFAULT 0,
    checked_at     BIGINT NOT NULL DEFAULT 0,
    changed_at     BIGINT NOT NULL DEFAULT 0,
    next_at        BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX metadata_sources_next ON metadata_sources (next_at);

-- Which reminders of an end were given, so that each is given once over all replicas.
CREATE TABLE reminders (
    kind      TEXT    NOT NULL, -- certificate, sp_certificate, token
    object_id TEXT    NOT NULL,
    ends_at   BIGINT  NOT NULL,
    days      INTEGER NOT NULL,
    given_at  BIGINT  NOT NULL,
    PRIMARY KEY (kind, object_id, ends_at, days)
);

-- Mail that waits to be sent, and what became of it.
CREATE TABLE mails (
    id         TEXT PRIMARY KEY,
    kind       TEXT    NOT NULL,
    recipient  TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    content    TEXT    NOT NULL, -- sealed: text and HTML; '' once sent
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    error      TEXT    NOT NULL DEFAULT '',
    cause      TEXT    NOT NULL DEFAULT '', -- event
    created_at BIGINT  NOT NULL,
    sent_at    BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX mails_state ON mails (state, id);

-- Events about an application are found by application_id, so their object needs no index as well.
DROP INDEX events_object;
CREATE INDEX events_object ON events (object_kind, object_id, id) WHERE object_kind <> 'application';

-- A logout request names a person at an application; what it names is found without reading the others there.
DROP INDEX saml_sessions_application;
CREATE INDEX saml_sessions_name ON saml_sessions (application_id, name_id);
