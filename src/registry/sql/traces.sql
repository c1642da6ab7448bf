-- Version 6, in PostgreSQL's words, as schema.sql.

-- The steps, sealed, which were in `spans` before; that is empty from now on.
ALTER TABLE mcp_traces ADD COLUMN sealed_by TEXT;
ALTER TABLE mcp_traces ADD COLUMN sealed BYTEA;
-- How many records a key seals is asked at each start.
CREATE INDEX mcp_traces_sealed ON mcp_traces (sealed_by);
-- Unique, so that other tables can refer to it.
DROP INDEX mcp_traces_organization;
CREATE UNIQUE INDEX mcp_traces_organization ON mcp_traces (organization, id);

-- What records are found by, one row for each: a list reads all of an organization's where little
-- matches, so they are kept apart from what is long. The columns of these names in `mcp_traces` are
-- empty from now on.
CREATE TABLE mcp_trace_names (
    organization TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    -- Empty for none.
    model TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    -- The calls that failed; 0 for records of before, where nobody counted them.
    failed_calls BIGINT NOT NULL,
    -- Each name between two separators.
    servers TEXT COLLATE "C" NOT NULL,
    -- The text by which a record is found, in lower case.
    search TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organization, id),
    FOREIGN KEY (organization, id) REFERENCES mcp_traces (organization, id) ON DELETE CASCADE
) /* in the order of its key */;
INSERT INTO mcp_trace_names
    SELECT organization, id, project, model, outcome, 0, servers, lower(id || servers || model)
    FROM mcp_traces;
