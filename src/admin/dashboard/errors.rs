//! The errors of a form, each beside the field that it is about.

use super::{
    super::fault::{Code, Fault, Faults},
    text::sentence,
};
use crate::registry::members::{
    HEADER, HEADER_VALUE, HEADERS, Member, OAUTH2, PASSTHROUGH, SERVER,
};

/// The refusals, by the member that a field stands for.
#[derive(Default)]
pub(super) struct Errors {
    all: Vec<Wrong>,
    /// `true` if the form was saved before the error occurred.
    pub(super) is_saved: bool,
}

pub(super) struct Wrong {
    param: String,
    /// The id of its field; empty where there is none.
    pub(super) field: String,
    pub(super) message: String,
}

impl Errors {
    /// Turns each fault into the error of a field.
    ///
    /// # Errors
    /// The first fault that no field can fix.
    pub(super) fn of(faults: impl Into<Faults>) -> Result<Self, Fault> {
        let mut errors = Self::default();
        for fault in faults.into() {
            errors.is_saved |= match fault.code() {
                Code::InvalidServer | Code::InvalidRequest | Code::Conflict => false,
                // Connecting comes after saving.
                Code::AuthorizationFailed | Code::ServerInactive => true,
                _ => return Err(fault),
            };
            let param = fault.param().unwrap_or_default();
            errors.all.push(Wrong {
                param: param.to_owned(),
                field: field(param),
                message: said(param, &fault),
            });
        }
        Ok(errors)
    }

    /// The error of the member `param`.
    pub(super) fn at(&self, param: &str) -> Option<&str> {
        let wrong = self.all.iter().find(|wrong| wrong.param == param);
        wrong.map(|wrong| wrong.message.as_str())
    }

    /// The error of one member of a list's item, such as `auth.headers[0].name`.
    pub(super) fn at_item(&self, list: &str, index: &usize, member: &str) -> Option<&str> {
        self.at(&format!("{list}[{index}].{member}"))
            .or_else(|| match member {
                // Such as a name that is there twice.
                "name" => self.at(&format!("{list}[{index}]")),
                _ => None,
            })
    }

    pub(super) fn all(&self) -> &[Wrong] {
        &self.all
    }
}

/// The id of the field of a member.
pub(super) fn field(param: &str) -> String {
    if param.is_empty() {
        return String::new();
    }
    let param = match param.strip_suffix(']') {
        // An item that is no object has one field, or its first one.
        Some(_) if param.starts_with("auth.headers[") => format!("{param}.name"),
        Some(_) => param.split('[').next().unwrap_or_default().to_owned(),
        None => param.to_owned(),
    };
    let letter = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '-',
    };
    format!("f-{}", param.chars().map(letter).collect::<String>())
}

/// The message of a fault, in the words of the form.
fn said(param: &str, fault: &Fault) -> String {
    if let Some(words) = fault.page() {
        return words.to_owned();
    }
    let rest = match param {
        "" => None,
        param => fault.message().strip_prefix(param),
    };
    match rest {
        Some(rest) => format!("{}{rest}.", label(param)),
        None => sentence(fault.message()),
    }
}

/// The label of the member at `param`, or of the member that contains it.
fn label(param: &str) -> &'static str {
    let steps: Vec<_> = param.split(['.', '[']).collect();
    let found = match steps[..] {
        ["auth", "headers"] => Some(HEADERS),
        ["auth", "headers", .., "value"] => Some(HEADER_VALUE),
        ["auth", "headers", ..] => Some(HEADER),
        ["auth", name, ..] if name == PASSTHROUGH.name => Some(PASSTHROUGH.label),
        ["auth", name, ..] => of(OAUTH2, name),
        [name, ..] => of(SERVER, name),
        [] => None,
    };
    found.unwrap_or("This")
}

fn of<T>(members: &'static [Member<T>], name: &str) -> Option<&'static str> {
    let member = members.iter().find(|member| member.name == name);
    member.map(|member| member.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_the_words_and_the_field_of_the_form() {
        for (param, reason, field, message) in [
            ("url", "is empty", "f-url", "Server URL is empty."),
            (
                "auth.headers[1].value",
                "is empty",
                "f-auth-headers-1--value",
                "Header value is empty.",
            ),
            (
                "auth.headers[1]",
                "has the name of another header of the list",
                "f-auth-headers-1--name",
                "Header name has the name of another header of the list.",
            ),
            ("tools[3]", "is empty", "f-tools", "Tools is empty."),
        ] {
            let fault = Fault::new(Code::InvalidServer, format!("{param} {reason}")).at(param);
            let errors = Errors::of(fault).unwrap();
            assert_eq!(errors.all()[0].field, field);
            assert_eq!(errors.at(param), Some(message));
        }
        let fault = Fault::new(Code::Conflict, "a server named a exists already").at("name");
        let errors = Errors::of(fault).unwrap();
        assert_eq!(errors.at("name"), Some("A server named a exists already."));
        assert!(Errors::of(Fault::new(Code::Registry, "down")).is_err());
    }
}
