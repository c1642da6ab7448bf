//! The fields of a server's forms: read into the JSON that REST takes, and shown out of it.
//!
//! So what was typed and what is stored are shown by the same code; of secrets it knows only
//! whether there are any.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use url::Url;

use super::{
    super::fault::{Code, Fault},
    form::Form,
    selection::selected,
    text::Shown,
};

/// Projects beyond these, and beyond those that are chosen, are typed: nobody looks through more
/// boxes.
const PROJECTS: usize = 200;

/// What a form shows of a server.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) description: String,
    pub(super) url: String,
    pub(super) is_sse: bool,
    pub(super) is_for_all: bool,
    pub(super) projects: Vec<ProjectBox>,
    /// `exchange`, `caller`, `project` or `all`.
    pub(super) share_session: String,
    pub(super) trace_context: Option<bool>,
    /// `none`, `static_headers`, `oauth2` or `token_passthrough`.
    pub(super) auth: String,
    pub(super) headers: Vec<HeaderRow>,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) authorization_url: String,
    pub(super) token_url: String,
    pub(super) scopes: String,
    pub(super) issuer: String,
    pub(super) resource: String,
    pub(super) token_auth: String,
    pub(super) header: String,
    pub(super) is_enabled: bool,
    pub(super) on_change: String,
    pub(super) new_tools: String,
    pub(super) version: u64,
}

pub(super) struct ProjectBox {
    pub(super) value: String,
    pub(super) label: Shown,
    pub(super) is_on: bool,
}

pub(super) struct HeaderRow {
    pub(super) name: String,
    pub(super) value: Secret,
}

/// What is known of a secret.
#[derive(Default)]
pub(super) struct Secret {
    /// One is stored and can be used; since then, where that is known.
    pub(super) is_set: bool,
    pub(super) set_on: Option<String>,
    /// It was typed, and is not shown again.
    pub(super) was_typed: bool,
}

impl Fields {
    /// What `body` says; `known` are projects to choose from.
    pub(super) fn of(body: &Value, known: &BTreeSet<String>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let auth = &body["auth"];
        let chosen = strings(&body["projects"]);
        let others = known.iter().filter(|project| !chosen.contains(*project));
        let boxes = chosen.iter().map(|project| (project, true));
        let boxes = boxes.chain(others.map(|project| (project, false)));
        // A chosen one without a box would be lost when the form is sent.
        let boxes = boxes
            .take(PROJECTS.max(chosen.len()))
            .map(|(project, is_on)| ProjectBox {
                value: project.clone(),
                label: Shown::of(project),
                is_on,
            });
        let headers = auth["headers"].as_array().into_iter().flatten();
        let headers = headers.map(|header| HeaderRow {
            name: text(&header["name"]),
            value: Secret::of(&header["value"]),
        });
        Self {
            name: text(&body["name"]),
            display_name: text(&body["display_name"]),
            description: text(&body["description"]),
            url: text(&body["url"]),
            is_sse: body["transport"] == "sse",
            is_for_all: !body["projects"].is_array(),
            projects: boxes.collect(),
            share_session: body["share_session"]
                .as_str()
                .unwrap_or("project")
                .to_owned(),
            trace_context: body["trace_context"].as_bool(),
            auth: auth["type"].as_str().unwrap_or("none").to_owned(),
            headers: headers.collect(),
            client_id: text(&auth["client_id"]),
            client_secret: Secret::of(&auth["client_secret"]),
            authorization_url: text(&auth["authorization_url"]),
            token_url: text(&auth["token_url"]),
            scopes: match &auth["scopes"] {
                Value::Array(_) => strings(&auth["scopes"]).join(", "),
                scopes => text(scopes),
            },
            issuer: text(&auth["issuer"]),
            resource: text(&auth["resource"]),
            token_auth: text(&auth["token_auth"]),
            header: text(&auth["header"]),
            is_enabled: body["enabled"].as_bool().unwrap_or(true),
            on_change: text(&body["on_change"]),
            new_tools: text(&body["new_tools"]),
            version: body["version"].as_u64().unwrap_or_default(),
        }
    }

    /// Who shares a session, for a list of facts.
    pub(super) fn sharing(&self) -> &'static str {
        match &*self.share_session {
            "exchange" => "one for each request",
            "caller" => "one for each caller",
            "all" => "one for everybody",
            _ => "one for each project",
        }
    }

    /// Whether something beside the common fields of OAuth is filled in.
    pub(super) fn has_advanced(&self) -> bool {
        let advanced = [&self.issuer, &self.resource, &self.token_auth];
        advanced.iter().any(|field| !field.is_empty())
    }
}

