-- +goose Up

-- Settings of the organization, one JSON value a key.
CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Directory ---------------------------------------------------------------------------------

CREATE TABLE users (
    id              TEXT PRIMARY KEY,
    username        TEXT   NOT NULL,
    username_key    TEXT   NOT NULL,
    email           TEXT   NOT NULL, -- lower case
    state           TEXT   NOT NULL CHECK (state IN ('staged', 'active', 'suspended')),
    password_status TEXT   NOT NULL CHECK (password_status IN ('pending', 'active', 'expired')),
    role            TEXT   NOT NULL DEFAULT '',
    display_name    TEXT   NOT NULL DEFAULT '', -- as shown in lists: display name, else given + family, else user name
    profile         TEXT   NOT NULL DEFAULT '{}', -- all other attributes
    manager_id      TEXT   NOT NULL DEFAULT '',
    sort_key        TEXT   NOT NULL, -- folded display name
    search_key      TEXT   NOT NULL, -- folded names, user name, e-mail, employee id
    session_epoch   BIGINT NOT NULL DEFAULT 0, -- a session of an older epoch has ended
    version         BIGINT NOT NULL DEFAULT 1,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    suspended_at    BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX users_username_key ON users (username_key);
CREATE UNIQUE INDEX users_email ON users (email);
-- A search for text reads only this index, in the order of the list.
CREATE INDEX users_sort ON users (sort_key, id, search_key);
CREATE INDEX users_role ON users (role) WHERE role <> '';
CREATE INDEX users_manager ON users (manager_id) WHERE manager_id <> '';
CREATE INDEX users_not_active ON users (state, sort_key, id) WHERE state <> 'active';

CREATE TABLE groups (
    id          TEXT PRIMARY KEY,
    name        TEXT   NOT NULL,
    name_key    TEXT   NOT NULL,
    description TEXT   NOT NULL DEFAULT '',
    attributes  TEXT   NOT NULL DEFAULT '{}', -- inherited by members
    search_key  TEXT   NOT NULL DEFAULT '', -- folded name and description
    version     BIGINT NOT NULL DEFAULT 1,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX groups_name_key ON groups (name_key);

CREATE TABLE memberships (
    group_id TEXT   NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id  TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, group_id);

-- Proof of who people are -------------------------------------------------------------------

CREATE TABLE passwords (
    user_id    TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT    NOT NULL, -- PHC string
    temporary  BOOLEAN NOT NULL DEFAULT FALSE,
    changed_at BIGINT  NOT NULL
);

CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    token_hash       TEXT   NOT NULL,
    user_id          TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch            BIGINT NOT NULL, -- the user's session_epoch at sign-in
    factors          TEXT   NOT NULL, -- JSON: method and time of each proof
    authenticated_at BIGINT NOT NULL, -- last full proof
    address          TEXT   NOT NULL,
    user_agent       TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    seen_at          BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL -- absolute
);
CREATE UNIQUE INDEX sessions_token_hash ON sessions (token_hash);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- A sign-in under way: what was asked for, kept while the person proves who they are.
CREATE TABLE flows (
    id          TEXT PRIMARY KEY, -- hash of the token in the browser's address
    kind        TEXT   NOT NULL,
    data        TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    consumed_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX flows_expiry ON flows (expires_at);

-- Links that work once: first owner, activation, password reset.
CREATE TABLE one_time_links (
    token_hash  TEXT PRIMARY KEY,
    purpose     TEXT   NOT NULL,
    user_id     TEXT   NOT NULL DEFAULT '',
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    consumed_at BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE throttles (
    key          TEXT PRIMARY KEY,
    failures     BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    blocked_till BIGINT NOT NULL
);

-- Networks and browsers that a person signed in from. Failures elsewhere don't slow them down here.
CREATE TABLE familiar_places (
    user_id TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    place   TEXT   NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, place)
);

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT   NOT NULL,
    secret_hash  TEXT   NOT NULL,
    role         TEXT   NOT NULL,
    created_by   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT NOT NULL DEFAULT 0,
    revoked_at   BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX api_keys_secret_hash ON api_keys (secret_hash);

CREATE TABLE idempotency_keys (
    actor_id     TEXT   NOT NULL,
    key          TEXT   NOT NULL,
    request_hash TEXT   NOT NULL,
    status       BIGINT NOT NULL, -- 0 while the first call runs
    body         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (actor_id, key)
);

-- Applications ------------------------------------------------------------------------------

CREATE TABLE applications (
    id             TEXT PRIMARY KEY,
    connector      TEXT    NOT NULL,
    label          TEXT    NOT NULL,
    label_key      TEXT    NOT NULL,
    description    TEXT    NOT NULL DEFAULT '',
    colour         TEXT    NOT NULL DEFAULT '',
    logo_type      TEXT    NOT NULL DEFAULT '', -- media type; '' when there is no logo
    logo           BYTEA   NOT NULL,
    portal_visible BOOLEAN NOT NULL,
    bookmark_url   TEXT    NOT NULL DEFAULT '',
    version        BIGINT  NOT NULL DEFAULT 1,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL
);
CREATE UNIQUE INDEX applications_label_key ON applications (label_key);

-- The last part of an application's IdP URL. An older one keeps answering until it is dropped.
CREATE TABLE application_slugs (
    slug           TEXT PRIMARY KEY,
    application_id TEXT    NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    current        BOOLEAN NOT NULL,
    created_at     BIGINT  NOT NULL
);
CREATE INDEX application_slugs_application ON application_slugs (application_id);

CREATE TABLE saml_integrations (
    application_id TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    state          TEXT   NOT NULL CHECK (state IN ('off', 'active', 'paused')), -- 'incomplete' is derived
    idp_entity_id  TEXT   NOT NULL DEFAULT '',
    sp_entity_id   TEXT   NOT NULL DEFAULT '',
    settings       TEXT   NOT NULL DEFAULT '{}',
    updated_at     BIGINT NOT NULL,
    activated_at   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX saml_integrations_sp ON saml_integrations (sp_entity_id);

CREATE TABLE scim_integrations (
    application_id   TEXT PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    state            TEXT    NOT NULL CHECK (state IN ('off', 'active', 'paused', 'stopped')), -- 'incomplete' is derived
    state_reason     TEXT    NOT NULL DEFAULT '',
    state_since      BIGINT  NOT NULL DEFAULT 0,
    base_url         TEXT    NOT NULL DEFAULT '',
    token            TEXT    NOT NULL DEFAULT '', -- sealed
    token_expires_at BIGINT  NOT NULL DEFAULT 0,
    manage_groups    BOOLEAN NOT NULL DEFAULT FALSE,
    settings         TEXT    NOT NULL DEFAULT '{}',
    generation       BIGINT  NOT NULL DEFAULT 1, -- rises with every change of mapping or scope
    approved_at      BIGINT  NOT NULL DEFAULT 0, -- what was waiting then, a person agreed to
    updated_at       BIGINT  NOT NULL
);

CREATE TABLE bindings (
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    group_id       TEXT   NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (application_id, group_id)
);
CREATE INDEX bindings_group ON bindings (group_id, application_id);

-- Signing keys and their certificates, per application.
CREATE TABLE key_pairs (
    id             TEXT PRIMARY KEY,
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    status         TEXT   NOT NULL CHECK (status IN ('next', 'current', 'previous')),
    certificate    TEXT   NOT NULL, -- PEM
    private_key    TEXT   NOT NULL, -- sealed PKCS#8
    not_before     BIGINT NOT NULL,
    not_after      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX key_pairs_application_id_status ON key_pairs (application_id, status);

-- What each sign-on told an application, for single logout and for the inspector.
CREATE TABLE saml_sessions (
    id             TEXT PRIMARY KEY, -- SessionIndex
    session_id     TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    name_id        TEXT   NOT NULL,
    name_id_format TEXT   NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX saml_sessions_session ON saml_sessions (session_id);
CREATE INDEX saml_sessions_application ON saml_sessions (application_id);

-- Provisioning ------------------------------------------------------------------------------

-- What is known to be at a target: one row per application and object of ours.
CREATE TABLE links (
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    object_kind    TEXT   NOT NULL CHECK (object_kind IN ('user', 'group')),
    object_id      TEXT   NOT NULL, -- outlives the object, until the target was told
    object_name    TEXT   NOT NULL,
    remote_id      TEXT   NOT NULL, -- '' while nothing is known to exist there
    linked         BOOLEAN NOT NULL, -- acknowledged to be ours; else only found by a look-up
    known          TEXT   NOT NULL CHECK (known IN ('unknown', 'absent', 'remembered', 'doubtful')),
    snapshot       TEXT   NOT NULL, -- JSON as last acknowledged; members apart
    status         TEXT   NOT NULL CHECK (status IN ('pending', 'synced', 'inactive', 'blocked', 'failed', 'released')),
    reason         TEXT   NOT NULL DEFAULT '',
    approved       BOOLEAN NOT NULL DEFAULT FALSE, -- a person agreed to the guarded step
    generation     BIGINT NOT NULL DEFAULT 0, -- of the integration, when last in sync
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    synced_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (application_id, object_kind, object_id)
);
CREATE UNIQUE INDEX links_remote ON links (application_id, object_kind, remote_id) WHERE remote_id <> '';
CREATE INDEX links_object ON links (object_kind, object_id);
CREATE INDEX links_status ON links (application_id, object_kind, status);

-- Which of our users are acknowledged members of which remote group.
CREATE TABLE link_members (
    application_id TEXT NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    group_id       TEXT NOT NULL,
    remote_user_id TEXT NOT NULL,
    PRIMARY KEY (application_id, group_id, remote_user_id)
);
CREATE INDEX link_members_user ON link_members (application_id, remote_user_id);

-- Accounts found at a target, listed so that an administrator can import them.
CREATE TABLE imports (
    id             TEXT PRIMARY KEY,
    application_id TEXT   NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    state          TEXT   NOT NULL CHECK (state IN ('listing', 'listed', 'failed')),
    reason         TEXT   NOT NULL DEFAULT '',
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX imports_application ON imports (application_id, id);

CREATE TABLE import_rows (
    import_id    TEXT NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    remote_id    TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('new', 'matched', 'conflict')),
    user_id      TEXT NOT NULL DEFAULT '', -- ours, when matched
    username     TEXT NOT NULL,
    email        TEXT NOT NULL,
    display_name TEXT NOT NULL,
    search_key   TEXT NOT NULL,
    resource     TEXT NOT NULL, -- JSON
    detail       TEXT NOT NULL DEFAULT '', -- why it conflicts
    result       TEXT NOT NULL DEFAULT '', -- what the import did
    PRIMARY KEY (import_id, remote_id)
);

-- Files of people that administrators uploaded, kept for a day: first checked, then imported.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL, -- of the file
    options    TEXT   NOT NULL, -- JSON
    state      TEXT   NOT NULL CHECK (state IN ('checking', 'checked', 'running', 'done', 'failed')),
    reason     TEXT   NOT NULL DEFAULT '',
    done       BIGINT NOT NULL DEFAULT 0, -- rows so far
    total      BIGINT NOT NULL,
    content    BYTEA  NOT NULL, -- empty once imported
    report     TEXT   NOT NULL DEFAULT '', -- JSON
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Durable work ------------------------------------------------------------------------------

-- One row per thing that has to be kept true. It isn't a message: "wanted" rises with every
-- change, and the lane is at rest when "synced" has caught up.
CREATE TABLE lanes (
    kind         TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    scope        TEXT    NOT NULL DEFAULT '', -- whose budget it uses; an application's id
    priority     BIGINT  NOT NULL DEFAULT 0, -- lower goes first
    wanted       BIGINT  NOT NULL,
    synced       BIGINT  NOT NULL DEFAULT 0,
    due_at       BIGINT  NOT NULL,
    since        BIGINT  NOT NULL, -- when it last left rest
    leased_until BIGINT  NOT NULL DEFAULT 0,
    fence        BIGINT  NOT NULL DEFAULT 0, -- rises with every lease
    attempts     BIGINT  NOT NULL DEFAULT 0,
    parked       BOOLEAN NOT NULL DEFAULT FALSE,
    reason       TEXT    NOT NULL DEFAULT '',
    cause        TEXT    NOT NULL DEFAULT '', -- id of the event that woke it last
    PRIMARY KEY (kind, key)
);
CREATE INDEX lanes_due ON lanes (kind, scope, priority, due_at) WHERE wanted > synced AND NOT parked;
CREATE INDEX lanes_next ON lanes (due_at) WHERE wanted > synced AND NOT parked;
CREATE INDEX lanes_scope ON lanes (scope, kind) WHERE wanted > synced;

-- Changes whose consequences have not been worked out yet. Rows are claimed and deleted, never
-- passed over.
CREATE TABLE outbox (
    id          TEXT PRIMARY KEY,
    object_kind TEXT   NOT NULL,
    object_id   TEXT   NOT NULL,
    cause       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

-- Events ------------------------------------------------------------------------------------

CREATE TABLE events (
    id             TEXT PRIMARY KEY,
    at             BIGINT NOT NULL,
    type           TEXT   NOT NULL,
    outcome        TEXT   NOT NULL,
    actor_kind     TEXT   NOT NULL,
    actor_id       TEXT   NOT NULL,
    actor_name     TEXT   NOT NULL,
    address        TEXT   NOT NULL,
    correlation    TEXT   NOT NULL,
    object_kind    TEXT   NOT NULL,
    object_id      TEXT   NOT NULL,
    object_name    TEXT   NOT NULL,
    application_id TEXT   NOT NULL,
    cause          TEXT   NOT NULL, -- id of the event that this one follows from
    message        TEXT   NOT NULL, -- one sentence for people
    changes        TEXT   NOT NULL, -- JSON: attribute, old, new
    detail         TEXT   NOT NULL, -- JSON: request, answer and the like
    search_key     TEXT   NOT NULL
);
CREATE INDEX events_object ON events (object_kind, object_id, id);
CREATE INDEX events_application ON events (application_id, id) WHERE application_id <> '';
CREATE INDEX events_type ON events (type, id);
CREATE INDEX events_actor ON events (actor_id, id) WHERE actor_id <> '';
CREATE INDEX events_correlation ON events (correlation);
