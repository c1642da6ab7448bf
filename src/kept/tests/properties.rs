//! Conversations made up at random: whatever a client makes of one, a model gets what it saw and
//! said.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::kept::said;

/// Choices, the first of each where there are none left.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % sides
    }
}

/// A conversation, as the model and as the client have it.
#[derive(Default)]
struct Talk {
    /// What the model is to get, byte for byte; the messages of the last request that cannot be
    /// found again are in `lost`.
    seen: Vec<Bytes>,
    client: Vec<Client>,
    kept: HashMap<ExchangeId, KeptTurn>,
    last: Option<ExchangeId>,
    executed: Vec<Bytes>,
    turns: usize,
}

/// A message as the client has it.
#[derive(Clone)]
enum Client {
    /// It goes back as it came.
    Own(Value),
    /// A turn under ids of ours, which a client may change in form.
    Turn(Value),
    Answer(Value),
    Text(String),
}

const TEXTS: [&str; 5] = ["", "Done.", " I look at é. ", "{\"a\"}", "Done."];

impl Talk {
    fn call(&mut self) -> Value {
        self.turns += 1;
        json!({"id": format!("c{}", self.turns), "type": "function", "x": 1.5,
            "function": {"name": "f", "arguments": "{\"b\": 1.0, \"a\": \"\\u00e9\"}"}})
    }

    fn ask(&mut self, dice: &mut Dice) {
        let asked = user(["go", "and?", "go"][dice.roll(3)]);
        self.seen.push(bytes(&asked.to_string()));
        self.client.push(Client::Own(asked));
    }

