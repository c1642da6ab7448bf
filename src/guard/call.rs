//! A call, and its result, as guards are given them.

use serde_json::value::RawValue;

use crate::{json::Object, name::ServerName, project::Project, trace_parent::TraceParent};

/// A call of a tool, as a guard sees it.
///
/// `Debug` shows the arguments.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GuardedCall<'a> {
    /// The project whose request it is.
    pub project: &'a Project,
    /// The server.
    pub server: &'a ServerName,
    /// The tool's own name at the server.
    pub tool: &'a str,
    /// The name that the model knows, `{server}__{tool}` unless that had to be mapped.
    pub offered_name: &'a str,
    /// The arguments: a JSON object that fits the tool's input schema, byte for byte as it goes to the
    /// server. No member is there twice, at any depth.
    pub arguments: &'a RawValue,
    /// The annotations of the tool, as they were accepted; default none. They are the server's own
    /// word.
    pub annotations: Option<&'a RawValue>,
    /// The trace that the call belongs to; default none.
    pub trace: Option<&'a TraceParent>,
}

/// The result of a call, as a guard sees it.
///
/// `Debug` shows the text.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GuardedResult<'a> {
    /// The text for the model, whole and without invisible characters. Structured content is in it;
    /// images and recordings have notes here, and go where the text goes.
    pub text: &'a str,
    /// The tool, or its server, says that it failed.
    pub is_error: bool,
}

impl<'a> GuardedCall<'a> {
    /// Creates a call without annotations, outside of any trace.
    pub fn new(
        project: &'a Project,
        server: &'a ServerName,
        tool: &'a str,
        offered_name: &'a str,
        arguments: &'a RawValue,
    ) -> Self {
        Self {
            project,
            server,
            tool,
            offered_name,
            arguments,
            annotations: None,
            trace: None,
        }
    }

    /// Returns `true` if the tool says that it changes nothing. Without a word on it, it does not.
    pub fn is_read_only(&self) -> bool {
        self.hint("readOnlyHint") == Some(true)
    }

    /// Returns `true` unless the tool says that it changes nothing, or that it only adds: what it does
    /// not say counts as MCP's default.
    pub fn is_destructive(&self) -> bool {
        !self.is_read_only() && self.hint("destructiveHint") != Some(false)
    }

    /// A hint of the annotations; `None` if it is absent, there twice, or no boolean.
    fn hint(&self, name: &str) -> Option<bool> {
        let hints = Object::parse(self.annotations?.get()).ok()?;
        match (hints.count(name), hints.get(name)) {
            (1, Some("true")) => Some(true),
            (1, Some("false")) => Some(false),
            _ => None,
        }
    }
}

impl<'a> GuardedResult<'a> {
    /// Creates a result.
    pub fn new(text: &'a str, is_error: bool) -> Self {
        Self { text, is_error }
    }
}
