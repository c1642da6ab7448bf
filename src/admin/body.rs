//! JSON that knows where it stands, read strictly: an operator hears which member is wrong.

use super::fault::{Code, Fault};
use crate::json::{Object, depth_exceeds};

/// Deeper than anything that is asked for here.
const DEPTH: usize = 16;

/// A value under its path, such as `auth.headers[0].value`.
pub(super) struct Value<'a> {
    path: String,
    json: &'a str,
    code: Code,
}

/// The members of an object; none is there twice.
pub(super) struct Members<'a> {
    path: String,
    object: Object<'a>,
    code: Code,
}

impl<'a> Value<'a> {
    /// The whole body, of which faults have this code.
    pub(super) fn parse(body: &'a [u8], code: Code) -> Result<Self, Fault> {
        let not_json = || Fault::new(Code::InvalidJson, "the body is not JSON");
        let json = std::str::from_utf8(body).map_err(|_| not_json())?;
        if depth_exceeds(body, DEPTH) {
            let message = format!("the body is nested deeper than {DEPTH} levels");
            return Err(Fault::new(Code::InvalidJson, message));
        }
        let value: &serde_json::value::RawValue =
            serde_json::from_str(json).map_err(|_| not_json())?;
        Ok(Self {
            path: String::new(),
            json: value.get(),
            code,
        })
    }

    pub(super) fn fault(&self, reason: &str) -> Fault {
        Fault::of(self.code, &self.path, reason)
    }

    pub(super) fn as_text(&self) -> Option<String> {
        serde_json::from_str(self.json).ok()
    }

    pub(super) fn is_object(&self) -> bool {
        self.json.starts_with('{')
    }

    /// A text with at least one character.
    pub(super) fn text(&self) -> Result<String, Fault> {
        match self.as_text() {
            Some(text) if text.is_empty() => Err(self.fault("is empty")),
            Some(text) => Ok(text),
            None => Err(self.fault("must be a string")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        serde_json::from_str(self.json).map_err(|_| self.fault("must be true or false"))
    }

    pub(super) fn count(&self) -> Result<u64, Fault> {
        serde_json::from_str(self.json).map_err(|_| self.fault("must be a number from 0"))
    }

    /// The items of a list; `kind` says what the value must be when it is none.
    pub(super) fn items(&self, kind: &str) -> Result<Vec<Self>, Fault> {
        let items: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(self.json).map_err(|_| self.fault(kind))?;
        let items = items.into_iter().enumerate().map(|(index, item)| Self {
            path: format!("{}[{index}]", self.path),
            json: item.get(),
            code: self.code,
        });
        Ok(items.collect())
    }

    /// The members of an object that has no other members than these.
    pub(super) fn members(&self, known: &[&str]) -> Result<Members<'a>, Fault> {
        let object = Object::parse(self.json).map_err(|_| self.fault("must be an object"))?;
        let members = Members {
            path: self.path.clone(),
            object,
            code: self.code,
        };
        let unknown = members
            .object
            .iter()
            .find(|(name, _)| !known.contains(name));
        if let Some((name, _)) = unknown {
            let reason = format!("is not known here; known are {}", known.join(", "));
            return Err(members.fault(name, &reason));
        }
        if let Some(name) = members.object.doubled() {
            return Err(members.fault(name, "is given twice"));
        }
        Ok(members)
    }
}

impl<'a> Members<'a> {
    /// The member `name`; `null` is as good as absent.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.object.present(name).map(|json| Value {
            path: self.path_of(name),
            json,
            code: self.code,
        })
    }

    /// Whether the member `name` is there, if only as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some()
    }

    pub(super) fn require(&self, name: &str) -> Result<Value<'a>, Fault> {
        self.get(name).ok_or_else(|| self.fault(name, "is missing"))
    }

    /// What the member `name` means, if it is there.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.get(name).map(|value| read(&value)).transpose()
    }

    /// A fault of the member `name`, whether it is there or not.
    pub(super) fn fault(&self, name: &str, reason: &str) -> Fault {
        Fault::of(self.code, &self.path_of(name), reason)
    }

    fn path_of(&self, name: &str) -> String {
        /// Names can be anything; what is longer is no mistyped member.
        const SHOWN: usize = 80;
        let name: String = name.chars().take(SHOWN).collect();
        let name = name.escape_debug();
        match self.path.as_str() {
            "" => name.to_string(),
            path => format!("{path}.{name}"),
        }
    }
}
