-- Version 2: records of exchanges, the longest column last.

CREATE TABLE mcp_traces (
    -- In the order of time.
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    -- Empty for none.
    model TEXT COLLATE "C" NOT NULL,
    -- Each name between two separators.
    servers TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    -- JSON, both.
    record TEXT NOT NULL,
    spans TEXT NOT NULL
);
CREATE INDEX mcp_traces_organization ON mcp_traces (organization, id);
