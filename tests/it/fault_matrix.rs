//! What can go wrong, and which tests hold what a user then sees.
//!
//! A row is a fault or an attack; its tests are named, wherever they stand, and this file fails if
//! one of them is gone. `ADVISORIES` has the same for what was published of projects like ours.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::json;

use crate::support::gateway::{Gateway, auto};
use crate::support::model::{Answer, calls, says};

/// Number, fault, tests.
const FAULTS: &[(u8, &str, &[&str])] = &[
    (
        1,
        "a server that is not registered",
        &[
            "an_unknown_server_and_somebody_elses_get_the_same_answer_to_the_byte",
            "no_address_that_is_not_registered_is_ever_called",
        ],
    ),
    (
        2,
        "a server of another project",
        &[
            "an_unknown_server_and_somebody_elses_get_the_same_answer_to_the_byte",
            "servers_of_others_and_servers_of_nobody_look_alike",
            "what_is_unknown_and_what_is_somebody_elses_are_answered_alike",
        ],
    ),
    (3, "an inactive server", &["an_inactive_server_says_why"]),
    (
        4,
        "members that are missing, of a wrong type, or unknown",
        &[
            "a_malformed_mcp_is_a_400_that_names_the_member",
            "an_entry_says_only_what_it_may",
        ],
    ),
    (
        5,
        "rounds out of range",
        &[
            "rounds_are_capped_and_never_guessed",
            "rounds_above_the_cap_count_as_the_cap_and_the_receipt_says_so",
        ],
    ),
    (
        6,
        "auto-execution of a stream",
        &[
            "a_stream_with_auto_execution_returns_the_tool_calls_untouched",
            "streaming_with_auto_execution_is_rejected_where_the_operator_says_so",
            "text_arrives_chunk_by_chunk_and_the_receipt_at_the_end",
        ],
    ),
    (
        7,
        "a caller's tool with the name of one of ours",
        &["a_tool_of_the_callers_with_the_name_of_one_of_ours_is_a_conflict"],
    ),
    (
        8,
        "a call of a tool that nobody has",
        &["a_name_that_nobody_offers_is_answered_and_never_called"],
    ),
    (
        9,
        "forged calls in the history",
        &[
            "calls_in_the_history_are_never_run_without_the_flag",
            "a_resumed_call_is_checked_like_any_other",
        ],
    ),
    (
        10,
        "arguments that are no JSON, no object, or too large",
        &["arguments_that_do_not_fit_never_reach_the_server_and_can_be_repaired"],
    ),
    (
        11,
        "a request that is too deep, too large, or ambiguous",
        &[
            "mcp_in_what_is_not_json_or_nests_too_deep_is_a_400",
            "a_body_over_the_limit_is_a_413",
            "a_member_given_twice_is_refused_and_not_guessed",
        ],
    ),
    (
        12,
        "names that could be read in two ways",
        &[
            "names_that_look_alike_reach_each_its_own_server",
            "two_tools_that_end_at_one_name_are_both_left_out",
        ],
    ),
    (
        13,
        "names with control or invisible characters",
        &["evil_names_are_left_out_and_shown_without_their_evil"],
    ),
    (
        14,
        "a tool that changes, or appears, after it was accepted",
        &[
            "a_tool_that_changes_is_withheld_until_it_is_accepted",
            "a_tool_that_appears_later_is_withheld_where_all_are_selected",
        ],
    ),
    (
        15,
        "a list of tools without end",
        &[
            "a_tool_list_without_end_is_too_large",
            "a_cursor_that_repeats_ends_the_listing",
        ],
    ),
    (
        16,
        "a schema that leads to the network",
        &["a_schema_that_leads_to_the_network_is_refused"],
    ),
    (
        17,
        "a refused connection, an unknown name",
        &[
            "a_refused_connection_names_no_address",
            "a_name_that_does_not_resolve_is_unreachable",
        ],
    ),
    (
        18,
        "a host that drops packets",
        &["a_connection_that_is_never_accepted_takes_no_longer_than_the_limit"],
    ),
    (
        19,
        "a connection that is reset",
        &["a_connection_reset_anywhere_is_an_unknown_outcome_and_no_second_call"],
    ),
    (
        20,
        "a server that hangs",
        &[
            "a_hang_ends_at_the_limit",
            "a_timeout_cancels_and_frees_the_place",
        ],
    ),
    (
        21,
        "an answer byte by byte",
        &["a_drip_ends_at_the_limit_of_the_call"],
    ),
    (
        22,
        "a stream without end",
        &[
            "a_stream_without_end_is_cut_at_the_cap",
            "an_endless_line_or_event_is_refused",
            "a_server_that_sends_and_sends_without_answering_is_given_up",
        ],
    ),
    (
        23,
        "a login page",
        &["a_login_page_is_an_unexpected_content_type"],
    ),
    (24, "garbage", &["garbage_is_a_protocol_error"]),
    (
        25,
        "an answer to another request",
        &["answers_to_others_and_duplicates_are_ignored"],
    ),
    (
        26,
        "a compressed answer",
        &["an_encoded_answer_is_not_decoded"],
    ),
    (
        27,
        "a redirect",
        &["a_redirect_is_refused_and_the_new_host_sees_nothing"],
    ),
    (
        28,
        "a 401 because the token has expired",
        &["a_401_costs_one_refresh_and_one_replay"],
    ),
    (
        29,
        "a 401 after the refresh",
        &["a_401_after_the_refresh_is_an_error_and_there_is_one_forced_refresh_a_minute"],
    ),
    (
        30,
        "a 403 for a missing scope",
        &["a_403_names_the_missing_scope_and_the_next_authorization_asks_for_it_too"],
    ),
    (
        31,
        "a session that the server forgot",
        &["a_forgotten_session_is_opened_anew_once_for_all_and_each_request_sent_once_more"],
    ),
    (
        32,
        "a 429 with any Retry-After",
        &["a_rate_limit_is_reported_and_not_waited_for"],
    ),
    (
        33,
        "a 5xx on a call",
        &["a_5xx_on_a_call_is_not_retried_and_its_body_not_shown"],
    ),
    (
        34,
        "a 5xx on a listing",
        &["a_5xx_on_a_listing_is_retried_once"],
    ),
    (
        35,
        "a bad certificate",
        &["a_bad_certificate_gets_no_credential_and_no_second_try_without_tls"],
    ),
    (
        36,
        "a server that repeats the credential",
        &[
            "whatever_a_server_repeats_of_a_static_header_nobody_sees_it",
            "the_leak_scan_sees_every_way_out",
        ],
    ),
    (
        37,
        "requests of a server to the client",
        &[
            "a_servers_requests_are_answered_on_the_way",
            "a_server_that_only_asks_is_stopped",
        ],
    ),
    (
        38,
        "a huge result",
        &[
            "a_huge_body_is_refused_before_it_is_read",
            "a_result_is_cut_for_the_model_and_both_are_told",
        ],
    ),
    (
        39,
        "a result that tells the model what to call",
        &[
            "a_tool_that_asks_first_runs_once_the_caller_has_resumed",
            "only_selected_tools_are_offered_and_fewer_where_the_request_says_so",
        ],
    ),
    (
        40,
        "a model that repeats the same call",
        &["a_model_that_repeats_one_call_for_ever_ends_at_the_limits"],
    ),
    (
        41,
        "a caller who hangs up while a tool runs",
        &[
            "a_caller_that_hangs_up_while_tools_run_has_them_cancelled",
            "a_cancelled_call_has_its_line_and_its_span",
        ],
    ),
    (
        42,
        "a SIGTERM in the middle of a loop",
        &[
            "a_stop_lets_the_running_request_end_and_takes_no_new_one",
            "a_stop_ends_after_the_grace_period_whatever_still_runs",
        ],
    ),
    (
        43,
        "a request that is sent again after its answer was lost",
        &["a_request_that_is_sent_again_is_another_request_and_a_failure_says_not_to"],
    ),
    (
        44,
        "an upstream that fails after tools have run",
        &["an_upstream_that_fails_after_tools_ran_loses_nothing"],
    ),
    (
        45,
        "odd spellings of private addresses",
        &[
            "no_spelling_of_a_private_host_gets_a_connection",
            "odd_spellings_of_private_addresses_are_seen_through",
        ],
    ),
    (
        46,
        "a name that resolves to a private address",
        &[
            "a_name_that_leads_to_a_private_address_is_denied",
            "of_a_mixed_answer_nothing_is_used",
        ],
    ),
    (
        47,
        "a header that smuggles",
        &[
            "a_value_that_could_smuggle_is_refused_and_never_echoed",
            "framing_hop_by_hop_and_protocol_headers_are_refused",
        ],
    ),
    (
        48,
        "another URL with the secret that is stored",
        &[
            "secrets_stay_with_the_origin_that_they_are_for",
            "a_secret_does_not_follow_its_server_to_another_place",
        ],
    ),
    (
        49,
        "a callback of somebody else",
        &[
            "a_callback_that_is_not_of_this_browser_changes_nothing",
            "every_attack_on_the_whole_is_refused_without_a_token_request",
        ],
    ),
    (
        50,
        "another issuer, markup in its words, an address that is none of the web",
        &[
            "an_answer_of_somebody_else_and_a_refusal_send_no_code_anywhere",
            "only_known_codes_are_shown",
            "only_web_addresses_can_be_typed",
        ],
    ),
    (
        51,
        "a token endpoint that gives something else",
        &[
            "a_bad_answer_to_a_code_stores_nothing_and_says_one_thing",
            "a_token_endpoint_that_gives_no_token_is_a_page_that_says_so",
        ],
    ),
    (
        52,
        "a thousand callers with an expired token",
        &["a_thousand_callers_with_an_expired_token_share_one_refresh"],
    ),
    (
        53,
        "an end between the tokens' answer and their storage",
        &["a_process_that_ends_between_answer_and_store_leaves_a_server_that_needs_authorization"],
    ),
    (
        54,
        "a kill while an operator writes",
        &[
            "sqlite_loses_nothing_when_its_process_is_killed",
            "postgresql_loses_nothing_when_it_or_its_client_is_killed",
        ],
    ),
    (
        55,
        "a full disk",
        &["a_full_disk_is_said_and_loses_nothing"],
    ),
    (
        56,
        "a key that is missing, wrong or weak",
        &[
            "a_ring_that_lacks_a_key_is_not_taken",
            "other_keys_are_refused_and_nothing_is_written",
            "weak_keys_are_refused",
        ],
    ),
    (
        57,
        "a sealed record that was moved, changed or put back",
        &[
            "a_row_that_is_not_its_own_makes_the_credential_invalid",
            "records_that_were_swapped_do_not_open",
            "no_forgery_opens",
        ],
    ),
    (
        58,
        "an operator's route without the operator's token",
        &[
            "every_route_is_closed_to_whoever_is_not_the_operator",
            "without_the_token_all_paths_look_alike",
        ],
    ),
    (
        59,
        "markup in what servers say",
        &["markup_is_text", "what_cannot_be_seen_is_made_visible"],
    ),
    (
        60,
        "more load than there is room for",
        &[
            "more_callers_than_places_are_turned_away",
            "overload_is_answered_at_once_and_others_do_not_notice",
            "slow_callers_without_end_keep_nobody_else_waiting",
        ],
    ),
    (
        61,
        "image data that is no Base64, or of another type than is said",
        &[
            "what_is_no_image_is_a_note",
            "what_can_be_read_in_one_way_is_put_right",
            "the_first_bytes_alone_decide_what_something_is",
            "a_credential_in_the_base64_of_an_image_is_found_and_the_image_is_a_note",
        ],
    ),
    (
        62,
        "media of 100 MB",
        &[
            "media_of_a_hundred_megabytes_cost_what_the_limit_allows_and_are_an_error",
            "an_answer_beyond_all_limits_fails_its_call",
            "a_round_with_four_mib_of_images_costs_no_more_than_two_copies_of_them",
            "images_beyond_the_room_of_an_exchange_stop_no_call",
        ],
    ),
    (
        63,
        "a model's service that refuses images",
        &[
            "a_service_that_refuses_an_image_is_asked_once_more_with_notes_and_after_another_for_an_hour",
            "a_service_that_refuses_the_turn_either_way_is_asked_no_third_time",
            "an_error_with_status_200_shows_nothing_of_what_a_service_takes",
            "one_bad_image_does_not_cost_a_model_all_others",
            "an_image_that_is_refused_again_and_again_costs_a_model_no_others",
            "what_is_refused_to_a_project_is_shown_to_others",
            "a_turn_that_is_too_long_says_nothing_of_what_a_model_takes",
        ],
    ),
    (
        64,
        "progress that goes backwards, or is another call's",
        &[
            "what_is_no_progress_of_this_call_ends_no_silence_and_is_not_told",
            "progress_that_goes_back_is_not_told",
            "progress_ends_a_silence_and_nothing_else_does",
        ],
    ),
    (
        65,
        "progress that floods, or never ends",
        &[
            "a_flood_is_told_in_few_words_and_bounded_in_bytes",
            "progress_makes_no_call_longer_than_the_longest_and_the_model_is_told_which_limit_it_was",
            "no_progress_makes_a_call_longer_than_all_its_time",
        ],
    ),
    (
        66,
        "a task that never ends",
        &[
            "a_task_may_take_longer_than_a_silence_and_never_longer_than_the_longest_call",
            "a_server_that_does_not_answer_polls_is_silent",
            "what_a_task_asks_is_declined_once_and_one_that_goes_on_asking_fails",
            "a_call_that_is_given_up_cancels_its_task_if_the_server_can_do_that",
        ],
    ),
    (
        67,
        "a task that changes its id, or is forgotten",
        &[
            "an_answer_about_another_task_or_of_no_sense_ends_the_call_and_cancels_the_task",
            "a_task_that_the_server_has_forgotten_is_an_error_and_not_cancelled",
            "a_session_that_was_lost_with_a_restart_has_lost_its_task",
        ],
    ),
    (
        68,
        "a registry that hangs while a request waits for its servers",
        &[
            "a_registry_that_hangs_is_waited_for_once_and_no_longer_than_servers_are",
            "two_looks_and_the_lists_of_tools_have_one_limit",
        ],
    ),
    (
        69,
        "an alias of another project, of itself, or with a server that is gone",
        &[
            "six_ways_whole_and_streamed_get_what_is_written_here_in_every_case",
            "an_alias_of_another_project_is_any_models_name",
            "no_alias_leads_to_an_alias",
            "what_is_wrong_with_its_servers_is_an_error_as_ever",
        ],
    ),
    (
        70,
        "a default whose server is gone, inactive, slow or another project's",
        &[
            "six_ways_whole_and_streamed_get_what_is_written_here_in_every_case",
            "servers_that_are_gone_inactive_or_another_projects_are_no_reason_to_fail",
            "a_server_that_is_slow_holds_nobody_up",
            "what_passes_without_its_default_leaves_no_trace_of_a_refusal",
        ],
    ),
    (
        71,
        "a default that would change or fail what a request asks for",
        &[
            "what_the_request_says_of_tools_and_of_its_answer_stands",
            "a_model_that_takes_no_tools_is_asked_again_without",
            "a_model_that_refuses_tools_again_and_again_is_not_asked_with_them_for_a_while",
            "once_a_tool_has_run_nothing_is_asked_again_from_the_beginning",
        ],
    ),
    (
        72,
        "two ways in one request, and a choice of what is not there",
        &[
            "an_entry_beside_another_way_is_refused_with_the_names_of_both",
            "what_is_given_twice_is_refused_and_not_guessed",
            "a_choice_of_what_is_not_there_is_refused",
        ],
    ),
    (
        73,
        "an authorization server that fails where the gateway asks it by itself, or for a caller",
        &[
            "an_outage_is_waited_for_longer_each_time",
            "an_outage_takes_no_token_that_is_still_good",
            "a_client_that_is_refused_and_an_outage_are_the_operators_affair",
            "an_authorization_server_that_does_not_answer_is_waited_for_no_longer_than_a_while",
        ],
    ),
];

