//! The fields of a server's forms: read into the tree that a server is read from, and shown from
//! it.
//!
//! So typed and stored values are shown by the same code. Of secrets it only knows whether they are
//! set.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::{
    super::fault::{Code, Fault},
    control::{Control, texts},
    form::Form,
    selection::{Chosen, selected},
    text::Shown,
};
use crate::registry::{
    OAuthGrant,
    members::{ClientProof, Kind, OAUTH2, PASSTHROUGH, SERVER, Tree, Word},
};

/// The most projects with a box of their own, besides the chosen ones; others are typed.
const PROJECTS: usize = 200;

/// The values that a form shows of a server.
#[derive(Default)]
pub(super) struct Fields {
    /// The members that are entered as text.
    controls: Vec<Control>,
    pub(super) is_sse: bool,
    pub(super) is_for_all: bool,
    pub(super) projects: Vec<ProjectBox>,
    /// `exchange`, `caller`, `project` or `all`.
    pub(super) share_session: String,
    pub(super) trace_context: Option<bool>,
    pub(super) is_instructing: bool,
    /// `none`, `static_headers`, `oauth2` or `token_passthrough`.
    pub(super) auth: String,
    pub(super) headers: Vec<HeaderRow>,
    /// `authorization_code`, `client_credentials` or `token_exchange`.
    pub(super) grant: String,
    pub(super) client_secret: Secret,
    pub(super) private_key: Secret,
    pub(super) signing_algorithm: String,
    pub(super) token_auth: String,
    pub(super) subject_token_type: String,
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

/// The state of a secret, without the secret.
#[derive(Default)]
pub(super) struct Secret {
    /// `true` if a usable secret is stored; its date follows, if known.
    pub(super) is_set: bool,
    pub(super) set_on: Option<String>,
    /// `true` if a secret was typed; it is not shown again.
    pub(super) was_typed: bool,
}

impl Fields {
    /// The fields of `entered`; `known` are the projects to choose from.
    pub(super) fn of(entered: &Tree<'_>, known: &BTreeSet<String>) -> Self {
        let text = |tree: &Tree<'_>| tree.as_text().unwrap_or_default().to_owned();
        let flag = |tree: &Tree<'_>| match tree {
            Tree::Flag(flag) => Some(*flag),
            _ => None,
        };
        let auth = entered.get("auth");
        let headers = auth.get("headers").items().iter().map(|header| HeaderRow {
            name: text(header.get("name")),
            value: Secret::of(header.get("value")),
        });
        let or = |tree: &Tree<'_>, word: &str| tree.as_text().unwrap_or(word).to_owned();
        Self {
            controls: controls(entered),
            is_sse: entered.get("transport").as_text() == Some("sse"),
            is_for_all: !entered.get("projects").is_list(),
            projects: boxes(&texts(entered.get("projects")), known),
            share_session: or(entered.get("share_session"), "project"),
            trace_context: flag(entered.get("trace_context")),
            is_instructing: flag(entered.get("instructions")).unwrap_or_default(),
            auth: or(auth.get("type"), "none"),
            headers: headers.collect(),
            grant: or(auth.get("grant"), OAuthGrant::default().word()),
            client_secret: Secret::of(auth.get("client_secret")),
            private_key: Secret::of(auth.get("private_key")),
            signing_algorithm: text(auth.get("signing_algorithm")),
            token_auth: text(auth.get("token_auth")),
            subject_token_type: text(auth.get("subject_token_type")),
            is_enabled: flag(entered.get("enabled")).unwrap_or(true),
            on_change: text(entered.get("on_change")),
            new_tools: text(entered.get("new_tools")),
            version: match entered.get("version") {
                Tree::Count(version) => *version,
                _ => 0,
            },
        }
    }

