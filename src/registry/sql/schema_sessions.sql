-- Version 3: a server's record says who shares a session, and whether it is told of traces. Where a
-- record does not, it means the defaults; a program that knows neither does not read it.

UPDATE mcp_schema SET version = 3 WHERE one = 1;
