//! The three tools: their names and definitions.

/// One of the three tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchTool {
    Search,
    Describe,
    /// Has no answer of its own: a call is read as one of the tool that it names, and stays one of this
    /// where it names none.
    Call,
}

impl SearchTool {
    pub(crate) const ALL: [Self; 3] = [Self::Call, Self::Describe, Self::Search];

    /// The tool of this name. Every other tool of ours has a server before its name, and `__`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Search => "mcp_search_tools",
            Self::Describe => "mcp_describe_tools",
            Self::Call => "mcp_call_tool",
        }
    }
}

/// The elements of a request's `tools`, with commas between them. Every provider takes these schemas:
/// an object may be any, but has at least one property where it has to have some (Gemini), so that
/// `arguments` says what it is by its type alone.
pub(crate) const DEFINITIONS: &str = concat!(
    r#"{"type":"function","function":{"name":"mcp_call_tool","description":"Calls a tool that mcp_search_tools found. Its parameters are those that mcp_describe_tools told.","parameters":{"type":"object","properties":{"name":{"type":"string","description":"The name of the tool, as it was found"},"arguments":{"type":"object","description":"The arguments of that tool"}},"required":["name","arguments"]}}},"#,
    r#"{"type":"function","function":{"name":"mcp_describe_tools","description":"Tells what tools do and which parameters they have. Use it before the first call of a tool that mcp_search_tools found.","parameters":{"type":"object","properties":{"names":{"type":"array","items":{"type":"string"},"description":"The names of the tools, as they were found"}},"required":["names"]}}},"#,
    r#"{"type":"function","function":{"name":"mcp_search_tools","description":"Finds tools by what they do. Many more tools can be called than are listed here: search before you say that something cannot be done. Gives the names of the tools that fit best, each with a short description.","parameters":{"type":"object","properties":{"query":{"type":"string","description":"What the tool is to do, in a few words: create an issue, read a page"}},"required":["query"]}}}"#,
);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_tool_has_a_definition_in_the_order_of_names() {
        let definitions: Value = serde_json::from_str(&format!("[{DEFINITIONS}]")).unwrap();
        let names = definitions.as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|tool| tool["function"]["name"].as_str())
            .collect();
        assert_eq!(names, SearchTool::ALL.map(|tool| Some(tool.name())));
    }
}