    /// The field of the member at `param`.
    pub(super) fn control(&self, param: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.param == param)
    }

    /// The value of that field.
    pub(super) fn value(&self, param: &str) -> &str {
        self.control(param).map_or("", |control| &control.value)
    }

    /// The fields of texts for people.
    pub(super) fn prose(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(|control| !control.is_code())
    }

    /// The callers that share a session, in words for a list of facts.
    pub(super) fn sharing(&self) -> &'static str {
        match &*self.share_session {
            "exchange" => "one for each request",
            // Never shared by two, whatever is chosen.
            _ if self.auth == "token_passthrough" => "one for each token of callers",
            _ if self.auth == "oauth2" && self.grant == "token_exchange" => "one for each user",
            "caller" => "one for each caller",
            "all" => "one for everybody",
            _ => "one for each project",
        }
    }

    /// The longest silence of a call and the longest call, in words for a list of facts.
    pub(super) fn call_time(&self) -> String {
        let of = |param| match self.value(param) {
            "" => "the gateway's limit".to_owned(),
            seconds => format!("{seconds} s"),
        };
        match ["call", "call_max"].map(|param| self.value(param)) {
            ["", ""] => "the gateway's limits".to_owned(),
            _ => format!("silent for {}, in all {}", of("call"), of("call_max")),
        }
    }

    /// Returns `true` if sessions, limits of time or tracing are not the usual ones.
    pub(super) fn is_unusual(&self) -> bool {
        let times = ["call", "call_max"].map(|name| self.value(name));
        self.share_session != "project"
            || self.trace_context.is_some()
            || times.iter().any(|time| !time.is_empty())
    }

    /// Who authorizes the gateway, in words for a list of facts.
    pub(super) fn authorized_by(&self) -> &'static str {
        match &*self.grant {
            "client_credentials" => "the gateway itself",
            "token_exchange" => "each caller",
            _ => "a person",
        }
    }

    /// Returns `true` if any of the less common OAuth fields is filled in.
    pub(super) fn has_advanced(&self) -> bool {
        let advanced = [
            self.value("auth.resource"),
            self.value("auth.key_id"),
            &*self.signing_algorithm,
            &*self.token_auth,
        ];
        advanced.iter().any(|field| !field.is_empty())
    }
}

impl Secret {
    fn of(value: &Tree<'_>) -> Self {
        let set_on = value.get("updated_at").as_text();
        Self {
            is_set: matches!(value.get("set"), Tree::Flag(true)),
            // The day of it.
            set_on: set_on.map(|at| at.chars().take(10).collect()),
            was_typed: value.as_text().is_some_and(|typed| !typed.is_empty()),
        }
    }
}

fn controls(entered: &Tree<'_>) -> Vec<Control> {
    let auth = entered.get("auth");
    let server = SERVER.iter().map(|member| ("", **member, entered));
    let oauth2 = OAUTH2.iter().map(|member| ("auth.", **member, auth));
    let all = server.chain(oauth2).chain([("auth.", *PASSTHROUGH, auth)]);
    let all = all.filter_map(|(whole, about, of)| Control::of(whole, about, of.get(about.name)));
    all.collect()
}

/// The boxes of the projects that are chosen, and of others that are known.
pub(super) fn boxes(chosen: &[&str], known: &BTreeSet<String>) -> Vec<ProjectBox> {
    let others = known.iter().map(String::as_str);
    let others = others.filter(|project| !chosen.contains(project));
    let boxes = chosen.iter().map(|project| (*project, true));
    let boxes = boxes.chain(others.map(|project| (project, false)));
    // A chosen one without a box would be lost when the form is sent.
    let boxes = boxes.take(PROJECTS.max(chosen.len()));
    let boxes = boxes.map(|(project, is_on)| ProjectBox {
        value: project.to_owned(),
        label: Shown::of(project),
        is_on,
    });
    boxes.collect()
}

/// Reads address and scope into `entered`. Members without a field in the form stay.
pub(super) fn read_scope<'a>(form: &'a Form, entered: &mut Tree<'a>) {
    for member in SERVER {
        let is_typed = matches!(member.kind, Kind::Prose { .. } | Kind::Url);
        if is_typed && form.has(member.name) {
            entered.set(member.name, form.trimmed(member.name));
        }
    }
    for name in SERVER
        .iter()
        .filter(|member| matches!(member.kind, Kind::Seconds))
        .map(|member| member.name)
    {
        if form.has(name) {
            entered.set(name, seconds(form.trimmed(name)));
        }
    }
    entered.set("transport", form.text("transport"));
    entered.set("projects", read_projects(form));
    if form.has("share_session") {
        entered.set("share_session", form.text("share_session"));
    }
    if form.has("trace_context") {
        let told = match form.text("trace_context") {
            "always" => Some(true),
            "never" => Some(false),
            _ => None,
        };
        entered.set("trace_context", told);
    }
}

