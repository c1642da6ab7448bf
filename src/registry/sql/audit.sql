-- In PostgreSQL's words, as schema.sql.

-- What operators did, in the order of time; nothing here is ever changed.
CREATE TABLE mcp_audit (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    -- In milliseconds since 1970.
    at BIGINT NOT NULL,
    operator TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    via TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    -- JSON, without secrets; empty for nothing.
    before_change TEXT NOT NULL,
    after_change TEXT NOT NULL
);
CREATE INDEX mcp_audit_organization ON mcp_audit (organization, id);

-- Browsers that are signed in.
CREATE TABLE mcp_operator_sessions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    operator TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    via TEXT NOT NULL,
    address TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    looked_at BIGINT NOT NULL,
    looking_until BIGINT NOT NULL,
    -- What a provider is asked with, sealed by the operator's side with its session keys.
    sealed BYTEA,
    version BIGINT NOT NULL
);
CREATE INDEX mcp_operator_sessions_used_at ON mcp_operator_sessions (organization, used_at);
CREATE INDEX mcp_operator_sessions_ends_at ON mcp_operator_sessions (ends_at);
