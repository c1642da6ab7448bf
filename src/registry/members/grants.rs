//! The grants of a server, as every text has them.

use super::{
    about::Kind,
    node::{Blank, Fault, Members, Node},
    secrets::Writer,
    tree::Tree,
    value::Value,
};
use crate::registry::{CallLimit, CallLimits, LIMIT, ProjectGrant, ProjectGrants};

/// The members of a grant, beside its limits.
const GRANT: [&str; 3] = ["project", "tools", "tool_limits"];
/// The member of the limits of a tool, beside them.
const TOOL: &str = "tool";
/// What forbids a project's calls.
const INSTEAD: &str = "grant no tools or disable the server";

impl Value for ProjectGrants {
    const KIND: Kind = Kind::Schema("Grants");

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        let grants = at.items("must be a list of grants")?;
        let grants: Result<Vec<_>, _> = grants.iter().map(read_grant).collect();
        Self::new(grants?).map_err(|error| at.refused(error))
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.iter().map(write_grant).collect()
    }
}

/// Reads the grant of a project.
pub(crate) fn read_grant(at: &Node<'_>) -> Result<ProjectGrant, Fault> {
    let members = at.table(format!("must be {}", at.words().table))?;
    members.allow(GRANT.into_iter().chain(limits()))?;
    let mut grant = ProjectGrant::new(members.require("project")?.text()?);
    if let Some(tools) = members
        .get("tools")
        .filter(|at| at.as_text() != Some("all"))
    {
        let names = tools.texts("must be \"all\" or a list of names of tools")?;
        grant = grant
            .with_tools(names)
            .map_err(|error| tools.refused(error))?;
    }
    grant = grant.with_limits(read_limits(&members, INSTEAD)?);
    let Some(tools) = members.get("tool_limits") else {
        return Ok(grant);
    };
    for at in tools.items("must be a list of tools with limits")? {
        let members = at.table(format!("must be {}", at.words().table))?;
        members.allow([TOOL].into_iter().chain(limits()))?;
        let tool = members.require(TOOL)?;
        let limits = read_limits(&members, INSTEAD)?;
        // Entered it is refused, but a record that was stored with it still reads.
        if limits.is_empty() && at.words().blank == Blank::Kept {
            continue;
        }
        let limited = grant.add_tool_limits(tool.text()?, limits);
        grant = limited.map_err(|error| tool.refused(error))?;
    }
    Ok(grant)
}

/// The names of limits.
fn limits() -> impl Iterator<Item = &'static str> {
    CallLimit::ALL.into_iter().map(CallLimit::as_str)
}

/// Reads those limits that a table has; the rest of it is for the caller to allow. Who enters 0 is told
/// what to do `instead`.
pub(crate) fn read_limits(members: &Members<'_>, instead: &str) -> Result<CallLimits, Fault> {
    let set = |limits: CallLimits, of: CallLimit| {
        let Some(at) = members.get(of.as_str()) else {
            return Ok(limits);
        };
        let calls = at.count().ok().and_then(|calls| calls.try_into().ok());
        let limits = calls.and_then(|calls| limits.with(of, calls).ok());
        limits.ok_or_else(|| at.fault(format!("{LIMIT}; to forbid calls, {instead}")))
    };
    CallLimit::ALL
        .into_iter()
        .try_fold(CallLimits::default(), set)
}

/// Writes the limits that are set into a table.
pub(crate) fn write_limits<'t>(limits: &CallLimits, into: Tree<'t>) -> Tree<'t> {
    limits.iter().fold(into, |table, (of, calls)| {
        table.with(of.as_str(), u64::from(calls))
    })
}

/// Writes a grant without what is as it is by default.
pub(crate) fn write_grant(grant: &ProjectGrant) -> Tree<'_> {
    let mut table = Tree::new().with("project", grant.project());
    if let Some(tools) = grant.tools() {
        let tools: Tree<'_> = tools.iter().map(String::as_str).collect();
        table = table.with("tools", tools);
    }
    table = write_limits(&grant.limits(), table);
    if grant.tool_limits().is_empty() {
        return table;
    }
    let tools = grant.tool_limits().iter();
    let tools = tools.map(|(tool, limits)| write_limits(limits, Tree::new().with(TOOL, &**tool)));
    table.with("tool_limits", tools.collect::<Tree<'_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::members::Words;

    fn read(json: &str) -> Result<ProjectGrants, String> {
        let tree = Tree::json(json.as_bytes()).unwrap();
        let read = ProjectGrants::read(&Node::new(&tree, &Words::JSON));
        read.map_err(|fault| format!("{} {}", fault.place(&Words::JSON), fault.reason))
    }

    #[test]
    fn grants_are_read_as_they_were_written() {
        let text = r#"[{"project":"batch","tools":[]},{"project":"web","tools":["a","b"],"calls_per_minute":10,"calls_at_once":2,"tool_limits":[{"tool":"a","calls_per_day":5}]}]"#;
        let grants = read(text).unwrap();
        let tree: Tree<'_> = grants.iter().map(write_grant).collect();
        assert_eq!(serde_json::to_string(&tree).unwrap(), text);
        let short = read(r#"[{"project":"web","tools":"all","tool_limits":null}]"#).unwrap();
        assert_eq!(short.of("web"), Some(&ProjectGrant::new("web")));
    }

    #[test]
    fn every_fault_has_its_place() {
        let limit = |place: &str| format!("{place} {LIMIT}; to forbid calls, {INSTEAD}");
        for (text, expected) in [
            (r"{}", " must be a list of grants".to_owned()),
            (r"[1]", "[0] must be an object".into()),
            (r"[{}]", "[0].project is missing".into()),
            (
                r#"[{"project":"web","calls_per_minute":0}]"#,
                limit("[0].calls_per_minute"),
            ),
            (
                r#"[{"project":"web","calls_at_once":4294967296}]"#,
                limit("[0].calls_at_once"),
            ),
            (
                r#"[{"project":"web","tool_limits":[{"tool":"a","calls_per_day":-1}]}]"#,
                limit("[0].tool_limits[0].calls_per_day"),
            ),
            (
                r#"[{"project":"web","tools":["b"],"tool_limits":[{"tool":"a"}]}]"#,
                "[0].tool_limits[0].tool \"a\" is not among the tools that are granted".into(),
            ),
            (
                r#"[{"project":"web","tool_limits":[{"tool":"a"}]}]"#,
                "[0].tool_limits[0].tool \"a\" has no limit: leave it out, or name one".into(),
            ),
            (
                r#"[{"project":"web","calls":1}]"#,
                "[0].calls is not known here; known are project, tools, tool_limits, \
                 calls_per_minute, calls_per_day, calls_at_once"
                    .into(),
            ),
            (
                r#"[{"project":"web"},{"project":"web"}]"#,
                " the project \"web\" has two of them".into(),
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }
}
