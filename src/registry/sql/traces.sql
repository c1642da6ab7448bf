-- Version 6, in PostgreSQL's words, as schema.sql.

-- The calls that failed; 0 for records of before, where nobody counted them.
ALTER TABLE mcp_traces ADD COLUMN failed_calls BIGINT NOT NULL DEFAULT 0;
-- The text by which a record is found, in lower case.
ALTER TABLE mcp_traces ADD COLUMN search TEXT NOT NULL DEFAULT '';
-- The steps, sealed, which were in `spans` before; that is empty from now on.
ALTER TABLE mcp_traces ADD COLUMN sealed_by TEXT;
ALTER TABLE mcp_traces ADD COLUMN sealed BYTEA;
UPDATE mcp_traces SET search = lower(id || servers || model);
-- How many records a key seals is asked at each start.
CREATE INDEX mcp_traces_sealed ON mcp_traces (sealed_by);
