-- One row for each property of a user and for each choice of a consent, as the newest statement has it. `user_kind`
-- says which of the SDK's ids `user_id` is; a property belongs to one id, a choice to each id of its statement.

CREATE TABLE user_properties (
    app_id text NOT NULL,
    user_kind text NOT NULL CHECK (user_kind IN ('app_user_id', 'anonymous_id', 'install_id')),
    user_id text NOT NULL,
    name text NOT NULL,
    value jsonb NOT NULL,
    set_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    project_id text NOT NULL,
    organization_id text NOT NULL,
    app_user_id text,
    digests text[],
    PRIMARY KEY (app_id, user_kind, user_id, name)
);
COMMENT ON COLUMN user_properties.set_at IS 'the client''s time stamp, or received_at where that is earlier';
COMMENT ON COLUMN user_properties.app_user_id IS 'the user of the statement, whichever id the row belongs to';
CREATE INDEX ON user_properties (project_id, user_id);
CREATE INDEX ON user_properties (project_id, app_user_id) WHERE app_user_id IS NOT NULL;
CREATE INDEX ON user_properties USING gin (digests) WHERE digests IS NOT NULL;

CREATE TABLE consents (
    app_id text NOT NULL,
    user_kind text NOT NULL CHECK (user_kind IN ('app_user_id', 'install_id')),
    user_id text NOT NULL,
    name text NOT NULL CHECK (name IN ('advertising', 'analytics', 'thirdPartySharing', 'att_status')),
    value jsonb NOT NULL,
    set_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    project_id text NOT NULL,
    organization_id text NOT NULL,
    app_user_id text,
    digests text[],
    PRIMARY KEY (app_id, user_kind, user_id, name)
);
COMMENT ON COLUMN consents.set_at IS 'the client''s time stamp, or received_at where that is earlier';
COMMENT ON COLUMN consents.app_user_id IS 'the user of the statement, whichever id the row belongs to';
CREATE INDEX ON consents (project_id, user_id);
CREATE INDEX ON consents (project_id, app_user_id) WHERE app_user_id IS NOT NULL;
CREATE INDEX ON consents USING gin (digests) WHERE digests IS NOT NULL;

-- What was asked to be erased. `subjects` are ids and digests as they stand in rows, gone with the completion.
CREATE TABLE erasures (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    project_id text NOT NULL,
    subjects text[] NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    completed_at timestamptz,
    events_erased bigint NOT NULL DEFAULT 0,
    user_properties_erased bigint NOT NULL DEFAULT 0,
    consents_erased bigint NOT NULL DEFAULT 0,
    CHECK (completed_at IS NULL OR subjects = '{}')
);
CREATE INDEX ON erasures (requested_at) WHERE completed_at IS NULL;
CREATE INDEX ON erasures (project_id, requested_at);

-- Who is erased, by the SHA-256 of the id or digest: what was received until then is refused however late it comes.
CREATE TABLE erased_subjects (
    project_id text NOT NULL,
    subject text NOT NULL CHECK (subject ~ '^[0-9a-f]{64}$'),
    erasure_id text NOT NULL,
    received_until timestamptz NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (project_id, subject, erasure_id)
);
COMMENT ON COLUMN erased_subjects.number IS 'grows, for readers that want what is new';
CREATE INDEX ON erased_subjects (received_until);
CREATE UNIQUE INDEX ON erased_subjects (number);

GRANT SELECT, INSERT, UPDATE, DELETE ON user_properties, consents TO ingest_persist;
GRANT SELECT, INSERT, UPDATE ON erasures TO ingest_persist;
GRANT SELECT, INSERT ON erased_subjects TO ingest_persist;
GRANT DELETE ON events TO ingest_persist;
GRANT INSERT ON audit_events TO ingest_persist;

-- Serving reads what is kept of a user and asks for its erasure; it deletes nothing.
GRANT SELECT ON events, user_properties, consents TO ingest_serving;
GRANT SELECT, INSERT ON erasures, erased_subjects TO ingest_serving;
