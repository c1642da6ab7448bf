//! All servers as a configuration file of the proxy, without their secrets.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{extract::State, response::IntoResponse};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use super::{
    answer::Answer,
    media_type::TOML,
    organization::{OrganizationStore, SERVERS},
};
use crate::{
    registry::{
        Auth, AuthKind, Gate, OAuthGrant, Server, ToolSelection,
        members::{self, Given, Tree, Word, Writer},
    },
    url_keys,
};

/// Members that are written even where they have their defaults: whoever reads the file wants to see
/// who gets what.
const ALWAYS: [&str; 4] = ["name", "url", "projects", "tools"];
/// The beginning of variables that are the proxy's own settings.
const SETTINGS: &str = "MCP_PROXY_";

const WRITER: Writer = Writer {
    url: url_keys::shown,
    time: |_| Tree::Null,
    secret: |_| true.into(),
};

/// `GET /servers/export`
pub(super) async fn export(State(store): State<OrganizationStore>) -> Answer {
    let text = file(&store.all().await?);
    let head = [
        (CONTENT_TYPE, TOML),
        (CONTENT_DISPOSITION, "attachment; filename=\"servers.toml\""),
    ];
    Ok((head, text).into_response())
}

/// These servers as TOML, under a comment about the variables that hold their secrets.
fn file(servers: &[Arc<Server>]) -> String {
    let mut variables = Variables::default();
    let tables: Vec<_> = servers
        .iter()
        .map(|server| table(server, &mut variables))
        .collect();
    let mut text = String::from(
        "# The servers of a gateway, to add to its configuration file, which also has `allow_egress`.\n",
    );
    if servers.len() >= SERVERS {
        text += &format!("# These are the first {} by their names.\n", servers.len());
    }
    if !variables.0.is_empty() {
        text +=
            "# Their secrets are not here. Before you start, set these environment variables:\n";
    }
    for (name, meaning) in &variables.0 {
        text += &format!("#   {name}  {meaning}\n");
    }
    text += &tables.concat();
    text
}

fn table(server: &Server, variables: &mut Variables) -> String {
    let is_given = |given| matches!(given, Given::Everywhere | Given::Entered);
    let written = members::write(server, &WRITER, is_given);
    let fresh = Server::new(server.name.as_str(), "https://mcp.example.com");
    let fresh = fresh
        .as_ref()
        .map(|fresh| members::write(fresh, &WRITER, is_given));
    let fresh = fresh.unwrap_or_default();
    let mut text = String::from("\n[[servers]]\n");
    for remark in remarks(server) {
        text += &format!("# {remark}\n");
    }
    let Tree::Table(members) = &written else {
        return text;
    };
    for (name, value) in members {
        let is_told = ALWAYS.contains(&&**name) || value != fresh.get(name);
        match &**name {
            "auth" => {}
            "tools" => text += &format!("tools = {}\n", tools(server, value)),
            name if is_told && !value.is_null() => text += &format!("{name} = {}\n", toml(value)),
            _ => {}
        }
    }
    if server.auth.kind() != AuthKind::None {
        text += &auth(server, written.get("auth"), variables);
    }
    text
}

/// Returns `true` for an authorization that a person has given.
fn is_persons(auth: &Auth) -> bool {
    matches!(auth, Auth::OAuth2(oauth) if oauth.grant == OAuthGrant::AuthorizationCode)
}

/// What a file cannot say of `server`.
fn remarks(server: &Server) -> impl Iterator<Item = &'static str> {
    let has_key = url_keys::shown(&server.url) != server.url.as_str();
    let blocks = [server.on_change, server.new_tools].contains(&Some(Gate::Block));
    let all = [
        (
            has_key,
            "The address has a key. Put it in the place of …; a file has it in clear.",
        ),
        (is_persons(&server.auth), "It has to be connected anew."),
        (
            blocks && server.tools == ToolSelection::All,
            "Changed and new tools waited to be accepted; of a file they are offered as they are.",
        ),
    ];
    let those = all.into_iter().filter(|(applies, _)| *applies);
    those.map(|(_, remark)| remark)
}

/// The selected tools, with the definitions that were accepted where only those are offered.
fn tools(server: &Server, written: &Tree<'_>) -> String {
    let pins = server
        .pins
        .as_deref()
        .filter(|_| server.on_change == Some(Gate::Block));
    let (ToolSelection::Only(tools), Some(pins)) = (&server.tools, pins) else {
        return toml(written);
    };
    let tools = tools.iter().zip(written.items()).map(|(tool, written)| {
        let Some(pin) = pins.of(tool.name()) else {
            return toml(written);
        };
        let named = match written.as_text() {
            Some(name) => Tree::new().with("name", name),
            None => written.clone(),
        };
        toml(&named.with("fingerprint", pin.to_string()))
    });
    format!("[{}]", tools.collect::<Vec<_>>().join(", "))
}

