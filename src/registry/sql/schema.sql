-- Version 1, in PostgreSQL's words; schema.rs has those of SQLite.
-- Order and comparison of text are by bytes in both.

-- One row: what the rest is.
CREATE TABLE mcp_schema (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL,
    -- A record that opens with the right keys only.
    sealed BYTEA NOT NULL,
    sealed_by TEXT NOT NULL
);

-- `revision` counts changes of servers, `credential` the versions of credentials and states;
-- `swept` is when somebody last looked for observations that are nobody's any more.
CREATE TABLE mcp_counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO mcp_counters (name, value) VALUES ('revision', 0), ('credential', 0), ('swept', 0);

-- The latest changes of servers, for those who have them in memory.
CREATE TABLE mcp_changes (
    revision BIGINT NOT NULL PRIMARY KEY,
    organization TEXT NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE mcp_servers (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    -- In milliseconds since 1970.
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    all_projects BIGINT NOT NULL,
    -- The kind of authentication, as in the record.
    auth TEXT NOT NULL,
    draft BIGINT NOT NULL,
    -- Name, display name and description in lower case.
    search TEXT NOT NULL,
    -- JSON; everything but the secrets.
    record TEXT NOT NULL,
    -- The secrets; none, no record.
    sealed BYTEA,
    sealed_by TEXT,
    UNIQUE (organization, name)
);
CREATE INDEX mcp_servers_sealed_by ON mcp_servers (sealed_by);
CREATE INDEX mcp_servers_drafts ON mcp_servers (updated_at) WHERE draft = 1;

-- Who may use the servers that are not for all projects.
CREATE TABLE mcp_server_projects (
    server TEXT COLLATE "C" NOT NULL REFERENCES mcp_servers (id) ON DELETE CASCADE,
    project TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (server, project)
);

-- A server here need not be in mcp_servers: other registries may keep their credentials here.
CREATE TABLE mcp_credentials (
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL UNIQUE,
    sealed BYTEA NOT NULL,
    sealed_by TEXT NOT NULL,
    PRIMARY KEY (organization, server, origin)
);
CREATE INDEX mcp_credentials_sealed_by ON mcp_credentials (sealed_by);

CREATE TABLE mcp_leases (
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    holder BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (organization, server, origin)
);

-- Authorizations that are under way, by the SHA-256 of their state in hex.
CREATE TABLE mcp_states (
    state TEXT NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    origin TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    version BIGINT NOT NULL UNIQUE,
    sealed BYTEA NOT NULL,
    sealed_by TEXT NOT NULL
);
CREATE INDEX mcp_states_server ON mcp_states (organization, server, version);
CREATE INDEX mcp_states_expires_at ON mcp_states (expires_at);

-- What is known from looking at servers. A server here need not be in mcp_servers, either.
CREATE TABLE mcp_observations (
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    -- JSON, all three.
    health TEXT NOT NULL,
    pins TEXT,
    listed TEXT NOT NULL,
    PRIMARY KEY (organization, server)
);

-- Apart, since they are long and change seldom.
CREATE TABLE mcp_definitions (
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    -- Which fingerprints there are: SHA-256 of all of them, in hex.
    digest TEXT NOT NULL,
    -- JSON: fingerprints and texts.
    definitions TEXT NOT NULL,
    PRIMARY KEY (organization, server)
);

-- Until when somebody has taken the probe of a server.
CREATE TABLE mcp_probes (
    organization TEXT COLLATE "C" NOT NULL,
    server TEXT COLLATE "C" NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (organization, server)
);

-- What later requests need of exchanges. Times are those of the clock that all replicas share.
CREATE TABLE mcp_exchanges (
    -- In hex, like all that is hashed here.
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    topic TEXT COLLATE "C",
    version BIGINT NOT NULL,
    -- The bytes of the text, and those that count.
    length BIGINT NOT NULL,
    room BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    -- Their difference is the life.
    used_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX mcp_exchanges_topic ON mcp_exchanges (caller, topic, used_at) WHERE topic IS NOT NULL;
CREATE INDEX mcp_exchanges_used_at ON mcp_exchanges (organization, project, used_at);
CREATE INDEX mcp_exchanges_ends_at ON mcp_exchanges (ends_at);

-- Their texts: apart, since they are long, and leases change often.
CREATE TABLE mcp_exchange_texts (
    exchange TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES mcp_exchanges (id) ON DELETE CASCADE,
    -- The exchange's version when the text was put.
    version BIGINT NOT NULL,
    sealed_by TEXT NOT NULL,
    sealed BYTEA NOT NULL
);
CREATE INDEX mcp_exchange_texts_sealed_by ON mcp_exchange_texts (sealed_by);

-- The sum of the rooms of each project.
CREATE TABLE mcp_exchange_rooms (
    organization TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (organization, project)
);

-- One row: the key with which their ids are signed.
CREATE TABLE mcp_exchange_key (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed BYTEA NOT NULL,
    sealed_by TEXT NOT NULL
);

-- Records of exchanges, the longest column last.
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
