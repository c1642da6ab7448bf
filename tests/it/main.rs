//! All integration tests in one binary: linked once, run together.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

mod support;

mod admin_bodies;
mod admin_explain;
mod admin_explain_ways;
mod admin_gate;
mod admin_metrics;
mod admin_models;
mod admin_oauth;
mod admin_openapi;
mod admin_secrets;
mod admin_servers;
mod admin_sqlite;
mod admin_tools;
mod admin_traces;
mod dashboard_gate;
mod dashboard_models;
mod dashboard_servers;
mod dashboard_setup;
mod dashboard_traces;

mod authorization_attacks;
mod authorization_connect;
mod authorization_faults;
mod authorization_field;
mod authorization_records;
mod authorization_refresh;
mod authorization_rotation;

mod bad_requests;
mod bodies;
mod budgets;
mod default_left_out;
mod default_servers;
mod events;
mod events_early;
mod events_progress;
mod fault_matrix;
mod hand_back;
mod hang_ups;
mod health;
mod http_rules;
mod instructions;
mod layering;
mod list_changed;
mod listen;
mod long_calls;
mod max_rounds;
mod media;
mod media_bad;
mod media_kept;
mod model_aliases;
mod models_list;
mod nearly_right_arguments;
mod odd_answers;
mod odd_streams;
mod offers;
mod own_tools;
mod own_tools_bad;
mod own_tools_claims;
mod own_tools_lengths;
mod own_tools_properties;
mod own_tools_room;
mod own_tools_sessions;
mod pass_through;
mod passthrough;
mod pins;
mod progress;
mod providers;
mod real_tools;
mod receipt_places;
mod rejected_members;
mod repeated_failures;
mod repeats;
mod repeats_of_turns;
mod repeats_unstored;
mod secrets;
mod streamed_attacks;
mod streamed_faults;
mod streamed_hang_up;
mod streamed_loop;
mod streamed_properties;
mod tasks;
mod tool_loop;
mod trace_payloads;
mod trace_spans;
mod traces;
mod turn_retries;
mod unlike_openai;
mod upstream_faults;

mod made_up_tokens;
mod mcp_egress;
mod mcp_faults;
mod mcp_field;
mod mcp_http_sse;
mod mcp_runtime;
mod mcp_sdk;
mod mcp_sessions;
mod mcp_stateless;
mod mcp_streams;
mod mcp_tls;

mod oauth_attacks;
mod oauth_discovery;
mod oauth_field;
mod oauth_mixup;
mod oauth_tokens;

mod sharing;
mod sql_drafts;
mod sql_exchanges;
mod sql_keys;
mod sql_models;
mod sql_observations;
mod sql_open;
mod sql_registry;
mod sql_tampering;
mod sql_traces;
mod url_keys;
mod warm_tools;

mod ways_bad;
mod ways_choice;
mod ways_header;
mod ways_matrix;
mod ways_metadata;
mod ways_registry;
mod ways_table;
mod ways_tools;