/// Advisory, its kind, tests.
const ADVISORIES: &[(&str, &str, &[&str])] = &[
    (
        "CVE-2026-35030",
        "a cache whose key is a part of the credential",
        &["lists_and_sessions_are_never_shared_between_tokens"],
    ),
    (
        "CVE-2026-59822",
        "a failed key that falls back to nobody",
        &[
            "a_callers_key_says_whose_request_it_is_and_goes_no_further",
            "without_a_token_nobody_is_asked_and_the_caller_learns_how_to_give_one",
        ],
    ),
    (
        "CVE-2026-42271, CVE-2026-30623",
        "commands in a server's record",
        &["a_wrong_member_is_named_and_nothing_is_stored"],
    ),
    (
        "CVE-2026-35029",
        "routes without a check",
        &["every_route_is_closed_to_whoever_is_not_the_operator"],
    ),
    (
        "CVE-2026-77822",
        "DNS rebinding of a server's name",
        &["a_name_that_leads_to_a_private_address_is_denied"],
    ),
    (
        "CVE-2026-78573, CVE-2026-90898",
        "default credentials, or none",
        &[
            "what_is_wrong_about_the_operators_side_is_one_clear_line_and_exit_code_2",
            "weak_keys_are_refused",
        ],
    ),
    (
        "GHSA-v2x6-wwfw-r2rq",
        "parameters that become headers or paths",
        &[
            "annotations_that_break_a_rule_spoil_the_tool",
            "a_path_cannot_climb_out_of_the_upstreams_base",
        ],
    ),
    (
        "GHSA-953h-535j-jg2v",
        "a session that belongs to nobody",
        &["lists_and_sessions_are_never_shared_between_tokens"],
    ),
    (
        "GHSA-5gf6-gc35-xjpc, CVE-2026-14537",
        "an older protocol past the checks",
        &[
            "older_servers_may_annotate_as_they_like",
            "a_resumed_call_is_checked_like_any_other",
        ],
    ),
    (
        "CVE-2026-14539, CVE-2026-39313, CVE-2026-53965",
        "bodies and streams without a bound",
        &[
            "a_stream_without_end_is_cut_at_the_cap",
            "an_endless_line_or_event_is_refused",
        ],
    ),
    (
        "CVE-2026-64684",
        "headers that follow a redirect",
        &["a_redirect_is_refused_and_the_new_host_sees_nothing"],
    ),
    (
        "RUSTSEC-2026-0189, CVE-2025-66414, CVE-2025-66416, CVE-2026-34742, CVE-2025-49596",
        "another Host or Origin",
        &[
            "only_pages_of_allowed_origins_may_use_the_proxy",
            "the_public_url_is_the_only_host_that_is_answered",
        ],
    ),
    (
        "CVE-2026-25536, CVE-2026-111770",
        "answers matched by their id alone",
        &[
            "answers_to_others_and_duplicates_are_ignored",
            "callers_share_one_stream_and_get_their_own_answers",
        ],
    ),
    (
        "CVE-2026-104850, CVE-2026-115563",
        "an authorization server of the MCP server's choice",
        &["every_attack_is_refused_before_a_token_endpoint_is_reached"],
    ),
    (
        "CVE-2026-111768",
        "memory for validation",
        &["a_schema_that_never_ends_checks_nothing_and_harms_nothing"],
    ),
    (
        "CVE-2026-111769",
        "redirects that take secrets along",
        &["a_redirect_takes_no_code_and_no_secret_elsewhere"],
    ),
    (
        "CVE-2026-27896, GO-2026-4770",
        "JSON members in another case, or with a NUL",
        &["doubled_names_are_noticed_however_they_are_spelt"],
    ),
    (
        "CVE-2026-33252",
        "a form of another page",
        &["a_form_of_another_page_changes_nothing"],
    ),
    (
        "CVE-2026-27124",
        "a callback in another browser",
        &["a_callback_that_is_not_of_this_browser_changes_nothing"],
    ),
    (
        "CVE-2025-62800, CVE-2026-77272",
        "markup on the callback's page",
        &["only_known_codes_are_shown"],
    ),
    (
        "CVE-2026-32625",
        "variables in a URL",
        &["nothing_is_interpolated"],
    ),
    (
        "CVE-2026-54030",
        "a resource that is another server's",
        &["a_resource_is_the_server_or_a_parent_of_it"],
    ),
    (
        "CVE-2025-6514, CVE-2025-58747",
        "an authorization URL that is no web address",
        &["only_web_addresses_are_endpoints"],
    ),
    (
        "CVE-2025-54136",
        "a definition that changes after approval",
        &["a_tool_that_changes_is_withheld_until_it_is_accepted"],
    ),
    (
        "CVE-2026-105299",
        "hop-by-hop headers that go on",
        &[
            "what_is_not_ours_reaches_the_upstream_as_it_came",
            "framing_hop_by_hop_and_protocol_headers_are_refused",
        ],
    ),
    (
        "CVE-2020-4037, CVE-2026-83589",
        "a way back that leads outside",
        &[
            "nobody_is_led_outside_after_signing_in",
            "only_pages_of_servers_are_a_way_back",
        ],
    ),
];

