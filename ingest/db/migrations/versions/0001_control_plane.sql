-- Ids are text: a prefix and a ULID, or what an operator chose for an app. All times are UTC.

-- A database that was made before PostgreSQL 15 lets everybody create things here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE TABLE organizations (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    contact text NOT NULL CHECK (length(contact) BETWEEN 3 AND 2048),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN organizations.contact IS 'an e-mail address or an https URL, told of every kill';

CREATE TABLE projects (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    organization_id text NOT NULL REFERENCES organizations,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON projects (organization_id);

CREATE TABLE apps (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    project_id text NOT NULL REFERENCES projects,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    environment text CHECK (environment ~ '^[A-Za-z0-9_-]{1,64}$'),
    options jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    is_active boolean NOT NULL DEFAULT true,
    kill_switch boolean NOT NULL DEFAULT false,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON apps (project_id);
COMMENT ON COLUMN apps.options IS 'limits, consent, store pages, forwarding: the optional members of an app in a registry file';

CREATE TABLE api_keys (
    id text PRIMARY KEY CHECK (id ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$'),
    organization_id text NOT NULL REFERENCES organizations,
    env text NOT NULL CHECK (env IN ('live', 'test')),
    name text CHECK (length(name) BETWEEN 1 AND 200),
    secret_hash text NOT NULL CHECK (secret_hash ~ '^\$2b\$12\$[./A-Za-z0-9]{53}$'),
    scopes text[] NOT NULL,
    tier text NOT NULL DEFAULT 'standard' CHECK (tier IN ('standard', 'pilot', 'partner')),
    is_active boolean NOT NULL DEFAULT true,
    kill_switch boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX ON api_keys (organization_id, id);
COMMENT ON COLUMN api_keys.secret_hash IS 'bcrypt, cost 12; the secret itself is kept nowhere';

-- Revocation is permanent, and only an operator lifts a kill: whoever does not own the table cannot turn back.
CREATE FUNCTION keep_keys_off() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RETURN NEW;
    END IF;
    IF (OLD.kill_switch AND NOT NEW.kill_switch) OR (NEW.is_active AND NOT OLD.is_active)
        OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
        RAISE insufficient_privilege USING MESSAGE = 'what is switched off or revoked stays so';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_keys_off BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION keep_keys_off();

CREATE TABLE kill_switches (
    scope text NOT NULL CHECK (scope IN ('organization', 'global')),
    organization_id text REFERENCES organizations,
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    turned_on_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((scope = 'global') = (organization_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (scope, organization_id)
);
COMMENT ON TABLE kill_switches IS 'a row for each switch above the single key or app that is on now';

CREATE TABLE audit_events (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    organization_id text REFERENCES organizations,
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    action text NOT NULL,
    target_type text NOT NULL,
    target_id text NOT NULL,
    reason text CHECK (length(reason) BETWEEN 1 AND 500),
    request_id text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON audit_events (organization_id, at DESC, id DESC);
CREATE INDEX ON audit_events (at);

CREATE TABLE outbox (
    id text PRIMARY KEY,
    message_id text NOT NULL,
    recipient text NOT NULL CHECK (recipient IN ('support', 'organization')),
    organization_id text REFERENCES organizations,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    last_failure text,
    CHECK (recipient = 'support' OR organization_id IS NOT NULL)
);
CREATE INDEX ON outbox (next_attempt_at) WHERE delivered_at IS NULL;
COMMENT ON TABLE outbox IS 'one row for each message and recipient; message_id is the same for all recipients of one message';

CREATE TABLE request_log (
    at timestamptz NOT NULL,
    request_id text NOT NULL,
    organization_id text,
    project_id text,
    app_id text,
    key_id text,
    route text NOT NULL,
    method text NOT NULL,
    status smallint NOT NULL,
    code text,
    latency_ms real NOT NULL,
    request_bytes integer NOT NULL,
    response_bytes integer NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX ON request_log (request_id);
CREATE INDEX ON request_log (organization_id, at);
COMMENT ON TABLE request_log IS 'metadata of partner requests, by day (UTC), never a body or an address';

-- A day's partition is made by whoever writes first, so that writing never depends on a scheduler. The owner's rights
-- are lent for exactly this.
CREATE FUNCTION make_day_partition(parent text, day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF parent NOT IN ('request_log') OR day NOT BETWEEN current_date - 1 AND current_date + 7 THEN
        RAISE EXCEPTION 'not a partition to be made';
    END IF;
    IF to_regclass(format('%I', parent || to_char(day, '_YYYYMMDD'))) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext(parent));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
            parent || to_char(day, '_YYYYMMDD'), parent,
            to_char(day, 'YYYY-MM-DD') || ' 00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00+00'
        );
    END IF;
END $$;
REVOKE ALL ON FUNCTION make_day_partition FROM PUBLIC;

-- What the edges keep a copy of has a version, raised by every change however it is made, in the same transaction.
CREATE TABLE registry_version (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO registry_version (version) VALUES (1);

CREATE FUNCTION raise_registry_version() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE registry_version SET version = version + 1;
    NOTIFY ingest_registry;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION raise_registry_version FROM PUBLIC;

CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION raise_registry_version();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON apps
    FOR EACH STATEMENT EXECUTE FUNCTION raise_registry_version();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON kill_switches
    FOR EACH STATEMENT EXECUTE FUNCTION raise_registry_version();

-- Roles are of the whole server, so another database of it may have made them already, even at this moment.
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['ingest_serving', 'ingest_notify'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

-- Serving reads who may send, lets partners turn their own keys, and writes down what was done. It deletes nothing.
GRANT SELECT ON organizations, projects, apps, api_keys, kill_switches, registry_version, audit_events TO ingest_serving;
GRANT SELECT (created_at, delivered_at) ON outbox TO ingest_serving;
GRANT UPDATE (kill_switch, is_active, revoked_at, secret_hash, rotated_at) ON api_keys TO ingest_serving;
GRANT INSERT ON audit_events, outbox, request_log TO ingest_serving;
GRANT EXECUTE ON FUNCTION make_day_partition TO ingest_serving;

GRANT SELECT ON outbox, organizations TO ingest_notify;
GRANT UPDATE (attempts, next_attempt_at, delivered_at, last_failure) ON outbox TO ingest_notify;

-- Whoever connects may tell whether the schema is the one that it needs.
GRANT SELECT ON alembic_version TO ingest_serving, ingest_notify;
