//! The message of a turn with its calls as they are meant, where a model calls one tool through another.

use bytes::Bytes;

use super::{repair::elements, tool_call::ToolCall};
use crate::json::{Object, quoted};

/// `message` with each of these calls, which are its own, as one of the tool that it is for: whoever
/// gets it knows that tool, and not the one through which the model has called it.
pub(crate) fn as_meant(message: &Bytes, calls: &[ToolCall]) -> Bytes {
    if calls.iter().all(|call| call.through.is_none()) {
        return message.clone();
    }
    let text = std::str::from_utf8(message).unwrap_or_default();
    let Ok(object) = Object::parse(text) else {
        return message.clone();
    };
    let list = elements(&object).into_iter().zip(calls);
    let list = list.map(|(text, call)| edited(text, call).unwrap_or_else(|| text.to_owned()));
    let list = format!("[{}]", list.collect::<Vec<_>>().join(","));
    object.edited(object.set(&[("tool_calls", &list)])).into()
}

fn edited(text: &str, meant: &ToolCall) -> Option<String> {
    meant.through?;
    let call = Object::parse(text).ok()?;
    let function = Object::parse(call.present("function")?).ok()?;
    let name = quoted(meant.function.as_deref()?);
    let arguments = quoted(meant.arguments.text().unwrap_or_default());
    let members = function.set(&[("name", &name), ("arguments", &arguments)]);
    Some(call.edited(call.within(function.text(), members)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::Arguments;

    #[test]
    fn a_call_through_another_tool_is_one_of_its_own_and_all_else_stays() {
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, "x": 1.5});
        let message = |second: Value| json!({"role": "assistant", "content": null, "tool_calls": [call("a", "own", "{}"), second]});
        let said = message(call("b", "any", r#"{"name":"s__t","arguments":{"q":1}}"#)).to_string();
        let mut calls = ToolCall::of_turn(&said.clone().into(), false);
        assert_eq!(as_meant(&said.clone().into(), &calls), said);
        calls[1].function = Some("s__t".into());
        calls[1].arguments = Arguments::Text(r#"{"q":1}"#.into());
        calls[1].through = Some("any");
        let meant: Value = serde_json::from_slice(&as_meant(&said.into(), &calls)).unwrap();
        assert_eq!(meant, message(call("b", "s__t", r#"{"q":1}"#)));
    }
}
