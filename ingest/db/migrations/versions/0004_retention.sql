ALTER TABLE projects ADD COLUMN events_retention_days integer CHECK (events_retention_days >= 30);
COMMENT ON COLUMN projects.events_retention_days IS 'days that events are kept, where that is shorter than the default';

-- Drops a day that is older than the shortest time for which anything of its table is kept; with `only_empty` only where
-- no row is left. The table is locked before the look, so that no row is written between the look and the drop. Whoever
-- waits behind this lock waits for at most its timeout; where the day is in use for longer, `lock_not_available` tells.
-- The timeout is longer than that after which the server stops an autovacuum that is in the way.
CREATE FUNCTION drop_day_partition(parent text, day date, only_empty boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    part text := parent || to_char(day, '_YYYYMMDD');
    filled boolean;
BEGIN
    IF parent NOT IN ('request_log', 'events') OR day >= (now() AT TIME ZONE 'UTC')::date - 30 THEN
        RAISE EXCEPTION 'not a partition to be dropped';
    END IF;
    -- The look must see what was committed while the lock was waited for.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'not under this isolation';
    END IF;
    -- The lock of `make_day_partition` first, so that the two never wait for each other.
    PERFORM pg_advisory_xact_lock(hashtext(parent));
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
    IF NOT EXISTS (
        SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(parent) AND c.relname = part AND c.relnamespace = 'public'::regnamespace
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
    IF only_empty THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', part) INTO filled;
        IF filled THEN
            RETURN false;
        END IF;
    END IF;
    EXECUTE format('DROP TABLE %I', part);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION drop_day_partition FROM PUBLIC;

-- Deletes some rows that are older than so many days, of tables that are kept by time alone, and returns how many. The
-- days may be more than the least that is written here, never fewer.
CREATE FUNCTION delete_old_rows(parent text, days integer, rows_max integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    until timestamptz := now() - make_interval(days => days);
    deleted integer;
BEGIN
    IF days IS NULL OR rows_max IS NULL OR days < (CASE parent WHEN 'outbox' THEN 30 ELSE 731 END) THEN
        RAISE EXCEPTION 'not old enough to be deleted';
    END IF;
    CASE parent
        WHEN 'audit_events' THEN
            DELETE FROM audit_events WHERE id IN (
                SELECT id FROM audit_events WHERE at < until ORDER BY at LIMIT rows_max);
        WHEN 'outbox' THEN
            DELETE FROM outbox WHERE id IN (
                SELECT id FROM outbox WHERE delivered_at < until LIMIT rows_max);
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
REVOKE ALL ON FUNCTION delete_old_rows FROM PUBLIC;

GRANT EXECUTE ON FUNCTION drop_day_partition, delete_old_rows TO ingest_persist;
GRANT SELECT (id, events_retention_days) ON projects TO ingest_persist;
-- Rows of wrong clocks are looked for by the time of receipt, in the default partition itself.
GRANT SELECT, DELETE ON events_default TO ingest_persist;