fn auth(server: &Server, written: &Tree<'_>, variables: &mut Variables) -> String {
    let mut text = String::from("\n[servers.auth]\n");
    let Tree::Table(members) = written else {
        return text;
    };
    // As for the rest, what is as it would be anyway is left out.
    let usual = OAuthGrant::default().word();
    let is_told = |value: &Tree<'_>| !value.is_null() && value.as_text() != Some(usual);
    for (name, value) in members.iter().filter(|(_, value)| is_told(value)) {
        text += &match &**name {
            "headers" => {
                let headers = value.items().iter().map(|header| {
                    let name = header.get("name").as_text().unwrap_or_default();
                    let variable = variables.of(server, name, "the header");
                    format!(
                        "{{ name = {}, value_env = {} }}",
                        quoted(name),
                        quoted(&variable)
                    )
                });
                format!("headers = [{}]\n", headers.collect::<Vec<_>>().join(", "))
            }
            name if !value.get("set").is_null() => {
                let variable = variables.of(server, name, "the");
                format!("{name}_env = {}\n", quoted(&variable))
            }
            name => format!("{name} = {}\n", toml(value)),
        };
    }
    text
}

/// The variables that hold secrets, with what each is.
#[derive(Default)]
struct Variables(BTreeMap<String, String>);

impl Variables {
    /// A variable for a secret of `server`, such as `GITHUB_AUTHORIZATION`, that no other has.
    fn of(&mut self, server: &Server, secret: &str, what: &str) -> String {
        let capital = |letter: char| match letter.is_ascii_alphanumeric() {
            true => letter.to_ascii_uppercase(),
            false => '_',
        };
        let mut name: String = format!("{}_{secret}", server.name)
            .chars()
            .map(capital)
            .collect();
        // No shell has such a variable, and a setting is something else.
        if name.starts_with(|first: char| first.is_ascii_digit()) || name.starts_with(SETTINGS) {
            name.insert_str(0, "S_");
        }
        let mut free = name.clone();
        let mut n = 2;
        while self.0.contains_key(&free) {
            free.clone_from(&name);
            // Writing to a String cannot fail.
            let _ = write!(free, "_{n}");
            n += 1;
        }
        let meaning = format!("{what} {} of {}", secret.replace('_', " "), server.name);
        self.0.insert(free.clone(), meaning);
        free
    }
}

/// A value in one line.
fn toml(value: &Tree<'_>) -> String {
    match value {
        Tree::Flag(flag) => flag.to_string(),
        Tree::Count(count) => count.to_string(),
        Tree::Fraction(fraction) => format!("{fraction:?}"),
        Tree::Text(text) => quoted(text),
        Tree::List(items) => {
            let items: Vec<_> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Tree::Table(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members: Vec<_> = members
                .map(|(name, value)| format!("{name} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        // No member has any of these.
        Tree::Null | Tree::Other => quoted(""),
    }
}

/// A basic string (TOML 1.0): one of JSON, but for a character that JSON leaves as it is.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_has_a_variable_of_its_own() {
        let with = |name: &str, header: &str| {
            let server = Server::new(name, "https://mcp.example.com/mcp").unwrap();
            let auth = Auth::static_headers([(header, "s3cret")]).unwrap();
            Arc::new(server.with_auth(auth))
        };
        let text = file(&[
            with("a", "b-c"),
            with("a-b", "c"),
            with("1password", "authorization"),
            with("mcp-proxy", "listen"),
        ]);
        for variable in [
            "A_B_C",
            "A_B_C_2",
            "S_1PASSWORD_AUTHORIZATION",
            "S_MCP_PROXY_LISTEN",
        ] {
            assert!(
                text.contains(&format!("value_env = \"{variable}\"")),
                "{text}"
            );
        }
        assert!(!text.contains("s3cret"));
    }

    #[test]
    fn a_text_is_quoted_whatever_is_in_it() {
        for text in ["\"\\\n\t\u{0}\u{1f}\u{7f}é\u{2028}#'''", ""] {
            let line = format!("a = {}", quoted(text));
            assert!(!line.chars().any(char::is_control));
            #[cfg(feature = "file")]
            {
                let read: toml::Table = line.parse().unwrap();
                assert_eq!(read["a"].as_str(), Some(text));
            }
        }
    }
}
