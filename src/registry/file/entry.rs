//! The `[[servers]]`, `[[models]]`, `[[defaults]]` and `[[projects]]` of a text, from TOML to records.

use std::collections::HashSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    FileError,
    auth::{Env, File},
    value::{WORDS, tree},
};
use crate::{
    registry::{
        Gate, ModelRules, Server, ServerId, Source,
        members::{self, Fault, Given, Node, Tree},
        model_rules,
    },
    secret::Doubtful,
};

/// What a TOML text declares: servers in its order, whose names differ, and aliases, defaults and
/// budgets that agree with each other.
pub(super) fn declared(text: &str, env: Env<'_>) -> Result<(Vec<Server>, ModelRules), FileError> {
    let document = DeTable::parse(text).map_err(|error| FileError::toml(text, error))?;
    let list = |name| List::of(text, document.get_ref(), name);
    Ok((
        servers(&list("servers")?, env)?,
        models(&list("models")?, &list("defaults")?, &list("projects")?)?,
    ))
}

/// A list of tables of a text.
struct List<'a> {
    text: &'a str,
    name: &'static str,
    items: &'a [Spanned<DeValue<'a>>],
}

impl<'a> List<'a> {
    /// The list `name` of `document`; an absent one is empty.
    fn of(text: &'a str, document: &'a DeTable<'a>, name: &'static str) -> Result<Self, FileError> {
        let items = match document.get(name) {
            None => &[],
            Some(entries) => match entries.get_ref() {
                DeValue::Array(items) => &**items,
                _ => {
                    let reason = format!("must be tables, each under [[{name}]]");
                    let fault = whole(&Tree::Other).fault(reason);
                    return Err(FileError::entry(text, name.into(), entries, fault));
                }
            },
        };
        Ok(Self { text, name, items })
    }