/// A typed number of seconds; what is none stays text, which is refused as such.
fn seconds(typed: &str) -> Tree<'_> {
    match (typed, typed.parse::<u64>()) {
        ("", _) => Tree::Null,
        (_, Ok(seconds)) => seconds.into(),
        (typed, Err(_)) => typed.into(),
    }
}

/// The projects that are chosen.
pub(super) fn read_projects(form: &Form) -> Tree<'_> {
    match form.text("scope") {
        "only" => chosen(form, "project", "new_projects"),
        _ => "all".into(),
    }
}

/// The values of the ticked boxes, and those that are typed with commas between them, each once.
pub(super) fn chosen<'f>(form: &'f Form, boxes: &str, typed: &str) -> Tree<'f> {
    let typed = form.text(typed).split(',').map(str::trim);
    let chosen: BTreeSet<&str> = form.all(boxes).chain(typed).collect();
    let chosen = chosen.into_iter().filter(|value| !value.is_empty());
    chosen.collect()
}

/// Reads the authentication into `entered`. A secret that was not typed is kept, if there is one.
pub(super) fn read_auth<'a>(form: &'a Form, entered: &mut Tree<'a>) {
    let kind = form.text("auth");
    let mut auth = Tree::new().with("type", kind);
    match kind {
        "static_headers" => auth.set("headers", headers(form, entered.get("auth"))),
        "oauth2" => {
            let grant = form.trimmed("grant");
            for member in OAUTH2.iter().filter(|member| is_shown(member.name, grant)) {
                let value = match (member.kind, form.trimmed(member.name)) {
                    (Kind::Secret, "") if is_kept(form, member.name) => {
                        entered.get("auth").get(member.name).clone()
                    }
                    (_, "") => continue,
                    (_, typed) => typed.into(),
                };
                auth.set(member.name, value);
            }
        }
        "token_passthrough" => {
            let header = Some(form.trimmed(PASSTHROUGH.name)).filter(|header| !header.is_empty());
            auth.set(PASSTHROUGH.name, header);
        }
        _ => {}
    }
    entered.set("auth", auth);
}

/// Returns `true` if the form shows the field of a member for this grant; what is in a field that nobody sees
/// is not meant.
fn is_shown(member: &str, grant: &str) -> bool {
    match member {
        "authorization_url" => !matches!(grant, "client_credentials" | "token_exchange"),
        "audience" | "subject_audience" | "subject_issuer" | "subject_token_type" => {
            grant == "token_exchange"
        }
        _ => true,
    }
}

/// Returns `true` if the secret of this name stays: its removal is not ticked, and no other one is entered in
/// its place.
fn is_kept(form: &Form, name: &str) -> bool {
    let is_replaced =
        |other: &ClientProof| other.member() != name && !form.trimmed(other.member()).is_empty();
    !form.has(&format!("no_{name}")) && !ClientProof::ALL.iter().any(is_replaced)
}

/// The rows of headers, except those that are empty or marked for removal.
fn headers<'a>(form: &'a Form, stored: &Tree<'a>) -> Tree<'a> {
    let removed: BTreeSet<&str> = form.all("remove_header").collect();
    let rows = form.all("header_name").zip(form.all("header_value"));
    let rows = rows.enumerate().filter_map(|(index, (name, value))| {
        let (name, value) = (name.trim(), value.trim());
        let is_empty = name.is_empty() && value.is_empty();
        if is_empty || removed.contains(index.to_string().as_str()) {
            return None;
        }
        let mut stored = stored.get("headers").items().iter().filter(|header| {
            let other = header.get("name").as_text();
            other.is_some_and(|other| other.eq_ignore_ascii_case(name))
        });
        let value = match (value, stored.next()) {
            ("", Some(stored)) => stored.get("value").clone(),
            (value, _) => value.into(),
        };
        Some(Tree::new().with("name", name).with("value", value))
    });
    rows.collect()
}

