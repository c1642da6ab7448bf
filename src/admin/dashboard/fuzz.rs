//! The target for forms and queries.

use std::{collections::BTreeSet, sync::LazyLock, time::SystemTime};

use url::Url;

use super::{
    fields::{
        Fields, drop_moved_secrets, every_tool, read_auth, read_scope, read_switches, read_tools,
    },
    form::Form,
    import::upload,
};
use crate::{
    admin::{edit::Reader, fault::Fault, query::Query},
    connect::Connections,
    fuzz_input::{text, url},
    outbound::{EgressRules, Outbound},
    registry::members::Tree,
};

/// A secret that somebody types; no fault repeats it.
const SECRET: &str = "k3y-5f0c9d1e7a2b";
/// The fields where secrets belong: `url` behind its host, where servers have keys.
const SECRETS: [&str; 4] = ["client_secret", "header_value", "private_key", "url"];

/// Connections over which nothing is asked.
pub(in crate::admin) static CONNECTIONS: LazyLock<Connections> = LazyLock::new(|| {
    let outbound = Outbound::new(EgressRules::default());
    Connections::new(outbound)
});

/// Any form becomes a server or a fault, and any query a list or a fault.
pub(in crate::admin) fn forms(data: &[u8]) {
    let _ = Query::parse(text(data)).map_err(|fault| told(&fault, data));
    let _ = upload::fields("multipart/form-data; boundary=AaB03x", data);
    let form = match Form::parse(data) {
        Ok(form) => form,
        Err(fault) => return told(&fault, data),
    };
    let set = Tree::new().with("set", true);
    let header = Tree::new().with("name", "x-api-key").with("value", set);
    let auth = Tree::new().with("type", "static_headers");
    let auth = auth.with("headers", Tree::List(vec![header]));
    let mut entered = Tree::new()
        .with("name", form.text("name"))
        .with("auth", auth);
    read_scope(&form, &mut entered);
    read_auth(&form, &mut entered);
    read_switches(&form, &mut entered);
    if let Err(fault) = read_tools(&form, &mut entered) {
        told(&fault, data);
    }
    let tools = every_tool(&form, entered.get("tools"));
    assert!(tools.is_list());
    let reader = Reader {
        organization: "default".into(),
        connections: &CONNECTIONS,
        now: SystemTime::UNIX_EPOCH,
    };
    match reader.create(&entered) {
        Ok(server) => assert_eq!(server.name.as_str(), form.text("name")),
        Err(faults) => {
            for fault in faults {
                told(&fault, data);
            }
        }
    }
    drop_moved_secrets(&mut entered, &url("https://a.example/mcp"));
    let shown = Fields::of(&entered, &BTreeSet::new());
    let _ = shown.has_advanced();
}

/// A fault is short, in one line, and repeats no secret that was typed where secrets belong.
fn told(fault: &Fault, data: &[u8]) {
    let text = format!("{fault:?}");
    assert!(
        fault.message().len() < 2048 && !fault.message().chars().any(char::is_control),
        "{text}"
    );
    let is_hidden = url::form_urlencoded::parse(data).all(|(name, value)| {
        let url = value.trim().parse::<Url>();
        let is_in_host = url.is_ok_and(|url| url.host_str().is_some_and(has));
        !has(&name) && !is_in_host && (SECRETS.contains(&&*name) || !has(&value))
    });
    assert!(!is_hidden || !text.contains(SECRET), "{text}");
}

fn has(text: &str) -> bool {
    text.to_ascii_lowercase().contains(SECRET)
}
