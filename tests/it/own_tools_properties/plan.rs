//! What the model says: the same at the same place of a conversation, so that a model that does not
//! see what has run calls it once more, with the same token.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{
    dice::Dice,
    events::{call, chunk, finish, usage},
};

/// A place of a conversation, as the model sees it.
pub struct Place<'a> {
    pub caller: &'a str,
    /// The last mark that a user or a tool of the caller's has made.
    pub mark: &'a str,
    /// How often the caller has asked the same anew.
    pub epoch: u64,
    /// Turns since the mark.
    pub index: usize,
    /// Whether tools of ours are offered.
    pub with_ours: bool,
}

/// A turn.
#[derive(Clone, Debug)]
pub struct Say {
    pub content: Option<String>,
    pub calls: Vec<Call>,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub name: &'static str,
    pub arguments: String,
    pub token: String,
    pub is_ours: bool,
}

/// A number out of a text.
pub fn hash(text: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// The turn at this place; equal for all callers but for the tokens.
pub fn say(case: u64, place: &Place<'_>) -> Say {
    let Place {
        mark, epoch, index, ..
    } = place;
    let at = format!("{mark}.{epoch}.{index}");
    let mut dice = Dice(hash(&format!("{case} {at} {}", place.with_ours)));
    let kinds = kinds(place, &mut dice);
    let base = format!("c{case}.{}.{at}", place.caller);
    let content = match (kinds.is_empty(), dice.roll(3)) {
        (false, 0) => None,
        (false, 1) => Some(String::new()),
        _ => Some(format!("text of {base}: \"wörd\" \u{1f44b}\n")),
    };
    let calls = kinds.into_iter().enumerate();
    let calls = calls.map(|(number, is_ours)| self::calls(case, &base, number, is_ours, &mut dice));
    Say {
        content,
        calls: calls.collect(),
    }
}

/// For each call whether it is of a tool of ours. At most four turns after a mark call ours alone,
/// so that the rounds of a request are never used up.
fn kinds(place: &Place<'_>, dice: &mut Dice) -> Vec<bool> {
    let some = |dice: &mut Dice, is_ours: bool, most: u64| {
        let count = usize::try_from(1 + dice.roll(most)).unwrap();
        vec![is_ours; count]
    };
    let kind = if place.index > 6 { 0 } else { dice.roll(10) };
    let kind = match (place.with_ours && place.index < 4, kind) {
        (false, 4..) => 2,
        (_, kind) => kind,
    };
    match kind {
        0 | 1 => vec![],
        2 | 3 => some(dice, false, 2),
        4..7 => some(dice, true, 3),
        _ => {
            let mut mixed = some(dice, false, 2);
            for is_ours in some(dice, true, 2) {
                let at = usize::try_from(dice.roll(mixed.len() as u64 + 1)).unwrap();
                mixed.insert(at, is_ours);
            }
            mixed
        }
    }
}

fn calls(case: u64, base: &str, number: usize, is_ours: bool, dice: &mut Dice) -> Call {
    let mut token = format!("{base}.{number}");
    // Some models number the calls of each turn anew.
    let id = match case.is_multiple_of(5) {
        true => format!("call_{number}"),
        false => format!("call_{}", token.replace('.', "_")),
    };
    let (name, arguments) = match (is_ours, dice.roll(6)) {
        (true, 0) => ("s__look", format!(r#"{{"token":"{token}"}}"#)),
        (true, 1) => (
            "s__look",
            format!(r#"{{"ms": {}, "token": "{token}"}}"#, 1000 * dice.roll(5)),
        ),
        (true, 2) => (
            "s__write",
            format!(r#"{{"token":"{token}","ms":{}}}"#, 100 * dice.roll(90)),
        ),
        (true, _) => ("s__write", format!(r#"{{ "token" : "{token}" }}"#)),
        (false, 0) => ("lookup", "{}".to_owned()),
        (false, _) => (
            "lookup",
            format!(r#"{{"q": "{token}", "n": 1.0, "\u0061": "mcp_"}}"#),
        ),
    };
    token = if is_ours { token } else { String::new() };
    Call {
        id,
        name,
        arguments,
        token,
        is_ours,
    }
}

impl Say {
    /// The message, with members that nobody knows and spaces of its own.
    pub fn message(&self) -> String {
        let mut message = format!(
            r#"{{"role": "assistant", "content": {}"#,
            json!(self.content)
        );
        message += r#", "reasoning_details": [{"b":1.50,"a":"\u00e9"}]"#;
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                let Call { id, name, .. } = call;
                let arguments = json!(call.arguments);
                format!(r#"{{"index":0,"type": "function", "id": "{id}", "function": {{"arguments":{arguments}, "name":"{name}"}}, "x": 1e2}}"#)
            });
            let calls: Vec<_> = calls.collect();
            write!(message, r#", "tool_calls" : [{}]"#, calls.join(" , ")).unwrap();
        }
        message + "}"
    }

    /// The body of an answer.
    pub fn whole(&self) -> String {
        let reason = self.reason();
        let message = self.message();
        format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
        )
    }

    /// The chunks of a stream.
    pub fn chunks(&self) -> Vec<Value> {
        let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}))];
        let content = self.content.as_deref().unwrap_or_default();
        let pieces = content.split_inclusive(' ');
        chunks.extend(pieces.map(|piece| chunk(json!({"content": piece}))));
        for (index, made) in self.calls.iter().enumerate() {
            let mut first = call(index, &made.id, made.name, &Value::Null);
            let (start, end) = made.arguments.split_at(made.arguments.len() / 2);
            first["tool_calls"][0]["function"]["arguments"] = start.into();
            let rest = json!({"tool_calls": [{"index": index, "function": {"arguments": end}}]});
            chunks.extend([chunk(first), chunk(rest)]);
        }
        chunks.extend([finish(self.reason()), usage(3, 2)]);
        chunks
    }

    fn reason(&self) -> &'static str {
        if self.calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        }
    }
}
