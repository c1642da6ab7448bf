-- Version 7, in PostgreSQL's words, as schema.sql.
-- Stored records of servers may have `grants` from here on, and those of models `projects`.

-- What is used of limits and budgets, by a hash of what is counted, in hex.
CREATE TABLE mcp_usage (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- The end of the window, in milliseconds since 1970; for what runs at once, of its last lease.
    ends_at BIGINT NOT NULL,
    used BIGINT NOT NULL
);
CREATE INDEX mcp_usage_ends_at ON mcp_usage (ends_at);

-- What runs at once: of each lease, a row for each limit that it counts for.
CREATE TABLE mcp_usage_leases (
    lease TEXT COLLATE "C" NOT NULL,
    usage_id TEXT COLLATE "C" NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (lease, usage_id)
);
CREATE INDEX mcp_usage_leases_usage_id ON mcp_usage_leases (usage_id, ends_at);
CREATE INDEX mcp_usage_leases_ends_at ON mcp_usage_leases (ends_at);

-- The limits of callers' API keys, each NULL for none.
ALTER TABLE mcp_api_keys ADD COLUMN calls_per_minute BIGINT;
ALTER TABLE mcp_api_keys ADD COLUMN calls_per_day BIGINT;
ALTER TABLE mcp_api_keys ADD COLUMN calls_at_once BIGINT;