impl Secret {
    fn of(value: &Value) -> Self {
        let set_on = value["updated_at"].as_str();
        Self {
            is_set: value["set"] == true,
            // The day of it.
            set_on: set_on.map(|at| at.chars().take(10).collect()),
            was_typed: value.as_str().is_some_and(|typed| !typed.is_empty()),
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    let items = items.filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}

/// Puts into `body` where a server is and who may use it.
pub(super) fn read_scope(form: &Form<'_>, body: &mut Value) {
    for name in ["display_name", "description", "url"] {
        body[name] = form.trimmed(name).into();
    }
    body["transport"] = form.text("transport").into();
    body["projects"] = match form.text("scope") {
        "only" => {
            let typed = form.text("new_projects").split(',').map(str::trim);
            let typed = typed.filter(|project| !project.is_empty());
            let projects: BTreeSet<&str> = form.all("project").chain(typed).collect();
            json!(projects)
        }
        _ => json!("all"),
    };
    // A form without them changes nothing.
    if form.has("share_session") {
        body["share_session"] = form.text("share_session").into();
    }
    if form.has("trace_context") {
        body["trace_context"] = match form.text("trace_context") {
            "always" => true.into(),
            "never" => false.into(),
            _ => Value::Null,
        };
    }
}

/// Puts into `body` how to authenticate; a secret that is not typed is kept, where there is one.
pub(super) fn read_auth(form: &Form<'_>, body: &mut Value) {
    let kind = form.text("auth");
    let mut auth = Map::new();
    auth.insert("type".into(), kind.into());
    match kind {
        "static_headers" => {
            auth.insert("headers".into(), headers(form, &body["auth"]));
        }
        "oauth2" => {
            for name in [
                "client_id",
                "authorization_url",
                "token_url",
                "scopes",
                "issuer",
                "resource",
                "token_auth",
            ] {
                let given = form.trimmed(name);
                if !given.is_empty() {
                    auth.insert(name.into(), given.into());
                }
            }
            let kept = &body["auth"]["client_secret"];
            let secret = match form.trimmed("client_secret") {
                "" if form.has("no_client_secret") => &Value::Null,
                "" => kept,
                typed => &Value::from(typed),
            };
            auth.insert("client_secret".into(), secret.clone());
        }
        "token_passthrough" => {
            let header = Some(form.trimmed("header")).filter(|header| !header.is_empty());
            auth.insert("header".into(), header.into());
        }
        _ => {}
    }
    body["auth"] = auth.into();
}

/// The rows of headers but those that are empty or ticked to be removed.
fn headers(form: &Form<'_>, stored: &Value) -> Value {
    let removed: BTreeSet<&str> = form.all("remove_header").collect();
    let rows = form.all("header_name").zip(form.all("header_value"));
    let rows = rows.enumerate().filter_map(|(index, (name, value))| {
        let (name, value) = (name.trim(), value.trim());
        let is_empty = name.is_empty() && value.is_empty();
        if is_empty || removed.contains(index.to_string().as_str()) {
            return None;
        }
        let stored = stored["headers"].as_array().into_iter().flatten();
        let mut stored = stored.filter(|header| {
            let other = header["name"].as_str();
            other.is_some_and(|other| other.eq_ignore_ascii_case(name))
        });
        let value = match (value, stored.next()) {
            ("", Some(stored)) => stored["value"].clone(),
            (value, _) => value.into(),
        };
        Some(json!({"name": name, "value": value}))
    });
    rows.collect()
}

/// Puts into `body` what an operator switches.
pub(super) fn read_switches(form: &Form<'_>, body: &mut Value) {
    body["enabled"] = form.has("enabled").into();
    for name in ["on_change", "new_tools"] {
        body[name] = form.text(name).into();
    }
}

/// Puts into `body` which tools are offered.
///
/// # Errors
/// All tools are to be offered, and some to be asked for first: that is a selection.
pub(super) fn read_tools(form: &Form<'_>, body: &mut Value) -> Result<(), Fault> {
    let is_all = form.text("tools") == "all";
    if is_all && form.all("policy").any(|policy| policy == "ask_first") {
        let reason = "that are asked for first have to be selected: choose Selected tools, \
                      or auto for each of them";
        return Err(Fault::of(Code::InvalidServer, "tools", reason));
    }
    body["tools"] = match is_all {
        true => json!("all"),
        false => selection(form, form.all("tool"), &body["tools"]),
    };
    Ok(())
}

/// All tools of a form, with their policies; for a page, before anything is saved.
pub(super) fn every_tool(form: &Form<'_>, stored: &Value) -> Value {
    selection(form, form.all("tool_name"), stored)
}

/// These tools and those that are typed, with their policies. One that is not listed now has no
/// row in the form, and keeps the policy that is stored.
fn selection<'a>(
    form: &'a Form<'_>,
    tools: impl Iterator<Item = &'a str>,
    stored: &Value,
) -> Value {
    let kept = stored.as_array().into_iter().flatten().filter_map(selected);
    let given = form.all("tool_name").zip(form.all("policy"));
    let policies: BTreeMap<&str, &str> = kept.chain(given).collect();
    let typed = form.text("more_tools").lines().map(str::trim);
    let typed = typed.filter(|tool| !tool.is_empty());
    let tools: BTreeSet<&str> = tools.chain(typed).collect();
    let tools = tools.into_iter().map(|tool| match policies.get(tool) {
        Some(&"ask_first") => json!({"name": tool, "policy": "ask_first"}),
        _ => tool.into(),
    });
    tools.collect()
}

/// Takes from `body` the secrets that were entered for another origin; whether there were any.
pub(super) fn drop_moved_secrets(body: &mut Value, before: &Url) -> bool {
    let url = body["url"].as_str().unwrap_or_default();
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    if url.origin() == before.origin() {
        return false;
    }
    match body["auth"]["type"].as_str() {
        Some("static_headers") => body["auth"] = json!({"type": "none"}),
        Some("oauth2") if !body["auth"]["client_secret"].is_null() => {
            body["auth"]["client_secret"] = Value::Null;
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &str) -> Form<'_> {
        Form::parse(fields.as_bytes()).unwrap()
    }

    #[test]
    fn a_secret_that_is_not_typed_is_kept_and_one_that_is_typed_is_not_shown() {
        let set = json!({"set": true, "updated_at": "2026-11-28T03:00:00.000Z"});
        let mut body = json!({"auth": {"type": "static_headers", "headers": [
            {"name": "x-api-key", "value": set}, {"name": "x-old", "value": set},
        ]}});
        let form = form(
            "auth=static_headers&header_name=X-Api-Key&header_value=&header_name=x-old\
             &header_value=&remove_header=1&header_name=x-new&header_value=s3cret&header_name=&header_value=",
        );
        read_auth(&form, &mut body);
        assert_eq!(
            body["auth"]["headers"],
            json!([{"name": "X-Api-Key", "value": set}, {"name": "x-new", "value": "s3cret"}])
        );
        let fields = Fields::of(&body, &BTreeSet::new());
        assert!(fields.headers[0].value.is_set && !fields.headers[0].value.was_typed);
        assert_eq!(
            fields.headers[0].value.set_on.as_deref(),
            Some("2026-11-28")
        );
        assert!(!fields.headers[1].value.is_set && fields.headers[1].value.was_typed);
    }

    #[test]
    fn what_a_form_says_of_sessions_and_traces_is_shown_again() {
        let mut body = json!({"share_session": "caller", "trace_context": false});
        read_scope(&form("url=x"), &mut body);
        assert_eq!(
            (&body["share_session"], &body["trace_context"]),
            (&json!("caller"), &json!(false))
        );
        for (sent, means) in [
            ("own", None),
            ("always", Some(true)),
            ("never", Some(false)),
        ] {
            let sent = format!("url=x&share_session=exchange&trace_context={sent}");
            read_scope(&form(&sent), &mut body);
            let fields = Fields::of(&body, &BTreeSet::new());
            assert_eq!(fields.share_session, "exchange");
            assert_eq!(fields.trace_context, means);
        }
    }

    #[test]
    fn tools_are_selected_with_their_policy() {
        let mut body = json!({});
        let fields = "tools=only&tool_name=a&policy=auto&tool=a&tool_name=b&policy=ask_first&tool=b\
                      &tool_name=c&policy=ask_first&more_tools=d%0D%0A%0D%0A e";
        read_tools(&form(fields), &mut body).unwrap();
        assert_eq!(
            body["tools"],
            json!(["a", {"name": "b", "policy": "ask_first"}, "d", "e"])
        );
        read_tools(&form("tools=all&tool=a"), &mut body).unwrap();
        assert_eq!(body["tools"], "all");
        let all = form("tool_name=a&policy=ask_first&tool_name=b&policy=auto&more_tools=c");
        let stored = json!(["a", {"name": "b", "policy": "ask_first"}, {"name": "c", "policy": "ask_first"}]);
        let asked = |name| json!({"name": name, "policy": "ask_first"});
        assert_eq!(
            every_tool(&all, &stored),
            json!([asked("a"), "b", asked("c")])
        );
        // A tool that is not listed today still waits for a person when it is back.
        body["tools"] = stored;
        read_tools(
            &form("tools=only&tool_name=a&policy=auto&tool=a&more_tools=c"),
            &mut body,
        )
        .unwrap();
        assert_eq!(body["tools"], json!(["a", asked("c")]));
        let asks = form("tools=all&tool_name=a&policy=ask_first&tool=a");
        assert!(read_tools(&asks, &mut body).is_err());
    }

    #[test]
    fn secrets_stay_with_the_origin_that_they_are_for() {
        let before = Url::parse("https://a.example/mcp").unwrap();
        let mut body =
            json!({"url": "https://a.example/other", "auth": {"type": "static_headers"}});
        assert!(!drop_moved_secrets(&mut body, &before));
        body["url"] = "https://b.example/mcp".into();
        assert!(drop_moved_secrets(&mut body, &before));
        assert_eq!(body["auth"], json!({"type": "none"}));
    }
}