/// Reads the switches into `entered`.
pub(super) fn read_switches<'a>(form: &'a Form, entered: &mut Tree<'a>) {
    entered.set("enabled", form.has("enabled"));
    for name in ["on_change", "new_tools"] {
        entered.set(name, form.text(name));
    }
}

/// Reads the offered tools into `entered`.
///
/// # Errors
/// All tools are to be offered, and some are to be asked for first, always offered, or typed: that
/// requires a selection, which is then what is entered.
pub(super) fn read_tools<'a>(form: &'a Form, entered: &mut Tree<'a>) -> Result<(), Fault> {
    let is_all = form.text("tools") == "all";
    let chosen = selection(form, form.all("tool"), entered.get("tools"));
    let stored: BTreeSet<&str> = {
        let stored = entered.get("tools").items().iter().filter_map(selected);
        stored.map(|(tool, _)| tool).collect()
    };
    let reason = match is_all {
        true if form.all("policy").any(|policy| policy == "ask_first") => Some(
            "that are asked for first have to be selected: choose Selected tools, or auto for each \
             of them",
        ),
        true if form.has("always") => Some(
            "that are always offered have to be selected: choose Selected tools, or clear Always \
             offered of each of them",
        ),
        true if typed(form).any(|tool| !stored.contains(tool)) => Some(
            "that are named have to be selected: choose Selected tools, or take their names out",
        ),
        _ => None,
    };
    let tools = match is_all && reason.is_none() {
        true => "all".into(),
        // What was refused is shown as it was chosen.
        false => chosen,
    };
    entered.set("tools", tools);
    if let Some(reason) = reason {
        return Err(Fault::of(Code::InvalidServer, "tools", reason));
    }
    // A form without a box for them, since the server has none, says nothing of them.
    if form.has("has_instructions") {
        entered.set("instructions", form.has("instructions"));
    }
    Ok(())
}

/// All tools of a form, with their policies; for a page, before anything is saved.
pub(super) fn every_tool<'a>(form: &'a Form, stored: &Tree<'_>) -> Tree<'a> {
    selection(form, form.all("tool_name"), stored)
}

/// The tools that are typed.
fn typed(form: &Form) -> impl Iterator<Item = &str> {
    let typed = form.text("more_tools").lines().map(str::trim);
    typed.filter(|tool| !tool.is_empty())
}

/// These tools and the typed ones, each as it is selected. A tool that is not listed at the moment has
/// no row in the form, and stays as it is stored.
fn selection<'a>(
    form: &'a Form,
    tools: impl Iterator<Item = &'a str>,
    stored: &Tree<'_>,
) -> Tree<'a> {
    let kept = stored.items().iter().filter_map(selected);
    let always: BTreeSet<&str> = form.all("always").collect();
    let given = form.all("tool_name").zip(form.all("policy"));
    let given = given.map(|(tool, policy)| {
        let is_always = always.contains(tool);
        (tool, Chosen { policy, is_always })
    });
    let chosen: BTreeMap<&str, Chosen<'_>> = kept.chain(given).collect();
    let tools: BTreeSet<&str> = tools.chain(typed(form)).collect();
    let tools = tools.into_iter().map(|tool| {
        let chosen = chosen.get(tool);
        let asks = chosen.is_some_and(|chosen| chosen.policy == "ask_first");
        let is_always = chosen.is_some_and(|chosen| chosen.is_always);
        if !asks && !is_always {
            return tool.into();
        }
        let mut entered = Tree::new().with("name", tool);
        if asks {
            entered.set("policy", "ask_first");
        }
        if is_always {
            entered.set("always", true);
        }
        entered
    });
    tools.collect()
}

