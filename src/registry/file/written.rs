//! The servers of the conformance suite as a file has them, for tests.

use crate::registry::{Auth, Projects, Server, ToolPolicy, ToolSelection};

/// The same servers in TOML.
pub(in crate::registry) fn written(servers: &[Server]) -> String {
    let mut text = String::new();
    for server in servers {
        let list = |all: &[String]| format!("{all:?}");
        let projects = match &server.projects {
            Projects::All => "\"all\"".to_owned(),
            Projects::Only(some) => list(&some.iter().cloned().collect::<Vec<_>>()),
        };
        let tools = match &server.tools {
            ToolSelection::All => "\"all\"".to_owned(),
            ToolSelection::Only(tools) => {
                let tools = tools.iter().map(|tool| {
                    let policy = match tool.policy() {
                        ToolPolicy::Auto => "auto",
                        ToolPolicy::AskFirst => "ask_first",
                    };
                    format!("{{ name = {:?}, policy = {policy:?} }}", tool.name())
                });
                format!("[{}]", tools.collect::<Vec<_>>().join(", "))
            }
        };
        let auth = match &server.auth {
            Auth::None => "type = \"none\"".to_owned(),
            Auth::StaticHeaders(headers) => {
                let headers = headers.iter().map(|header| {
                    let name = header.name().as_str();
                    format!("{{ name = {name:?}, value_env = {name:?} }}")
                });
                let headers = headers.collect::<Vec<_>>().join(", ");
                format!("type = \"static_headers\"\nheaders = [{headers}]")
            }
            Auth::OAuth2(oauth) => format!(
                "type = \"oauth2\"\nclient_id = {:?}\nclient_secret_env = \"SECRET\"\n\
                 issuer = {:?}\nscopes = {:?}",
                oauth.client_id.as_ref().unwrap(),
                oauth.issuer.as_ref().unwrap(),
                oauth.scopes.iter().collect::<Vec<_>>(),
            ),
            Auth::TokenPassthrough(header) => {
                format!(
                    "type = \"token_passthrough\"\nheader = {:?}",
                    header.as_str()
                )
            }
            Auth::Unreadable(_) => unreachable!("only stores make it"),
        };
        let transport = serde_json::to_string(&server.transport).unwrap();
        text += &format!(
            "[[servers]]\nname = {:?}\nurl = {:?}\ntransport = {transport}\n\
             projects = {projects}\ntools = {tools}\nenabled = {}\n",
            server.name,
            server.url.as_str(),
            server.enabled,
        );
        for (key, value) in [
            ("display_name", &server.display_name),
            ("description", &server.description),
        ] {
            if let Some(value) = value {
                text += &format!("{key} = {}\n", serde_json::to_string(value).unwrap());
            }
        }
        text += &format!("[servers.auth]\n{auth}\n");
    }
    text
}

/// The environment that they need.
pub(in crate::registry) fn env(name: &str) -> Option<String> {
    let value = match name {
        "SECRET" => "s3cret: 3",
        "x-api-key" => "s3cret \"2\"",
        _ => "Bearer s3cret",
    };
    Some(value.to_owned())
}
