-- Version 2, in PostgreSQL's words, as schema.sql.

-- Aliases of models and default servers, one document for each organization.
CREATE TABLE mcp_models (
    organization TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    -- JSON, without secrets.
    rules TEXT NOT NULL
);
