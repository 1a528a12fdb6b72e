-- Neither table has anything of a user or a device: no erasure has to look for anybody here.

-- One row for each postback of Apple's, whoever forwards it and however often. Where Apple has a name of its own for an
-- id of the App Store, `apple_app_id` is the app that was installed.
CREATE TABLE skan_postbacks (
    app_id text NOT NULL,
    transaction_id text NOT NULL,
    postback_sequence_index smallint NOT NULL,
    project_id text NOT NULL,
    organization_id text NOT NULL,
    received_at timestamptz NOT NULL,
    said_at timestamptz,
    version text NOT NULL,
    ad_network_id text NOT NULL,
    campaign_id smallint,
    source_identifier text,
    apple_app_id bigint NOT NULL,
    source_app_id bigint,
    source_domain text,
    redownload boolean,
    fidelity_type smallint,
    did_win boolean,
    conversion_value smallint,
    coarse_conversion_value text,
    country_code text,
    attribution_signature text NOT NULL,
    signature text NOT NULL CHECK (signature IN ('valid', 'invalid', 'unchecked')),
    PRIMARY KEY (app_id, transaction_id, postback_sequence_index)
);
COMMENT ON COLUMN skan_postbacks.postback_sequence_index IS '0 for versions that send one postback';
COMMENT ON COLUMN skan_postbacks.said_at IS 'the client''s time stamp, where it sent one';
COMMENT ON COLUMN skan_postbacks.signature IS 'whether Apple signed it; unchecked where no key for its version is known';
CREATE INDEX ON skan_postbacks (received_at);
CREATE INDEX ON skan_postbacks (project_id, received_at);

GRANT SELECT, INSERT, DELETE ON skan_postbacks TO ingest_persist;

-- One row for each click on a paid-media link that was sent on. `parameters` are the campaign's and the click ids.
CREATE TABLE clicks (
    app_id text NOT NULL,
    click_id text NOT NULL,
    project_id text NOT NULL,
    organization_id text NOT NULL,
    received_at timestamptz NOT NULL,
    target text NOT NULL CHECK (target IN ('ios', 'android', 'web')),
    utm_source text,
    utm_medium text,
    utm_campaign text,
    parameters jsonb NOT NULL,
    country_code text,
    subdivision1_code text,
    os text,
    os_version text,
    client text,
    client_version text,
    PRIMARY KEY (app_id, click_id)
);
COMMENT ON COLUMN clicks.target IS 'where it was sent on to: a store of the app, or its site';
CREATE INDEX ON clicks (received_at);
CREATE INDEX ON clicks (project_id, received_at);

GRANT SELECT, INSERT, DELETE ON clicks TO ingest_persist;
