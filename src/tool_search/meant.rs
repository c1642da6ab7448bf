//! A call of `mcp_call_tool` as the one that it means.

use super::tool::SearchTool;
use crate::{
    chat::{Arguments, NAMESPACE, ToolCall},
    json::Object,
};

/// The call that a model means: of the tool that it names, with the text of the inner arguments. One that
/// names no tool stays as it is.
///
/// Only the outermost is read: what is called through another `mcp_call_tool` is none.
pub(crate) fn meant(call: ToolCall) -> ToolCall {
    match read(&call) {
        Some((name, arguments)) => ToolCall {
            function: Some(name),
            arguments,
            through: Some(SearchTool::Call.name()),
            ..call
        },
        None => call,
    }
}

fn read(call: &ToolCall) -> Option<(String, Arguments)> {
    let called = call.function.as_deref()?;
    let called = called.strip_prefix(NAMESPACE).unwrap_or(called);
    let Arguments::Text(text) = &call.arguments else {
        return None;
    };
    if called != SearchTool::Call.name() {
        return None;
    }
    let object = Object::parse(text).ok()?;
    // Two readers may take a doubled name for two tools.
    if object.doubled().is_some() {
        return None;
    }
    let name = object.string("name")?.trim().to_owned();
    Some((name, call.arguments.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: &str, arguments: &str) -> ToolCall {
        ToolCall {
            id: "c".into(),
            function: Some(function.into()),
            arguments: Arguments::Text(arguments.into()),
            through: None,
        }
    }

    #[test]
    fn a_call_through_another_is_one_of_the_tool_that_it_names() {
        let inner = r#"{ "a" : 1.50 }"#;
        for arguments in [
            format!(r#"{{"name":"s__t","arguments":{inner}}}"#),
            format!(
                r#"{{"arguments":{},"name":" s__t"}}"#,
                crate::json::quoted(inner)
            ),
        ] {
            for function in ["mcp_call_tool", "functions.mcp_call_tool"] {
                let meant = meant(call(function, &arguments));
                assert_eq!(meant.function.as_deref(), Some("s__t"));
                assert_eq!(meant.arguments, Arguments::Text(inner.into()));
                assert_eq!(meant.name_back().as_deref(), Some("mcp_call_tool"));
            }
        }
    }

    #[test]
    fn arguments_that_are_none_are_those_of_nothing_and_others_stay_to_be_told() {
        for (arguments, expected) in [
            (r#"{"name":"s__t"}"#, Arguments::Text("{}".into())),
            (
                r#"{"name":"s__t","arguments":null}"#,
                Arguments::Text("{}".into()),
            ),
            (
                r#"{"name":"s__t","arguments":[1]}"#,
                Arguments::Broken("[1]".into()),
            ),
            (
                r#"{"name":"s__t","arguments":"{\"a\":"}"#,
                Arguments::Broken(r#"{"a":"#.into()),
            ),
        ] {
            assert_eq!(meant(call("mcp_call_tool", arguments)).arguments, expected);
        }
    }

    #[test]
    fn what_names_no_tool_stays_as_it_is() {
        for (function, arguments) in [
            ("mcp_call_tool", "{}"),
            ("mcp_call_tool", r#"{"name":7,"arguments":{}}"#),
            ("mcp_call_tool", r#"{"name":"a","name":"b"}"#),
            ("mcp_search_tools", r#"{"name":"s__t"}"#),
            ("s__mcp_call_tool", r#"{"name":"s__t"}"#),
        ] {
            let call = call(function, arguments);
            assert_eq!(meant(call.clone()), call, "{arguments}");
        }
        let nested = r#"{"name":"mcp_call_tool","arguments":{"name":"s__t"}}"#;
        let meant = meant(call("mcp_call_tool", nested));
        assert_eq!(meant.function.as_deref(), Some("mcp_call_tool"));
    }
}
