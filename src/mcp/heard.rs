//! What a server says of itself: at the handshake, and when its tools change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The most that is kept of a server's instructions, in bytes: twice what a model is given, so that
/// there is enough once invisible characters are removed.
const INSTRUCTIONS: usize = 8 << 10;

/// Called when the server says that its tools have changed. It must not block.
type OnToolsChanged = Arc<dyn Fn() + Send + Sync>;

/// What a server says of itself. Clones share it, as do all sessions with one credential.
#[derive(Clone, Default)]
pub(super) struct Heard {
    // Held to copy or to replace a pointer.
    about: Arc<Mutex<About>>,
    on_tools_changed: Option<OnToolsChanged>,
}

/// What a server said at the last handshake, or in its answer to `server/discover`.
#[derive(Clone, Default)]
pub(super) struct About {
    /// It says when its tools change, where somebody listens.
    pub(super) tells_changes: bool,
    /// Its words on how to use its tools, cut if they are long.
    pub(super) instructions: Option<Arc<str>>,
}

/// How listening to a server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listened {
    /// There is no stream to listen on.
    NotOffered,
    /// The stream ended, or broke.
    Ended,
}

impl Heard {
    /// Calls `changed` each time that the server says that its tools have changed.
    pub(super) fn with(changed: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            about: Arc::default(),
            on_tools_changed: Some(Arc::new(changed)),
        }
    }

    pub(super) fn about(&self) -> About {
        self.lock().clone()
    }

    /// Takes the result of a handshake, which is well-formed as far as it is needed: what cannot be
    /// read besides is not there.
    pub(super) fn greeted(&self, result: &RawValue) {
        *self.lock() = About::read(result);
    }

    /// Takes a notification.
    pub(super) fn notified(&self, method: &str) {
        if let Some(changed) = &self.on_tools_changed
            && method == "notifications/tools/list_changed"
        {
            changed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl About {
    fn read(result: &RawValue) -> Self {
        Self {
            tells_changes: tells_changes(result).unwrap_or_default(),
            instructions: instructions(result),
        }
    }
}

fn tells_changes(result: &RawValue) -> Option<bool> {
    #[derive(Deserialize)]
    struct Greeting {
        capabilities: Capabilities,
    }
    #[derive(Deserialize)]
    struct Capabilities {
        tools: Option<Tools>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Tools {
        list_changed: Option<bool>,
    }
    let greeting: Greeting = serde_json::from_str(result.get()).ok()?;
    greeting.capabilities.tools?.list_changed
}

fn instructions(result: &RawValue) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Greeting {
        instructions: Option<String>,
    }
    let greeting: Greeting = serde_json::from_str(result.get()).ok()?;
    let text = greeting.instructions?;
    let text = text.trim();
    if text.len() > INSTRUCTIONS {
        let end = text.floor_char_boundary(INSTRUCTIONS);
        return Some(format!("{} [cut]", &text[..end]).into());
    }
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};

    use super::*;

    fn about(greeting: &Value) -> About {
        About::read(&serde_json::value::to_raw_value(greeting).unwrap())
    }

    #[test]
    fn a_greeting_is_read_as_far_as_it_makes_sense() {
        let told = about(
            &json!({"capabilities": {"tools": {"listChanged": true}}, "instructions": " Ask first. \n"}),
        );
        assert!(told.tells_changes);
        assert_eq!(told.instructions.as_deref(), Some("Ask first."));
        for greeting in [
            json!({}),
            json!({"capabilities": {}, "instructions": null}),
            json!({"capabilities": {"tools": {}}, "instructions": "\n "}),
            json!({"capabilities": {"tools": {"listChanged": "yes"}}, "instructions": ["x"]}),
        ] {
            let about = about(&greeting);
            assert!(
                !about.tells_changes && about.instructions.is_none(),
                "{greeting}"
            );
        }
    }

    #[test]
    fn long_instructions_are_cut_between_two_characters() {
        let told = about(&json!({"instructions": "x".to_owned() + &"é".repeat(INSTRUCTIONS)}));
        let text = told.instructions.unwrap();
        assert!(text.len() < INSTRUCTIONS + 8 && text.ends_with("é [cut]"));
    }

    #[test]
    fn only_a_change_of_tools_is_one() {
        let count = Arc::<AtomicUsize>::default();
        let counted = count.clone();
        let heard = Heard::with(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        for method in [
            "notifications/message",
            "notifications/prompts/list_changed",
            "notifications/tools/list_changed",
        ] {
            heard.notified(method);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
