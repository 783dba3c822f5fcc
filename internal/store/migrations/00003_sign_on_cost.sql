-- +goose Up

-- What a service provider was told about a session, for single logout. A session has one index at each, so a sign-on in
-- a session that the service provider knows already finds its row and writes nothing.
DROP INDEX saml_sessions_session;
DROP INDEX saml_sessions_name;
ALTER TABLE saml_sessions RENAME TO saml_sessions_before;
CREATE TABLE saml_sessions (
    session_id     TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    session_index  TEXT   NOT NULL,
    name_id        TEXT   NOT NULL,
    name_id_format TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (session_id, application_id, session_index, name_id, name_id_format)
);
INSERT INTO saml_sessions (session_id, application_id, session_index, name_id, name_id_format, created_at)
    SELECT session_id, application_id, id, name_id, name_id_format, created_at FROM saml_sessions_before;
DROP TABLE saml_sessions_before;
CREATE INDEX saml_sessions_name ON saml_sessions (application_id, name_id);

-- There are few of them, and they are looked through only when the old ones are forgotten.
DROP INDEX saml_requests_expires;
