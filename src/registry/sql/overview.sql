-- Version 3, in PostgreSQL's words, as schema.sql.

-- Figures of exchanges over time: of each bucket, one row for each writer.
CREATE TABLE mcp_overview (
    organization TEXT COLLATE "C" NOT NULL,
    -- Behind a `=`; empty for all projects together.
    project TEXT COLLATE "C" NOT NULL,
    -- The length and the beginning of the bucket, in seconds, since 1970.
    grain BIGINT NOT NULL,
    starts_at BIGINT NOT NULL,
    id BIGINT NOT NULL,
    -- Packed numbers, and the same by name: the longest column last, since most reads want one of them.
    figures BYTEA NOT NULL,
    breakdown BYTEA NOT NULL,
    PRIMARY KEY (organization, project, grain, starts_at, id)
);
CREATE INDEX mcp_overview_starts_at ON mcp_overview (grain, starts_at);