    /// A turn that is executed within a request.
    fn execute(&mut self, dice: &mut Dice) {
        let call = self.call();
        let text = TEXTS[dice.roll(5)];
        let turn = json!({"role": "assistant", "content": text, "tool_calls": [call]});
        let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "ran"});
        self.executed
            .extend([&turn, &result].map(|message| bytes(&message.to_string())));
    }

    /// What a stream tells of the executed turns, if it is one: of a repeat, those since it went on.
    fn streamed(&self, dice: &mut Dice) -> String {
        let from = match dice.roll(2) {
            0 => 0,
            _ => dice.roll(self.executed.len() + 1),
        };
        said::texts(&self.executed[from..]).collect()
    }

    /// A turn with calls of the caller's, which it answers.
    fn mix(&mut self, dice: &mut Dice) {
        let ours: Vec<bool> = (0..1 + dice.roll(3)).map(|_| dice.roll(2) == 1).collect();
        let ours = if ours.contains(&false) {
            ours
        } else {
            vec![false]
        };
        let calls: Vec<Value> = ours.iter().map(|_| self.call()).collect();
        let text = TEXTS[dice.roll(5)];
        let turn =
            json!({"role": "assistant", "content": text, "reasoning": "r", "tool_calls": calls});
        let is_kept = ours.contains(&true) || !self.executed.is_empty();
        let text = self.streamed(dice) + text;
        let before = std::mem::take(&mut self.executed);
        let mut record = [0; 12];
        record[..8].copy_from_slice(&self.turns.to_be_bytes());
        let record = ExchangeId(record);
        let message = bytes(&turn.to_string());
        self.seen.extend(before.iter().chain([&message]).cloned());
        let (mut handed, mut answers, mut kept_calls) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (call, is_ours)) in calls.iter().zip(&ours).enumerate() {
            let answer =
                json!({"role": "tool", "tool_call_id": call["id"], "content": TEXTS[dice.roll(5)]});
            let bytes = bytes(&answer.to_string());
            self.seen.push(bytes.clone());
            kept_calls.push(KeptCall {
                is_ours: *is_ours,
                result: is_ours.then_some(bytes),
                ..KeptCall::default()
            });
            if !is_ours {
                let id: Value = match is_kept {
                    true => ids().write(record, place).into(),
                    false => call["id"].clone(),
                };
                let (mut call, mut answer) = (call.clone(), answer);
                (call["id"], answer["tool_call_id"]) = (id.clone(), id);
                handed.push(call);
                answers.push(answer);
            }
        }
        let mut client = turn.clone();
        (client["tool_calls"], client["content"]) = (handed.into(), text.into());
        if !is_kept {
            self.client.push(Client::Own(turn));
            return self.client.extend(answers.into_iter().map(Client::Own));
        }
        self.client.push(Client::Turn(client));
        self.client.extend(answers.into_iter().map(Client::Answer));
        self.last = Some(record);
        let kept = KeptTurn {
            before,
            turn: message,
            calls: kept_calls,
            ..KeptTurn::default()
        };
        self.kept
            .insert(record, KeptTurn::read(kept.to_text()).unwrap());
    }

    /// A final text.
    fn end(&mut self, dice: &mut Dice) {
        let text = ["Done.", "So it is: é", "Done."][dice.roll(3)];
        let message = bytes(&format!(
            r#"{{"role":"assistant", "content":{},"x":1.0}}"#,
            json!(text)
        ));
        let told = self.streamed(dice) + text;
        let executed = std::mem::take(&mut self.executed);
        let tail = Tail::new(&self.sent(), executed.clone(), message.clone());
        match self
            .last
            .and_then(|last| self.kept.get_mut(&last))
            .zip(tail)
        {
            Some((kept, tail)) => {
                kept.tails.push(tail);
                self.seen.extend(executed);
                self.seen.push(message);
                self.client.push(Client::Text(told));
            }
            // Nothing of it can be found again, so it stays as the client has it.
            None => {
                let message = json!({"role": "assistant", "content": told});
                self.seen.push(bytes(&message.to_string()));
                self.client.push(Client::Own(message));
            }
        }
    }

    fn sent(&self) -> Vec<Bytes> {
        let mut none = Dice(Vec::new().into_iter());
        split(&self.told(&mut none))
    }

    /// What the client sends back.
    fn told(&self, dice: &mut Dice) -> Vec<Value> {
        let mut told = Vec::new();
        let mut answers: Vec<Value> = Vec::new();
        for message in &self.client {
            if let Client::Answer(answer) = message {
                let place = dice.roll(answers.len() + 1);
                // At the end where there are no choices.
                answers.insert(answers.len() - place, answer.clone());
                continue;
            }
            told.append(&mut answers);
            match message {
                Client::Turn(turn) => turns(turn, dice, &mut told),
                Client::Own(message) => told.push(message.clone()),
                Client::Text(text) => told.push(spelt(text, dice)),
                Client::Answer(_) => {}
            }
        }
        told.append(&mut answers);
        // What was there is there again.
        if dice.roll(4) == 1 {
            let again = |message: &&Client| matches!(message, Client::Turn(_) | Client::Answer(_));
            let place = dice.roll(self.client.len());
            for message in self.client[place..].iter().take_while(again) {
                if let Client::Turn(message) | Client::Answer(message) = message {
                    told.push(message.clone());
                }
            }
        }
        told
    }
}

fn spelt(text: &str, dice: &mut Dice) -> Value {
    let content = match dice.roll(3) {
        0 => text.into(),
        1 => text.trim().into(),
        _ => {
            let half = text
                .char_indices()
                .nth(text.chars().count() / 2)
                .map_or(0, |(at, _)| at);
            json!([{"type": "text", "text": &text[..half]}, {"type": "text", "text": &text[half..]}])
        }
    };
    json!({"role": "assistant", "content": content})
}

/// A turn as a client sends it back: in one message or in several, with less in it.
fn turns(turn: &Value, dice: &mut Dice, told: &mut Vec<Value>) {
    let text = turn["content"].as_str().unwrap();
    let mut calls: Vec<Value> = turn["tool_calls"].as_array().unwrap().clone();
    for call in &mut calls {
        let call = call.as_object_mut().unwrap();
        match dice.roll(4) {
            0 => {}
            1 => drop(call.remove("type")),
            2 => call["function"]["arguments"] = r#"{"a":"é","b":1}"#.into(),
            _ => drop(call.remove("x")),
        }
    }
    if dice.roll(3) == 1 {
        calls.reverse();
    }
    let mut message = spelt(text, dice);
    match dice.roll(8) {
        // Only the answers are left.
        1 => return,
        2 => message["content"] = Value::Null,
        3 => drop(message.as_object_mut().unwrap().remove("content")),
        4 if !text.trim().is_empty() => {
            told.push(message.clone());
            message["content"] = "".into();
        }
        5 if !text.trim().is_empty() => return told.push(message),
        _ => {}
    }
    if dice.roll(3) == 1 {
        for call in calls {
            let mut one = message.clone();
            one["tool_calls"] = json!([call]);
            told.push(one);
            message["content"] = Value::Null;
        }
        return;
    }
    message["tool_calls"] = calls.into();
    told.push(message);
}

