//! Stub until the real one is merged.
use super::{
    CallIds, KeptTurn,
    turn::{asked_of, hash_of},
};
use crate::{chat::ToolCall, json::Object, registry::ExchangeId};
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;

pub(crate) struct History {
    messages: Vec<Bytes>,
    ids: CallIds,
}
pub(crate) struct Restored {
    pub(crate) parts: Vec<Part>,
    pub(crate) untouched: usize,
    pub(crate) last: Option<ExchangeId>,
    pub(crate) is_incomplete: bool,
}
pub(crate) enum Part {
    Message(Bytes),
    Answers(Answers),
}
pub(crate) struct Answers {
    pub(crate) record: ExchangeId,
    pub(crate) asks_first: bool,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) answers: Vec<Option<Bytes>>,
}

impl History {
    pub(crate) fn of(messages: &[Bytes], ids: &CallIds) -> Option<Self> {
        let h = Self {
            messages: messages.to_vec(),
            ids: ids.clone(),
        };
        (!h.records().is_empty()).then_some(h)
    }
    pub(crate) fn records(&self) -> Vec<ExchangeId> {
        let mut found = Vec::new();
        for m in &self.messages {
            let v: Value = serde_json::from_slice(m).unwrap_or_default();
            let ids = v["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| &c["id"])
                .chain([&v["tool_call_id"]]);
            for id in ids.filter_map(|id| self.ids.read(id.as_str()?)) {
                if !found.contains(&id.record) {
                    found.push(id.record);
                }
            }
        }
        found
    }
    pub(crate) fn restore(self, kept: &HashMap<ExchangeId, KeptTurn>, _: usize) -> Restored {
        let mut out = Restored {
            parts: vec![],
            untouched: 0,
            last: None,
            is_incomplete: false,
        };
        let mut is_touched = false;
        let values: Vec<Value> = self
            .messages
            .iter()
            .map(|m| serde_json::from_slice(m).unwrap_or_default())
            .collect();
        for (i, (m, v)) in self.messages.iter().zip(&values).enumerate() {
            if let Some(id) = v["tool_call_id"].as_str().and_then(|id| self.ids.read(id)) {
                if kept.contains_key(&id.record) {
                    continue;
                }
            }
            let id = v["tool_calls"][0]["id"]
                .as_str()
                .and_then(|id| self.ids.read(id));
            if let Some(id) = id {
                is_touched = true;
                let Some(turn) = kept.get(&id.record) else {
                    out.is_incomplete = true;
                    let mut v = v.clone();
                    for c in v["tool_calls"].as_array_mut().into_iter().flatten() {
                        c["id"] = "gonegone1".into();
                    }
                    out.parts.push(Part::Message(v.to_string().into()));
                    continue;
                };
                out.last = Some(id.record);
                out.parts
                    .extend(turn.before.iter().cloned().map(Part::Message));
                out.parts.push(Part::Message(turn.turn.clone()));
                let text = String::from_utf8_lossy(&turn.turn).into_owned();
                let calls = ToolCall::of_message(&Object::parse(&text).unwrap(), 128);
                let own = |place: usize| {
                    values
                        .iter()
                        .zip(&self.messages)
                        .find(|(v, _)| {
                            v["tool_call_id"]
                                .as_str()
                                .and_then(|id| self.ids.read(id))
                                .is_some_and(|c| c.record == id.record && c.call == place)
                        })
                        .map(|(v, _)| {
                            let mut v = v.clone();
                            v["tool_call_id"] = turn.calls[place].id.clone().into();
                            Bytes::from(v.to_string())
                        })
                };
                let any = (0..turn.calls.len()).any(|p| !turn.calls[p].is_ours && own(p).is_some());
                let answers = turn.calls.iter().enumerate().map(|(p, c)| {
                    let said = |t: &str| {
                        Some(Bytes::from(
                            serde_json::json!({"role": "tool", "tool_call_id": c.id, "content": t})
                                .to_string(),
                        ))
                    };
                    own(p)
                        .or_else(|| c.result.clone())
                        .or_else(|| match c.is_ours {
                            true if any || turn.asks_first => None,
                            true => said("not run"),
                            false => said("no answer"),
                        })
                });
                out.parts.push(Part::Answers(Answers {
                    record: id.record,
                    asks_first: turn.asks_first,
                    calls,
                    answers: answers.collect(),
                }));
                continue;
            }
            if v["role"] == "assistant"
                && let Some(tail) = out.last.and_then(|l| {
                    kept[&l]
                        .tails
                        .iter()
                        .find(|t| t.text == hash_of(m) && t.asked == asked_of(&self.messages[..i]))
                })
            {
                out.parts
                    .extend(tail.messages.iter().cloned().map(Part::Message));
                out.parts.push(Part::Message(tail.last.clone()));
                continue;
            }
            if v["tool_call_id"]
                .as_str()
                .and_then(|id| self.ids.read(id))
                .is_some()
            {
                let mut v = v.clone();
                v["tool_call_id"] = "gonegone1".into();
                out.parts.push(Part::Message(v.to_string().into()));
                continue;
            }
            if is_touched {
                out.parts.push(Part::Message(m.clone()));
            } else {
                out.untouched += 1;
            }
        }
        out
    }
}
