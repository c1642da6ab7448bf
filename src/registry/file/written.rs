//! The servers of the conformance suite as a TOML file, for tests.

use crate::registry::{
    Server,
    members::{self, Given, Tree, Writer},
};

const WRITER: Writer = Writer {
    url: |url| url.as_str().into(),
    time: |_| Tree::Null,
    secret: |_| true.into(),
};

/// Writes `servers` as TOML.
pub(in crate::registry) fn written(servers: &[Server]) -> String {
    let mut text = String::new();
    for server in servers {
        text += "[[servers]]\n";
        let is_given = |given| matches!(given, Given::Everywhere | Given::Entered);
        let Tree::Table(members) = members::write(server, &WRITER, is_given) else {
            unreachable!("a server is a table");
        };
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            text += &format!("{name} = {}\n", toml(value));
        }
    }
    text
}

fn toml(value: &Tree<'_>) -> String {
    match value {
        Tree::Table(members) => {
            let named = value.get("name").as_text().unwrap_or("SECRET");
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members = members.map(|(name, value)| match value.get("set").is_null() {
                true => format!("{name} = {}", toml(value)),
                false => format!("{name}_env = {named:?}"),
            });
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Tree::List(items) => format!(
            "[{}]",
            items.iter().map(toml).collect::<Vec<_>>().join(", ")
        ),
        value => serde_json::to_string(value).unwrap(),
    }
}

/// The environment that the file needs.
pub(in crate::registry) fn env(name: &str) -> Option<String> {
    let value = match name {
        "SECRET" => "s3cret: 3",
        "x-api-key" => "s3cret \"2\"",
        _ => "Bearer s3cret",
    };
    Some(value.to_owned())
}
