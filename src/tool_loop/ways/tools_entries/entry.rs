//! What an entry says, member by member.

use http::HeaderValue;

use super::{
    address::Address,
    rules::{Approvals, ToolFilter, ToolRules, text_at},
};
use crate::{caller::CallerTokens, json::Object, name::short, refusal::Refusal};

/// An entry of `tools` with the type `mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The place in the request: `tools[0]`.
    pub(super) param: String,
    pub(super) label: String,
    pub(super) address: Address,
    pub(super) rules: ToolRules,
    /// The caller's token for the server.
    pub(super) authorization: Option<HeaderValue>,
}

impl Entry {
    /// Reads the entry `text` at `param`, with at most so many names in a list.
    ///
    /// # Errors
    /// A member that it may not have, or with a value that means nothing here.
    pub(super) fn read(param: &str, text: &str, most: usize) -> Result<Self, Refusal> {
        let at = |member: &str| format!("{param}.{}", short(member));
        let must_be_an_object = |_| Refusal::invalid_option(param, "must be an object");
        let object = Object::parse(text).map_err(must_be_an_object)?;
        if let Some(name) = object.doubled() {
            return Err(Refusal::invalid_option(&at(name), "is given twice"));
        }
        let (mut label, mut url) = (None, None);
        let (mut allowed, mut approvals, mut authorization) = (None, Approvals::Always, None);
        for (name, value) in object.iter() {
            let param = at(name);
            match name {
                "server_label" => label = Some(text_at(&param, value)?.into_owned()),
                // As SDKs write what is not there.
                _ if value == "null" => {}
                "server_url" => url = Some(text_at(&param, value)?),
                "allowed_tools" => allowed = Some(ToolFilter::allowed(&param, value, most)?),
                "require_approval" => approvals = Approvals::read(&param, value, most)?,
                "authorization" => authorization = Some(token(&param, &text_at(&param, value)?)?),
                "type" | "server_description" | "defer_loading" => {}
                _ => return Err(Refusal::invalid_option(&param, refused(name))),
            }
        }
        let missing = || Refusal::invalid_option(&at("server_label"), "must be given");
        let label = label.ok_or_else(missing)?;
        Ok(Self {
            address: Address::read(url.as_deref()),
            param: param.to_owned(),
            label,
            rules: ToolRules { allowed, approvals },
            authorization,
        })
    }

    /// The member that says which server is meant.
    pub(super) fn place(&self) -> String {
        let member = match self.address {
            Address::Label => "server_label",
            _ => "server_url",
        };
        format!("{}.{member}", self.param)
    }
}

/// The fault of a member that an entry may not have.
fn refused(name: &str) -> &'static str {
    match name {
        "headers" => {
            "is not taken: what a server is sent is its operator's matter; a server that takes the caller's own token gets that of authorization"
        }
        "connector_id" => {
            "is not taken: name a server that is registered here, in server_label or server_url"
        }
        _ => {
            "is not a member of such an entry; those are type, server_label, server_url, server_description, allowed_tools, require_approval, authorization and defer_loading"
        }
    }
}

/// The token that a caller gives, which is never shown.
fn token(param: &str, text: &str) -> Result<HeaderValue, Refusal> {
    let fault = "must be the value of a header, of 1 byte to 8 KiB";
    CallerTokens::token(text).ok_or_else(|| Refusal::invalid_option(param, fault))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(members: &Value) -> Result<Entry, Refusal> {
        let mut entry = json!({"type": "mcp", "server_label": "s"});
        for (name, value) in members.as_object().unwrap() {
            entry[name] = value.clone();
        }
        Entry::read("tools[0]", &entry.to_string(), 9)
    }

    #[test]
    fn what_is_not_there_may_be_null_and_what_means_nothing_here_is_no_fault() {
        let plain = read(&json!({})).unwrap();
        let null = json!({"server_url": null, "allowed_tools": null, "require_approval": null,
            "authorization": null, "headers": null, "connector_id": null});
        assert_eq!(read(&null), Ok(plain.clone()));
        let idle = json!({"server_description": "d", "defer_loading": true});
        assert_eq!(read(&idle), Ok(plain));
    }

    #[test]
    fn every_fault_names_its_place() {
        for (members, place) in [
            (json!({"server_label": 1}), "server_label"),
            (json!({"server_label": null}), "server_label"),
            (json!({"server_url": ["u"]}), "server_url"),
            (json!({"headers": {}}), "headers"),
            (json!({"connector_id": "connector_dropbox"}), "connector_id"),
            (json!({"allowed_tool": ["t"]}), "allowed_tool"),
            (json!({"authorization": ""}), "authorization"),
            (json!({"authorization": "a\nb"}), "authorization"),
            (json!({"authorization": "x".repeat(9000)}), "authorization"),
            (json!({"authorization": {}}), "authorization"),
            (json!({"allowed_tools": "t"}), "allowed_tools"),
            (json!({"allowed_tools": []}), "allowed_tools"),
            (json!({"allowed_tools": ["t", 1]}), "allowed_tools[1]"),
            (json!({"allowed_tools": vec!["t"; 10]}), "allowed_tools"),
            (
                json!({"allowed_tools": {"names": []}}),
                "allowed_tools.names",
            ),
            (
                json!({"allowed_tools": {"tool_names": "t"}}),
                "allowed_tools.tool_names",
            ),
            (
                json!({"allowed_tools": {"read_only": 1}}),
                "allowed_tools.read_only",
            ),
            (json!({"require_approval": "sometimes"}), "require_approval"),
            (json!({"require_approval": true}), "require_approval"),
            (json!({"require_approval": {}}), "require_approval"),
            (
                json!({"require_approval": {"ever": {}}}),
                "require_approval.ever",
            ),
            (
                json!({"require_approval": {"never": ["t"]}}),
                "require_approval.never",
            ),
            (
                json!({"require_approval": {"always": {"tool_names": [1]}}}),
                "require_approval.always.tool_names[0]",
            ),
        ] {
            let refusal = read(&members).unwrap_err();
            let param = format!("tools[0].{place}");
            assert_eq!(refusal.param(), Some(&*param), "{members}");
            assert!(refusal.to_string().starts_with(&param), "{refusal}");
        }
        let twice = r#"{"type":"mcp","server_label":"a","server_label":"b"}"#;
        let refusal = Entry::read("tools[7]", twice, 9).unwrap_err();
        assert_eq!(refusal.param(), Some("tools[7].server_label"));
        let refusal = Entry::read("tools[7]", r#"{"type":"mcp"}"#, 9).unwrap_err();
        assert_eq!(refusal.param(), Some("tools[7].server_label"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let entry = read(&json!({"authorization": "s3cret"})).unwrap();
        assert_eq!(entry.authorization.as_ref().unwrap(), "s3cret");
        assert!(!format!("{entry:?}").contains("s3cret"));
    }
}