#[test]
fn every_fault_has_its_tests() {
    let tests = tests();
    let numbers: Vec<u8> = FAULTS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=73).collect::<Vec<_>>());
    let faults = FAULTS.iter().map(|(_, fault, named)| (*fault, *named));
    let advisories = ADVISORIES.iter().map(|(_, kind, named)| (*kind, *named));
    for (fault, named) in faults.chain(advisories) {
        assert!(!named.is_empty(), "{fault}: no test");
        for name in named {
            assert!(tests.contains(*name), "{fault}: there is no test {name}");
        }
    }
}

/// The names of all functions that are tests.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("src"), root.join("tests")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                // Of others, or made by a build.
                if !["node_modules", "target"]
                    .iter()
                    .any(|other| path.ends_with(other))
                {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                names.extend(tests_in(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    names
}

fn tests_in(source: &str) -> impl Iterator<Item = String> {
    let behind = source
        .split("test]\n")
        .skip(1)
        .chain(source.split("test(").skip(1));
    behind.filter_map(|rest| {
        let (_, name) = rest.split_once("fn ")?;
        Some(name.split_once('(')?.0.to_owned())
    })
}

#[tokio::test]
async fn a_model_that_repeats_one_call_for_ever_ends_at_the_limits() {
    let same = || calls(&[("s__echo", json!({"text": "again"}))]);
    let gateway = Gateway::new((0..10).map(|_| same())).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    assert_eq!(reply.receipt()["rounds"], 5);
    assert_eq!(gateway.server.calls(), 5);

    let many: Vec<_> = (0..20)
        .map(|_| ("s__echo", json!({"text": "again"})))
        .collect();
    let gateway = Gateway::new((0..10).map(|_| calls(&many))).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        gateway.server.calls(),
        32,
        "however they are spread over the rounds"
    );
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_another_request_and_a_failure_says_not_to() {
    let call = || calls(&[("s__echo", json!({"text": "once"}))]);
    let gateway = Gateway::new([call(), says("a"), call(), says("b"), call(), Answer::Fail])
        .await
        .layered(|layer| layer.with_turn_retries(0));
    for _ in 0..2 {
        assert_eq!(gateway.send(&auto(json!({}))).await.status, 200);
    }
    assert_eq!(
        gateway.server.calls(),
        2,
        "nobody knows that they are the same"
    );

    let reply = gateway.send(&auto(json!({}))).await;
    assert!(!reply.status.is_success());
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert_eq!(reply.receipt()["calls"].as_array().unwrap().len(), 1);
}
