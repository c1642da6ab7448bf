//! The types of members: how a value of each is read and written, and its form.

use std::{sync::Arc, time::Duration};

use url::Url;

use super::{
    about::Kind,
    node::{Fault, Node},
    secrets::Writer,
    tree::Tree,
    word::Word,
};
use crate::{
    registry::{
        Fingerprint, Pins, Projects, SelectedTool, ToolPolicy, ToolSelection,
        server::{CALL_TIME, is_call_time},
    },
    scopes::Scopes,
};

/// A type that a member can have.
pub(super) trait Value: Sized {
    /// The form of a value.
    const KIND: Kind;
    /// `true` if there is no default, so that answers have `null` where the member is not set.
    const IS_OPTIONAL: bool = false;

    /// Reads a value that is present and not null.
    fn read(at: &Node<'_>) -> Result<Self, Fault>;
    /// Writes the value; [`Tree::Null`] if it is not set.
    fn write(&self, writer: &Writer) -> Tree<'_>;
}

/// The form of the field that `field` returns, and whether it is optional.
pub(super) const fn looks<T, V: Value>(_field: fn(&T) -> &V) -> (Kind, bool) {
    (V::KIND, V::IS_OPTIONAL)
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;
    const IS_OPTIONAL: bool = true;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        T::read(at).map(Some)
    }

    fn write(&self, writer: &Writer) -> Tree<'_> {
        self.as_ref()
            .map_or(Tree::Null, |value| value.write(writer))
    }
}

impl<T: Word> Value for T {
    const KIND: Kind = Kind::Word(T::SCHEMA, T::words);

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        at.word()
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.word().into()
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Flag;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        at.flag()
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        (*self).into()
    }
}

impl Value for Duration {
    const KIND: Kind = Kind::Seconds;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        let time = at.count().map(Self::from_secs);
        let time = time.ok().filter(|time| is_call_time(*time));
        time.ok_or_else(|| at.fault(CALL_TIME))
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.as_secs().into()
    }
}

impl Value for String {
    const KIND: Kind = Kind::Code;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        at.text().map(Self::from)
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.as_str().into()
    }
}

impl Value for Url {
    const KIND: Kind = Kind::Url;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        let url = at.text()?.parse();
        url.map_err(|_| at.fault("is not an absolute URL"))
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.as_str().into()
    }
}

/// Reads a list of scopes, or a text in which spaces or commas separate them.
impl Value for Scopes {
    const KIND: Kind = Kind::Scopes;

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        let scopes = match at.as_text() {
            Some(text) => Self::parse(text),
            None => Self::new(at.texts("must be a list of scopes, or one text")?),
        };
        scopes.map_err(|error| at.unusable(error))
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        self.iter().collect()
    }
}

impl Value for Projects {
    const KIND: Kind = Kind::Schema("Projects");

    fn read(at: &Node<'_>) -> Result<Self, Fault> {
        if at.as_text() == Some("all") {
            return Ok(Self::All);
        }
        let names = at.texts("must be \"all\" or a list of projects")?;
        Self::only(names).map_err(|error| at.refused(error))
    }

    fn write(&self, _: &Writer) -> Tree<'_> {
        projects(self)
    }
}

/// Projects as they are written.
pub(super) fn projects(projects: &Projects) -> Tree<'_> {
    match projects {
        Projects::All => "all".into(),
        Projects::Only(projects) => projects.iter().map(String::as_str).collect(),
    }
}

/// Reads the selected tools, and the fingerprints that are pinned along with them.
pub(super) fn read_tools(at: &Node<'_>) -> Result<(ToolSelection, Option<Arc<Pins>>), Fault> {
    if at.as_text() == Some("all") {
        return Ok((ToolSelection::All, None));
    }
    let tools = at.items("must be \"all\" or a list of tools")?;
    let tools = tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let pins = tools.iter();
    let pins: Pins = pins
        .filter_map(|(tool, pin)| Some((tool.name(), (*pin)?)))
        .collect();
    let pins = (!pins.is_empty()).then(|| Arc::new(pins));
    let tools = ToolSelection::only(tools.into_iter().map(|(tool, _)| tool));
    Ok((tools.map_err(|error| at.refused(error))?, pins))
}

/// Reads a tool: a name, or a table with a name.
fn tool(at: &Node<'_>) -> Result<(SelectedTool, Option<Fingerprint>), Fault> {
    if at.as_text().is_some() {
        return Ok((at.text()?.into(), None));
    }
    let known = match at.words().pins {
        true => &["name", "policy", "always", "fingerprint"][..],
        false => &["name", "policy", "always"],
    };
    let members = at.table(format!(
        "must be a tool's name, or {{ {} }}",
        known.join(", ")
    ))?;
    members.allow(known.iter().copied())?;
    let name = members.require("name")?.text()?;
    let policy = members.get("policy").map(|at| at.word()).transpose()?;
    let pin = members.get("fingerprint").map(|at| {
        let pin = at.text()?.parse();
        pin.map_err(|_| at.fault("must be a fingerprint: 64 hex digits in lower case"))
    });
    let is_always = members.get("always").map(|at| at.flag()).transpose()?;
    let tool = SelectedTool::new(name, policy.unwrap_or_default());
    let tool = match is_always.unwrap_or_default() {
        true => tool.always(),
        false => tool,
    };
    Ok((tool, pin.transpose()?))
}

pub(super) fn write_tools(tools: &ToolSelection) -> Tree<'_> {
    let ToolSelection::Only(tools) = tools else {
        return "all".into();
    };
    let tools = tools.iter().map(|tool| {
        let mut written = Tree::new().with("name", tool.name());
        match (tool.policy(), tool.is_always()) {
            // In the short form where it has one.
            (ToolPolicy::Auto, false) => return tool.name().into(),
            (ToolPolicy::Auto, true) => {}
            (policy, _) => written.set("policy", policy.word()),
        }
        if tool.is_always() {
            written.set("always", true);
        }
        written
    });
    tools.collect()
}