fn talk(script: &[u8], dice: &mut Dice, mut check: impl FnMut(&Talk, &mut Dice)) -> Talk {
    let mut talk = Talk::default();
    talk.ask(dice);
    for step in script {
        match step % 4 {
            0 => talk.execute(dice),
            1 => {
                talk.mix(dice);
                check(&talk, dice);
            }
            2 => {
                talk.end(dice);
                talk.ask(dice);
                check(&talk, dice);
            }
            _ => talk.execute(dice),
        }
    }
    talk
}

fn bytes_told(messages: &[Value], kept: &HashMap<ExchangeId, KeptTurn>) -> Vec<Bytes> {
    told_with(messages, kept)
        .iter()
        .map(|text| bytes(text))
        .collect()
}

/// Asserts what the strictest provider does: each call is answered once, right behind its turn.
fn is_strict(messages: &[Bytes]) -> Result<(), String> {
    let mut open = HashSet::new();
    for message in messages {
        let message: Value = serde_json::from_slice(message).unwrap();
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap().to_owned();
            open.remove(&id)
                .then_some(())
                .ok_or(format!("{id} answers nothing"))?;
            continue;
        }
        if !open.is_empty() {
            return Err(format!("{open:?} have no answers"));
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open = calls
            .map(|call| call["id"].as_str().unwrap().to_owned())
            .collect();
    }
    Ok(())
}

fn has_ids(messages: &[Bytes]) -> bool {
    History::of(messages, &ids()).is_some()
}

/// The messages in another order, some of them twice or not at all.
fn shuffled(messages: Vec<Value>, dice: &mut Dice) -> Vec<Value> {
    let mut shuffled = Vec::new();
    for message in messages {
        let is_ours = has_ids(&split(std::slice::from_ref(&message)));
        let copies = if is_ours {
            [1, 1, 0, 2][dice.roll(4)]
        } else {
            1
        };
        for _ in 0..copies {
            let place = shuffled.len() - dice.roll(shuffled.len().min(8) + 1);
            shuffled.insert(place, message.clone());
        }
    }
    shuffled
}

proptest! {
    #[test]
    fn what_a_model_saw_and_said_it_gets_again(
        script in prop::collection::vec(any::<u8>(), 0..12),
        choices in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut dice = Dice(choices.into_iter());
        talk(&script, &mut dice, |talk, dice| {
            let sent = talk.told(dice);
            let told = bytes_told(&sent, &talk.kept);
            let all = |messages: &[Bytes]| messages.iter().map(text).collect::<Vec<_>>().join("\n");
            assert_eq!(all(&told), all(&talk.seen), "sent: {sent:#?}");
            assert!(!has_ids(&told));
            is_strict(&told).unwrap();
        });
    }

    #[test]
    fn whatever_a_client_does_no_id_is_left_and_every_call_is_answered(
        script in prop::collection::vec(any::<u8>(), 0..12),
        choices in prop::collection::vec(any::<u8>(), 0..400),
        gone in any::<u8>(),
    ) {
        let mut dice = Dice(choices.into_iter());
        let mut talk = talk(&script, &mut dice, |_, _| {});
        talk.client.retain(|message| !matches!(message, Client::Own(own) if own["role"] != "user"));
        let mut place = 0;
        talk.kept.retain(|_, _| { place += 1; gone >> (place % 8) & 1 == 0 });
        let sent = shuffled(talk.told(&mut dice), &mut dice);
        let told = bytes_told(&sent, &talk.kept);
        prop_assert!(!has_ids(&told));
        let strict = is_strict(&told);
        prop_assert!(strict.is_ok(), "{strict:?}\nsent: {sent:#?}\ntold: {told:#?}");
    }
}
