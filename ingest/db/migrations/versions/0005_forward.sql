CREATE TABLE vault_secrets (
    id text PRIMARY KEY,
    app_id text NOT NULL REFERENCES apps,
    platform text NOT NULL CHECK (platform IN ('meta', 'tiktok')),
    key_id text NOT NULL CHECK (key_id ~ '^[0-9a-f]{16}$'),
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    replaced_at timestamptz,
    resealed_at timestamptz,
    UNIQUE (app_id, platform)
);
COMMENT ON TABLE vault_secrets IS 'the tokens by which platforms know us';
COMMENT ON COLUMN vault_secrets.sealed IS 'AES-256-GCM with the row''s id, app and platform as associated data: nonce, ciphertext and tag';
COMMENT ON COLUMN vault_secrets.key_id IS 'under which key it is sealed';
COMMENT ON COLUMN vault_secrets.replaced_at IS 'when the platform''s token last changed; a new seal alone is no change';

-- What became of each conversion at each platform. `event_at` is the client's own text, as in the identity of an event.
CREATE TABLE deliveries (
    app_id text NOT NULL,
    event_id text NOT NULL,
    event_at text NOT NULL,
    platform text NOT NULL CHECK (platform IN ('meta', 'tiktok')),
    fate text NOT NULL CHECK (fate IN ('sent', 'skipped', 'refused', 'expired')),
    reason text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app_id, event_id, event_at, platform)
);
CREATE INDEX ON deliveries (recorded_at);

-- How it goes with each destination, as the processes that forward see it.
CREATE TABLE forward_destinations (
    app_id text NOT NULL,
    platform text NOT NULL CHECK (platform IN ('meta', 'tiktok')),
    state text NOT NULL CHECK (state IN ('healthy', 'degraded', 'paused')),
    reason text NOT NULL DEFAULT '',
    since timestamptz NOT NULL DEFAULT now(),
    last_success_at timestamptz,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app_id, platform)
);

CREATE TABLE forward_workers (
    id text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    lag_records bigint NOT NULL,
    parked_records bigint NOT NULL
);
COMMENT ON COLUMN forward_workers.lag_records IS 'what this process has still to take of the partitions that are its own';
COMMENT ON COLUMN forward_workers.parked_records IS 'the same of the topic forward-parked';

-- A platform is switched off for forwarding alone: nothing that is sent to us is refused for it.
ALTER TABLE kill_switches
    ADD COLUMN platform text CHECK (platform IN ('meta', 'tiktok')),
    DROP CONSTRAINT kill_switches_scope_check,
    ADD CHECK (scope IN ('organization', 'global', 'platform')),
    DROP CONSTRAINT kill_switches_check,
    ADD CHECK ((scope = 'organization') = (organization_id IS NOT NULL)),
    ADD CHECK ((scope = 'platform') = (platform IS NOT NULL)),
    DROP CONSTRAINT kill_switches_scope_organization_id_key,
    ADD UNIQUE NULLS NOT DISTINCT (scope, organization_id, platform);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ingest_forward') THEN
        CREATE ROLE ingest_forward NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

-- Forwarding alone reads tokens. It reads who may send and what users said, and writes what became of conversions.
GRANT SELECT ON organizations, projects, apps, kill_switches, registry_version, vault_secrets, user_properties, consents,
    erasures, erased_subjects, alembic_version TO ingest_forward;
GRANT SELECT, INSERT ON deliveries TO ingest_forward;
GRANT SELECT, INSERT, UPDATE, DELETE ON forward_destinations, forward_workers TO ingest_forward;
GRANT INSERT ON audit_events, outbox TO ingest_forward;

-- The same as before, and deliveries, which are kept for 30 days.
CREATE OR REPLACE FUNCTION delete_old_rows(parent text, days integer, rows_max integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    until timestamptz := now() - make_interval(days => days);
    deleted integer;
BEGIN
    IF days IS NULL OR rows_max IS NULL
        OR days < (CASE WHEN parent IN ('outbox', 'deliveries') THEN 30 ELSE 731 END) THEN
        RAISE EXCEPTION 'not old enough to be deleted';
    END IF;
    CASE parent
        WHEN 'audit_events' THEN
            DELETE FROM audit_events WHERE id IN (
                SELECT id FROM audit_events WHERE at < until ORDER BY at LIMIT rows_max);
        WHEN 'outbox' THEN
            DELETE FROM outbox WHERE id IN (
                SELECT id FROM outbox WHERE delivered_at < until LIMIT rows_max);
        WHEN 'deliveries' THEN
            DELETE FROM deliveries WHERE (app_id, event_id, event_at, platform) IN (
                SELECT app_id, event_id, event_at, platform FROM deliveries
                WHERE recorded_at < until ORDER BY recorded_at LIMIT rows_max);
        WHEN 'erasures' THEN
            DELETE FROM erasures WHERE id IN (
                SELECT id FROM erasures WHERE completed_at < until LIMIT rows_max);
        WHEN 'erased_subjects' THEN
            DELETE FROM erased_subjects WHERE number IN (
                SELECT number FROM erased_subjects WHERE received_until < until ORDER BY received_until LIMIT rows_max);
        ELSE
            RAISE EXCEPTION 'not a table of rows to be deleted';
    END CASE;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
