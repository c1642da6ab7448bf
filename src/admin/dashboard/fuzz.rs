//! The target for forms and queries.

use std::{collections::BTreeSet, sync::LazyLock, time::SystemTime};

use serde_json::json;

use super::{
    fields::{
        Fields, drop_moved_secrets, every_tool, read_auth, read_scope, read_switches, read_tools,
    },
    form::Form,
};
use crate::{
    admin::{edit::Reader, fault::Fault, query::Query},
    connect::Connections,
    fuzz_input::{text, url},
    outbound::{EgressRules, Outbound},
};

/// A secret that somebody types; no fault repeats it.
const SECRET: &str = "k3y-5f0c9d1e7a2b";

/// Connections over which nothing is asked.
pub(in crate::admin) static CONNECTIONS: LazyLock<Connections> = LazyLock::new(|| {
    let outbound = Outbound::new(EgressRules::default());
    Connections::new(outbound)
});

/// Any form becomes a server or a fault, and any query a list or a fault.
pub(in crate::admin) fn forms(data: &[u8]) {
    let _ = Query::parse(text(data)).map_err(|fault| told(&fault, data));
    let form = match Form::parse(data) {
        Ok(form) => form,
        Err(fault) => return told(&fault, data),
    };
    let mut body = json!({"name": form.text("name"), "auth": {
        "type": "static_headers",
        "headers": [{"name": "x-api-key", "value": {"set": true}}],
    }});
    read_scope(&form, &mut body);
    read_auth(&form, &mut body);
    read_switches(&form, &mut body);
    if let Err(fault) = read_tools(&form, &mut body) {
        told(&fault, data);
    }
    let tools = every_tool(&form, &body["tools"]);
    assert!(tools.is_array());
    let reader = Reader {
        organization: "default".into(),
        connections: &CONNECTIONS,
        now: SystemTime::UNIX_EPOCH,
    };
    match reader.create(body.to_string().as_bytes()) {
        Ok(server) => assert_eq!(server.name.as_str(), form.text("name")),
        Err(fault) => told(&fault, data),
    }
    drop_moved_secrets(&mut body, &url("https://a.example/mcp"));
    let shown = Fields::of(&body, &BTreeSet::new());
    let _ = shown.has_advanced();
}

/// A fault is short, in one line, and repeats no secret that was typed where secrets belong.
fn told(fault: &Fault, data: &[u8]) {
    let text = format!("{fault:?}");
    assert!(
        fault.message().len() < 2048 && !fault.message().chars().any(char::is_control),
        "{text}"
    );
    // A name may be repeated, so it may not be hidden there.
    let is_value = url::form_urlencoded::parse(data).all(|(name, _)| !name.contains(SECRET));
    assert!(!is_value || !text.contains(SECRET), "{text}");
}
