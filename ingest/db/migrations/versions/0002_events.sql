-- One row for each event, by the day of the client's time stamp (UTC). Its identity is the primary key, so that a
-- repeat vanishes whatever way it comes. Members that are asked for are columns; all of them stand in `event`.

CREATE TABLE events (
    app_id text NOT NULL,
    event_id text NOT NULL,
    ts timestamptz NOT NULL,
    project_id text NOT NULL,
    organization_id text NOT NULL,
    name text NOT NULL,
    received_at timestamptz NOT NULL,
    user_id text,
    app_user_id text,
    install_id text,
    session_id text,
    digests text[],
    platform text,
    environment text,
    country_code text,
    subdivision1_code text,
    source text NOT NULL,
    event jsonb NOT NULL,
    meta jsonb NOT NULL,
    PRIMARY KEY (app_id, event_id, ts)
) PARTITION BY RANGE (ts);
COMMENT ON COLUMN events.ts IS 'the client''s time stamp; event->>''timestamp'' is the text that it sent';
COMMENT ON COLUMN events.digests IS 'every SHA-256 digest that stands anywhere in the event, in lower-case hex';
CREATE INDEX ON events (project_id, ts);
CREATE INDEX ON events (project_id, user_id, ts) WHERE user_id IS NOT NULL;
CREATE INDEX ON events (project_id, app_user_id, ts) WHERE app_user_id IS NOT NULL;
CREATE INDEX ON events USING gin (digests) WHERE digests IS NOT NULL;

-- For days that nobody makes a partition of: clocks that are wrong by years.
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- How far a consumer has come, written with what it has done. `record_at_ms` is the time stamp of the last record: a
-- topic that was made anew begins with later ones.
CREATE TABLE consumer_positions (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    record_at_ms bigint NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
);

-- Days are made by whoever writes first. Rows of a day that went to the default partition move along, because they
-- would keep it from being made.
CREATE OR REPLACE FUNCTION make_day_partition(parent text, day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part text := parent || to_char(day, '_YYYYMMDD');
    begins text := to_char(day, 'YYYY-MM-DD') || ' 00:00+00';
    ends text := to_char(day + 1, 'YYYY-MM-DD') || ' 00:00+00';
BEGIN
    IF NOT (parent = 'request_log' AND day BETWEEN current_date - 1 AND current_date + 7)
        AND NOT (parent = 'events' AND day BETWEEN current_date - 400 AND current_date + 7) THEN
        RAISE EXCEPTION 'not a partition to be made';
    END IF;
    IF EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace) THEN
        RETURN;
    END IF;
    -- Asked again by a query, which sees what was committed meanwhile; `to_regclass` would answer from a cache.
    PERFORM pg_advisory_xact_lock(hashtext(parent));
    IF EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace) THEN
        RETURN;
    END IF;
    IF parent = 'events' THEN
        LOCK TABLE events_default IN SHARE ROW EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM events_default WHERE ts >= %L AND ts < %L RETURNING *)'
            ' INSERT INTO %I SELECT * FROM moved', begins, ends, part
        );
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, begins, ends);
    ELSE
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', part, parent, begins, ends);
    END IF;
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ingest_persist') THEN
        CREATE ROLE ingest_persist NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;

GRANT SELECT, INSERT ON events TO ingest_persist;
GRANT SELECT, INSERT, UPDATE ON consumer_positions TO ingest_persist;
GRANT EXECUTE ON FUNCTION make_day_partition TO ingest_persist;