/// Removes the secrets from `entered` that were entered for another origin; returns `true` if there
/// were any.
pub(super) fn drop_moved_secrets(entered: &mut Tree<'_>, before: &Url) -> bool {
    let url = entered.get("url").as_text().unwrap_or_default();
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    if url.origin() == before.origin() {
        return false;
    }
    let auth = entered.get("auth");
    let left = match auth.get("type").as_text() {
        Some("static_headers") => Tree::new().with("type", "none"),
        Some("oauth2") => {
            let proofs = ClientProof::ALL.map(ClientProof::member);
            if proofs.iter().all(|proof| auth.get(proof).is_null()) {
                return false;
            }
            let left = auth.clone();
            proofs
                .into_iter()
                .fold(left, |left, proof| left.with(proof, Tree::Null))
        }
        _ => return false,
    };
    entered.set("auth", left);
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn form(fields: &str) -> Form {
        Form::parse(fields.as_bytes()).unwrap()
    }

    fn shown(tree: &Tree<'_>) -> Value {
        serde_json::to_value(tree).unwrap()
    }

    #[test]
    fn a_secret_that_is_not_typed_is_kept_and_one_that_is_typed_is_not_shown() {
        let set = json!({"set": true, "updated_at": "2026-11-28T03:00:00.000Z"});
        let stored = json!({"auth": {"type": "static_headers", "headers": [
            {"name": "x-api-key", "value": set}, {"name": "x-old", "value": set},
        ]}});
        let stored = stored.to_string();
        let form = form(
            "auth=static_headers&header_name=X-Api-Key&header_value=&header_name=x-old\
             &header_value=&remove_header=1&header_name=x-new&header_value=s3cret&header_name=&header_value=",
        );
        let mut entered = Tree::json(stored.as_bytes()).unwrap();
        read_auth(&form, &mut entered);
        assert_eq!(
            shown(entered.get("auth").get("headers")),
            json!([{"name": "X-Api-Key", "value": set}, {"name": "x-new", "value": "s3cret"}])
        );
        let fields = Fields::of(&entered, &BTreeSet::new());
        assert!(fields.headers[0].value.is_set && !fields.headers[0].value.was_typed);
        assert_eq!(
            fields.headers[0].value.set_on.as_deref(),
            Some("2026-11-28")
        );
        assert!(!fields.headers[1].value.is_set && fields.headers[1].value.was_typed);
    }

    #[test]
    fn a_secret_gives_way_to_a_key_and_fields_of_another_grant_are_not_meant() {
        let set = json!({"set": true, "updated_at": "2026-11-28T03:00:00.000Z"});
        let stored = json!({"auth": {"type": "oauth2", "client_secret": set, "private_key": null}});
        let stored = stored.to_string();
        let read = |fields: &str| {
            let form = form(fields);
            let mut entered = Tree::json(stored.as_bytes()).unwrap();
            read_auth(&form, &mut entered);
            shown(entered.get("auth"))
        };
        let kept = read("auth=oauth2&grant=client_credentials&client_id=c&authorization_url=x");
        assert_eq!(
            kept,
            json!({"type": "oauth2", "grant": "client_credentials", "client_id": "c",
                "client_secret": set, "private_key": null})
        );
        let replaced = read("auth=oauth2&private_key=-----BEGIN&subject_audience=a");
        assert_eq!(
            replaced,
            json!({"type": "oauth2", "private_key": "-----BEGIN"})
        );
        assert_eq!(
            read("auth=oauth2&no_client_secret=1"),
            json!({"type": "oauth2", "private_key": null})
        );
        let exchange = read("auth=oauth2&grant=token_exchange&subject_audience=a");
        assert_eq!(exchange["subject_audience"], "a");
    }

    #[test]
    fn what_a_form_says_of_sessions_and_traces_is_shown_again() {
        let stored = Tree::new()
            .with("share_session", "caller")
            .with("trace_context", false);
        for (sent, sharing, means) in [
            ("", "caller", Some(false)),
            (
                "&share_session=exchange&trace_context=own",
                "exchange",
                None,
            ),
            (
                "&share_session=exchange&trace_context=always",
                "exchange",
                Some(true),
            ),
            (
                "&share_session=exchange&trace_context=never",
                "exchange",
                Some(false),
            ),
        ] {
            let form = form(&format!("url=x{sent}"));
            let mut entered = stored.clone();
            read_scope(&form, &mut entered);
            let fields = Fields::of(&entered, &BTreeSet::new());
            assert_eq!(
                (&*fields.share_session, fields.trace_context),
                (sharing, means)
            );
        }
    }

    #[test]
    fn seconds_are_typed_as_a_number_and_nothing_is_the_default() {
        let stored = Tree::new().with("call", 120);
        for (sent, call, call_max) in [
            ("", json!(120), json!(null)),
            ("&call=&call_max=900", json!(null), json!(900)),
            ("&call=%2090%20&call_max=soon", json!(90), json!("soon")),
        ] {
            let form = form(&format!("url=x{sent}"));
            let mut entered = stored.clone();
            read_scope(&form, &mut entered);
            let times = ["call", "call_max"].map(|name| shown(entered.get(name)));
            assert_eq!(times, [call, call_max]);
        }
        let fields = Fields::of(&stored, &BTreeSet::new());
        assert_eq!(fields.value("call"), "120");
        assert_eq!(
            fields.call_time(),
            "silent for 120 s, in all the gateway's limit"
        );
    }

    #[test]
    fn tools_are_selected_with_their_policy() {
        let read = |fields: &str, stored: &Tree<'_>| {
            let form = form(fields);
            let mut entered = Tree::new().with("tools", stored.clone());
            read_tools(&form, &mut entered).map(|()| shown(entered.get("tools")))
        };
        let fields = "tools=only&tool_name=a&policy=auto&tool=a&tool_name=b&policy=ask_first&tool=b\
                      &tool_name=c&policy=ask_first&more_tools=d%0D%0A%0D%0A e";
        let asked = |name| json!({"name": name, "policy": "ask_first"});
        assert_eq!(
            read(fields, &Tree::Null).unwrap(),
            json!(["a", asked("b"), "d", "e"])
        );
        assert_eq!(read("tools=all&tool=a", &Tree::Null).unwrap(), "all");
        let all = form("tool_name=a&policy=ask_first&tool_name=b&policy=auto&more_tools=c");
        let stored = json!(["a", asked("b"), asked("c")]).to_string();
        let stored = Tree::json(stored.as_bytes()).unwrap();
        assert_eq!(
            shown(&every_tool(&all, &stored)),
            json!([asked("a"), "b", asked("c")])
        );
        // A tool that is not listed today still waits for a person when it is back.
        let fields = "tools=only&tool_name=a&policy=auto&tool=a&more_tools=c";
        assert_eq!(read(fields, &stored).unwrap(), json!(["a", asked("c")]));
        let asks = "tools=all&tool_name=a&policy=ask_first&tool=a";
        assert!(read(asks, &stored).is_err());
        // Names that are typed are meant; those that are there already are given up.
        assert!(read("tools=all&more_tools=e", &stored).is_err());
        assert_eq!(read("tools=all&more_tools=c", &stored).unwrap(), "all");

        let always = "tools=only&tool_name=a&policy=auto&tool=a&always=a&tool_name=b\
                      &policy=ask_first&tool=b&always=b&always=c&more_tools=d";
        let stored = json!([{"name": "d", "always": true}]).to_string();
        let stored = Tree::json(stored.as_bytes()).unwrap();
        assert_eq!(
            read(always, &stored).unwrap(),
            json!([
                {"name": "a", "always": true},
                {"name": "b", "policy": "ask_first", "always": true},
                {"name": "d", "always": true},
            ])
        );
        let all = "tools=all&tool_name=a&policy=auto&tool=a&always=a";
        assert!(read(all, &stored).is_err());
    }

    #[test]
    fn secrets_stay_with_the_origin_that_they_are_for() {
        let before = Url::parse("https://a.example/mcp").unwrap();
        let mut entered = Tree::new()
            .with("url", "https://a.example/other")
            .with("auth", Tree::new().with("type", "static_headers"));
        assert!(!drop_moved_secrets(&mut entered, &before));
        entered.set("url", "https://b.example/mcp");
        assert!(drop_moved_secrets(&mut entered, &before));
        assert_eq!(shown(entered.get("auth")), json!({"type": "none"}));
    }
}
