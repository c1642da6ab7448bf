//! A system message of ours in a request: behind those with which the caller begins, so that it stands
//! at one place in every turn.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Edit, Object, array, quoted};

/// The messages that are looked through for the last one of the caller's own instructions; a request
/// begins with one or two.
const LEADING: usize = 64;

/// A message of ours, with its place.
#[derive(Clone, Debug)]
pub(super) struct Instruction {
    /// The byte before which it stands.
    at: usize,
    message: Bytes,
    /// `true` if a message of the caller's stands before it.
    is_behind: bool,
}

impl Instruction {
    /// A system message with this text, for the list of messages that stands there in `body`.
    pub(super) fn new(body: &[u8], list: Range<usize>, text: &str) -> Self {
        let start = list.start;
        let leading = leading(std::str::from_utf8(&body[list]).unwrap_or_default());
        Self {
            at: start + leading.unwrap_or(1),
            message: format!(r#"{{"role":"system","content":{}}}"#, quoted(text)).into(),
            is_behind: leading.is_some(),
        }
    }

    /// The message, if it stands at or behind the byte `place`, where messages are appended.
    pub(super) fn appended(&self, place: usize) -> Option<&Bytes> {
        (self.at >= place).then_some(&self.message)
    }

    /// The edit that puts the message before that byte; `None` if it is appended.
    pub(super) fn inserted(&self, place: usize) -> Option<Edit> {
        let [before, behind] = match self.is_behind {
            true => [&b","[..], b""],
            false => [&b""[..], b","],
        };
        let text = [before, &self.message, behind].concat();
        (self.at < place).then(|| Edit::insert(self.at, text))
    }
}

/// The end of the last of the messages with which the caller instructs the model, in a list.
fn leading(list: &str) -> Option<usize> {
    let messages = array(list, LEADING)?;
    let instructs = |message: &&str| {
        let role = Object::parse(message).ok();
        let role = role.as_ref().and_then(|message| message.string("role"));
        role.is_some_and(|role| matches!(&*role, "system" | "developer"))
    };
    let last = messages.into_iter().take_while(instructs).last()?;
    Some(last.as_ptr() as usize - list.as_ptr() as usize + last.len())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        chat::{ChatRequest, Conversation},
        json::concat,
    };

    fn roles(turn: &[Bytes]) -> String {
        let body: Value = serde_json::from_slice(&concat(turn)).unwrap();
        let messages = body["messages"].as_array().unwrap().iter();
        let said = |message: &Value| match message["content"] == "ours" {
            true => "OURS".to_owned(),
            false => message["role"].as_str().unwrap().to_owned(),
        };
        messages.map(said).collect::<Vec<_>>().join(" ")
    }

    fn request(messages: &str) -> ChatRequest {
        let body = format!(r#"{{"mcp":{{}},"messages":{messages},"x":1}}"#);
        let mut request = ChatRequest::parse(body.into()).unwrap();
        request.instruct("ours");
        request
    }

    #[test]
    fn it_stands_behind_the_callers_own_instructions_and_before_all_else() {
        let message = |role: &str| json!({"role": role, "content": "x"}).to_string();
        for (sent, got) in [
            ("", "OURS tool"),
            ("user", "OURS user tool"),
            ("system", "system OURS tool"),
            ("system developer", "system developer OURS tool"),
            ("system user assistant", "system OURS user assistant tool"),
            ("developer user system", "developer OURS user system tool"),
        ] {
            let sent: Vec<_> = sent.split_whitespace().map(message).collect();
            for (open, between, close) in [("[", ",", "]"), (" [ ", " ,\n ", " ]")] {
                let request = request(&format!("{open}{}{close}", sent.join(between)));
                let mut conversation = Conversation::new(&request, &[]);
                conversation.push(message("tool").into());
                assert_eq!(roles(&conversation.turn(false)), got);
                let first = conversation.turn(false);
                conversation.forbid_tools(&request, &[]);
                conversation.push(message("tool").into());
                let later = roles(&conversation.turn(true));
                assert_eq!(later, format!("{} tool", roles(&first)));
            }
        }
    }

    #[test]
    fn it_stands_there_too_where_a_history_is_restored_or_resumed() {
        let message = |role: &str| json!({"role": role, "content": "x"}).to_string();
        let all = ["system", "user", "assistant", "tool"]
            .map(message)
            .join(",");
        let request = request(&format!("[{all}]"));
        let messages = request.messages().unwrap();
        for (kept, got) in [
            (1, "system OURS new"),
            (2, "system OURS user new"),
            (3, "system OURS user assistant new"),
        ] {
            for mut conversation in [
                Conversation::restored(&request, &[], &messages[..kept]),
                Conversation::resumed(&request, &[], kept),
            ] {
                conversation.push(message("new").into());
                assert_eq!(roles(&conversation.turn(true)), got);
            }
        }
        let mut conversation = Conversation::restored(&request, &[], &[]);
        conversation.push(message("new").into());
        assert_eq!(roles(&conversation.turn(true)), "OURS new");
    }

    #[test]
    fn a_request_without_messages_stays_as_it_is() {
        let request = request("null");
        let turn = Conversation::new(&request, &[]).turn(false);
        assert_eq!(&concat(&turn)[..], br#"{"messages":null,"x":1}"#);
    }
}
