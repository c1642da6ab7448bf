-- Version 4, in PostgreSQL's words, as schema.sql.

-- Callers' API keys.
CREATE TABLE mcp_api_keys (
    -- In hex.
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    -- SHA-256 of the key, in hex.
    digest TEXT COLLATE "C" NOT NULL UNIQUE,
    -- In milliseconds since 1970.
    created_at BIGINT,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX mcp_api_keys_organization ON mcp_api_keys (organization, created_at);

-- Counts changes of keys: above 0, one was made.
INSERT INTO mcp_counters (name, value) VALUES ('api_keys', 0);