    /// Reads each entry.
    fn read<T>(
        &self,
        mut read: impl FnMut(&Tree<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, FileError> {
        let entries = self.items.iter().enumerate();
        let entries = entries.map(|(index, item)| {
            read(&tree(item.get_ref())).map_err(|fault| self.fault(index, fault))
        });
        entries.collect()
    }

    fn fault(&self, index: usize, fault: Fault) -> FileError {
        let item = &self.items[index];
        FileError::entry(self.text, self.label(item, index), item, fault)
    }

    /// An entry by its name, or by its place.
    fn label(&self, entry: &Spanned<DeValue<'_>>, index: usize) -> String {
        let name = entry.get_ref().get("name");
        let name = name.and_then(|name| name.as_ref().as_str());
        match name.filter(|name| Doubtful(name).is_shown()) {
            Some(name) => format!("{} {name:?}", self.name),
            None => format!("{}[{index}]", self.name),
        }
    }
}

fn servers(list: &List<'_>, env: Env<'_>) -> Result<Vec<Server>, FileError> {
    let mut names = HashSet::new();
    list.read(|entry| {
        let server = server(entry, env)?;
        match names.insert(server.name.clone()) {
            true => Ok(server),
            false => Err(whole(entry).fault("another server has this name already")),
        }
    })
}

fn models(
    aliases: &List<'_>,
    defaults: &List<'_>,
    projects: &List<'_>,
) -> Result<ModelRules, FileError> {
    let read = (
        aliases.read(|entry| members::read_alias(&whole(entry)))?,
        defaults.read(|entry| members::read_default(&whole(entry)))?,
        projects.read(|entry| members::read_budget(&whole(entry)))?,
    );
    let rules = ModelRules::build(read.0, read.1).and_then(|rules| rules.budgeted(read.2));
    rules.map_err(|broken| {
        let list = match broken.list {
            model_rules::List::Models => aliases,
            model_rules::List::Defaults => defaults,
            model_rules::List::Projects => projects,
        };
        // Too many of both is seen at the last.
        let at = broken.at.unwrap_or(list.items.len().saturating_sub(1));
        let fault = whole(&Tree::Other).fault(broken.reason.clone());
        let source = Some(broken.into());
        list.fault(at, Fault { source, ..fault })
    })
}

fn whole<'t>(entry: &'t Tree<'t>) -> Node<'t> {
    Node::new(entry, &WORDS)
}

fn server(entry: &Tree<'_>, env: Env<'_>) -> Result<Server, Fault> {
    let keys = whole(entry).table("must be a table, under [[servers]]")?;
    keys.allow(members::names(|given| {
        matches!(given, Given::Everywhere | Given::Entered)
    }))?;
    let name = keys.require("name")?;
    let server = members::read(&keys, name.text()?, &File(env));
    let mut server = server.map_err(members::Faults::first)?;
    server.id = ServerId::of_declared(&server.name);
    // What the file says is accepted, and nobody can accept anything else.
    server.on_change = Some(match server.pins {
        Some(_) => Gate::Block,
        None => Gate::Allow,
    });
    server.new_tools = Some(Gate::Allow);
    server.source = Source::File;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        mcp::Transport,
        registry::{
            CallLimit, Error, ModelAlias, Projects, ShareSession, ToolPolicy, ToolSelection,
        },
    };

    const ENTRY: &str = "[[servers]]\nname = \"a\"\nurl = \"https://a.example/mcp\"\n";

    fn env(name: &str) -> Option<String> {
        (name == "KEY").then(|| "Bearer s3cret".into())
    }

    /// The servers of a text.
    fn servers(text: &str, env: Env<'_>) -> Result<Vec<Server>, FileError> {
        declared(text, env).map(|(servers, _)| servers)
    }

    /// The entry `a` with these lines, which begin in line 4.
    fn with(lines: &str) -> Result<Server, FileError> {
        servers(&format!("{ENTRY}{lines}"), &env).map(|mut servers| servers.remove(0))
    }

    /// The error of the entry `a` with these lines, without the entry's name in front.
    fn fault(lines: &str) -> String {
        let error = with(lines).unwrap_err();
        let debug = format!("{error:?}");
        assert!(!debug.contains("s3cret"), "{debug}");
        let shown = error.to_string();
        assert!(
            !shown.contains("s3cret") && !shown.contains('\n'),
            "{shown}"
        );
        shown
            .strip_prefix("servers \"a\": ")
            .unwrap_or_else(|| panic!("{shown}"))
            .to_owned()
    }

    #[test]
    fn an_entry_with_every_key_is_read_in_full() {
        let text = r#"
            listen = "127.0.0.1:8787"
            allow_egress = ["127.0.0.0/8"]

            [[servers]]
            name = "deepwiki-mcp"
            display_name = "DeepWiki"
            description = "Answers about code"
            url = "https://mcp.deepwiki.com/mcp"
            transport = "sse"
            projects = ["web", "batch"]
            tools = ["ask_question", { name = "delete_page", policy = "ask_first" }, { name = "list", always = true }]
            grants = [
                { project = "web", tools = ["list"], calls_per_day = 5, tool_limits = [{ tool = "list", calls_at_once = 1 }] },
            ]
            instructions = true
            share_session = "caller"
            trace_context = false
            call = 120
            call_max = 900
            enabled = false

            [servers.auth]
            type = "static_headers"
            headers = [{ name = "Authorization", value_env = "KEY" }]

            [limits]
            idle = 3
        "#;
        let servers = servers(text, &env).unwrap();
        let [server] = servers.as_slice() else {
            panic!("{servers:?}");
        };
        assert_eq!(server.name.as_str(), "deepwiki-mcp");
        assert_eq!(server.organization.as_ref(), "default");
        assert_eq!(server.display_name(), "DeepWiki");
        assert_eq!(server.description.as_deref(), Some("Answers about code"));
        assert_eq!(server.url.as_str(), "https://mcp.deepwiki.com/mcp");
        assert_eq!(server.transport, Transport::Sse);
        assert_eq!(server.projects, Projects::only(["web", "batch"]).unwrap());
        assert_eq!(server.tools.policy("ask_question"), Some(ToolPolicy::Auto));
        assert_eq!(
            server.tools.policy("delete_page"),
            Some(ToolPolicy::AskFirst)
        );
        assert_eq!(server.tools.policy("list"), Some(ToolPolicy::Auto));
        assert!(server.tools.is_always("list") && !server.tools.is_always("delete_page"));
        assert_eq!(server.tools.policy("other"), None);
        let grant = server.grants.of("web").unwrap();
        assert!(grant.has("list") && !grant.has("ask_question"));
        assert_eq!(grant.limits().get(CallLimit::PerDay), Some(5));
        assert_eq!(grant.tool_limits()["list"].get(CallLimit::AtOnce), Some(1));
        assert!(server.instructions);
        assert_eq!(server.share_session, ShareSession::Caller);
        assert_eq!(server.trace_context, Some(false));
        assert_eq!(server.call, Some(Duration::from_secs(120)));
        assert_eq!(server.call_max, Some(Duration::from_secs(900)));
        assert!(!server.enabled);
        assert_eq!(server.auth.headers()["authorization"], "Bearer s3cret");
    }

    #[test]
    fn a_name_and_a_url_are_enough() {
        let server = with("").unwrap();
        assert_eq!(server.display_name, None);
        assert_eq!(server.transport, Transport::StreamableHttp);
        assert_eq!(server.projects, Projects::All);
        assert_eq!(server.tools, ToolSelection::All);
        assert!(server.grants.is_empty() && !server.instructions);
        assert_eq!(server.share_session, ShareSession::Project);
        assert_eq!(server.trace_context, None);
        assert!(server.enabled && server.auth.headers().is_empty());
    }

    #[test]
    fn the_defaults_can_be_written_out() {
        let server = with(
            "transport = \"streamable_http\"\nprojects = \"all\"\ntools = \"all\"\nenabled = true\nauth = { type = \"none\" }",
        );
        assert_eq!(server.unwrap().tools, ToolSelection::All);
    }

    #[test]
    fn a_file_without_servers_is_a_registry_without_servers() {
        for text in ["", "listen = \"127.0.0.1:8787\"", "servers = []"] {
            assert!(servers(text, &env).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn every_fault_names_its_key_its_rule_and_its_line() {
        for (lines, expected) in [
            (
                "colour = 1",
                "colour: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 4)",
            ),
            (
                "\n\"x\\ny\" = 1",
                "x\\ny: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 5)",
            ),
            (
                "fingerprint = \"\"",
                "fingerprint: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 4)",
            ),
            (
                "on_change = \"block\"",
                "on_change: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 4)",
            ),
            (
                "new_tools = \"block\"",
                "new_tools: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 4)",
            ),
            (
                "draft = true",
                "draft: unknown key; known are name, display_name, description, url, transport, projects, tools, grants, instructions, share_session, trace_context, call, call_max, enabled, auth (line 4)",
            ),
            (
                "display_name = 3",
                "display_name: must be a string (line 4)",
            ),
            ("description = \"\"", "description: is empty (line 4)"),
            (
                "transport = \"stdio\"",
                "transport: must be \"streamable_http\" or \"sse\" (line 4)",
            ),
            (
                "projects = \"web\"",
                "projects: must be \"all\" or a list of projects (line 4)",
            ),
            (
                "projects = []",
                "projects: name at least one project, or \"all\" (line 4)",
            ),
            (
                "projects = [\n\"web\",\n\"\"]",
                "projects[1]: is empty (line 6)",
            ),
            (
                "tools = [3]",
                "tools[0]: must be a tool's name, or { name, policy, always, fingerprint } (line 4)",
            ),
            (
                "tools = []",
                "tools: name at least one tool, or \"all\" (line 4)",
            ),
            (
                "tools = [\"t\", \"t\"]",
                "tools: \"t\" is given twice (line 4)",
            ),
            (
                "tools = [{ policy = \"auto\" }]",
                "tools[0].name: is missing (line 4)",
            ),
            (
                "tools = [{ name = \"t\", always = \"yes\" }]",
                "tools[0].always: must be true or false (line 4)",
            ),
            (
                "tools = [\"t\", { name = \"u\", policy = \"never\" }]",
                "tools[1].policy: must be \"auto\" or \"ask_first\" (line 4)",
            ),
            (
                "tools = [{ name = \"t\", fingerprint = \"x\" }]",
                "tools[0].fingerprint: must be a fingerprint: 64 hex digits in lower case (line 4)",
            ),
            (
                "grants = [{ project = \"web\", calls_at_once = 0 }]",
                "grants[0].calls_at_once: must be a whole number from 1 to 4294967295: leave it out for no limit; to forbid calls, grant no tools or disable the server (line 4)",
            ),
            (
                "projects = [\"batch\"]\ngrants = [{ project = \"web\" }]",
                "grants: names the project \"web\", which may not use the server; add it to projects, or remove its grant (line 5)",
            ),
            (
                "instructions = \"yes\"",
                "instructions: must be true or false (line 4)",
            ),
            (
                "call = 0",
                "call: must be a number of seconds, from 1 to 86400 (line 4)",
            ),
            (
                "call_max = \"600\"",
                "call_max: must be a number of seconds, from 1 to 86400 (line 4)",
            ),
            (
                "share_session = \"nobody\"",
                "share_session: must be \"exchange\", \"caller\", \"project\" or \"all\" (line 4)",
            ),
            (
                "trace_context = \"own\"",
                "trace_context: must be true or false (line 4)",
            ),
            (
                "enabled = \"yes\"",
                "enabled: must be true or false (line 4)",
            ),
            (
                "auth = \"none\"",
                "auth: must be a table with a type (line 4)",
            ),
            ("[servers.auth]", "auth.type: is missing (line 4)"),
        ] {
            assert_eq!(fault(lines), expected);
        }
    }

    #[test]
    fn nothing_is_interpolated() {
        let server = with("description = \"$KEY ${KEY}\"").unwrap();
        assert_eq!(server.description.as_deref(), Some("$KEY ${KEY}"));
    }

    #[test]
    fn entries_without_a_usable_name_are_told_by_their_place() {
        for (text, expected) in [
            ("[[servers]]", "servers[0]: name: is missing (line 1)"),
            (
                "[[servers]]\nname = \"a\"",
                "servers \"a\": url: is missing (line 1)",
            ),
            (
                "[[servers]]\nname = 1\nurl = \"x\"",
                "servers[0]: name: must be a string (line 2)",
            ),
            (
                "servers = [1]",
                "servers[0]: must be a table, under [[servers]] (line 1)",
            ),
            (
                "\n[servers]",
                "servers: must be tables, each under [[servers]] (line 2)",
            ),
            (
                "[[servers]]\nname = \"A\"\nurl = \"https://a.example\"",
                "servers \"A\": name: use 1 to 40 lowercase letters, digits and single hyphens (line 2)",
            ),
            (
                "[[servers]]\nname = \"a\"\nurl = \"https://me:s3cret@a.example\"",
                "servers \"a\": url: carries a user or a password; use the server's authentication instead (line 3)",
            ),
        ] {
            assert_eq!(servers(text, &env).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn aliases_and_defaults_are_read_and_may_leave_out_what_has_a_default() {
        let text = r#"
            [[models]]
            name = "gpt-5-docs"
            model = "gpt-5"
            servers = ["docs", "files"]
            projects = ["web"]

            [[models]]
            name = "short"
            model = "gpt-5"
            servers = ["docs"]

            [[defaults]]
            project = "web"
            models = ["gpt-5*"]
            servers = ["docs"]

            [[defaults]]
            project = "batch"
            servers = ["docs"]
        "#;
        let (_, rules) = declared(text, &env).unwrap();
        let [docs, files] = ["docs", "files"].map(|name| name.parse().unwrap());
        let alias = ModelAlias::new("gpt-5-docs", "gpt-5", [docs, files]);
        let alias = alias.with_projects(["web"]).unwrap();
        assert_eq!(rules.aliases()[0], alias);
        assert_eq!(rules.aliases()[1].projects, Projects::All);
        assert_eq!(rules.defaults()[0].models, ["gpt-5*"]);
        assert_eq!(rules.defaults()[1].models, ["*"]);
    }

    #[test]
    fn every_fault_of_an_alias_or_a_default_has_its_line() {
        let alias = "[[models]]\nname = \"a\"\nmodel = \"m\"\nservers = [\"s\"]\n";
        for (text, expected) in [
            (
                "models = 1".to_owned(),
                "models: must be tables, each under [[models]] (line 1)",
            ),
            (
                format!("{alias}mode = 1"),
                "models \"a\": mode: unknown key; known are name, model, servers, projects (line 5)",
            ),
            (
                format!("{alias}projects = []"),
                "models \"a\": projects: name at least one project, or \"all\" (line 5)",
            ),
            (
                format!("{alias}{}", alias.replace("\"m\"", "\"a\"")),
                "models \"a\": model is the name of an alias; give the model that the upstream knows (line 5)",
            ),
            (
                format!("{alias}{alias}"),
                "models \"a\": name is that of another alias which the same project has (line 5)",
            ),
            (
                "[[models]]\nname = \"a\"\nservers = [\"s\"]".to_owned(),
                "models \"a\": model: is missing (line 1)",
            ),
            (
                format!("{alias}[[defaults]]\nproject = \"p\"\nservers = []"),
                "defaults[0]: servers is empty (line 5)",
            ),
            (
                format!("{alias}[[defaults]]\nproject = \"p\"\nservers = [\"S\"]"),
                "defaults[0]: servers[0]: use 1 to 40 lowercase letters, digits and single hyphens (line 7)",
            ),
        ] {
            let error = declared(&text, &env).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn two_servers_of_one_name_are_refused() {
        let error = servers(&format!("{ENTRY}\n{ENTRY}"), &env).unwrap_err();
        assert_eq!(
            error.to_string(),
            "servers \"a\": another server has this name already (line 5)"
        );
    }

    #[test]
    fn what_the_record_refused_is_kept_as_the_source() {
        let error = with("tools = []").unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.is::<Error>(), "{source}");
    }
}
