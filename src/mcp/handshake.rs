//! The legacy handshake: `initialize`, and what the server makes of it.

use std::borrow::Cow;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Error;

/// The header that names the revision of a request.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The revisions that begin with a handshake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
}

impl Revision {
    pub(super) const ALL: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// The one that we ask for.
    pub(super) const NEWEST: Self = Self::V2025_11_25;

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Returns `true` if requests name the revision in a header.
    pub(super) fn has_header(self) -> bool {
        self >= Self::V2025_06_18
    }
}

/// The parameters of `initialize`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Initialize {
    protocol_version: &'static str,
    capabilities: Capabilities,
    client_info: Info,
}

/// We answer no sampling, no elicitation and no roots.
#[derive(Serialize)]
struct Capabilities {
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<AuthorizesItself>,
}

/// The extension of clients that authorize themselves, without settings.
#[derive(Serialize)]
pub(super) struct AuthorizesItself {
    #[serde(rename = "io.modelcontextprotocol/oauth-client-credentials")]
    client_credentials: Nothing,
}

impl AuthorizesItself {
    /// What a server is told, if it is so.
    pub(super) fn if_so(authorizes_itself: bool) -> Option<Self> {
        authorizes_itself.then_some(Self {
            client_credentials: Nothing {},
        })
    }
}

#[derive(Serialize)]
pub(super) struct Nothing {}

/// The name and version of this client.
#[derive(Serialize)]
pub(super) struct Info {
    name: &'static str,
    version: &'static str,
}

impl Initialize {
    /// Asks for a revision.
    pub(super) fn over(revision: Revision, authorizes_itself: bool) -> Self {
        Self {
            protocol_version: revision.as_str(),
            capabilities: Capabilities {
                extensions: AuthorizesItself::if_so(authorizes_itself),
            },
            client_info: CLIENT_INFO,
        }
    }
}

pub(super) const CLIENT_INFO: Info = Info {
    name: "mcp-layer",
    version: env!("CARGO_PKG_VERSION"),
};

/// Whether a server runs tool calls as tasks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum TaskSupport {
    /// It does not.
    #[default]
    None,
    /// Those that ask for it (2025-11-25, basic/utilities/tasks).
    OnRequest { can_cancel: bool },
    /// Those that it chooses (2026-07-28, the extension `io.modelcontextprotocol/tasks`).
    ByChoice,
}

/// What the server's answer to `initialize` says of tasks.
pub(super) fn task_support(result: &RawValue) -> TaskSupport {
    #[derive(Deserialize)]
    struct Initialized<'a> {
        #[serde(borrow)]
        capabilities: Capabilities<'a>,
    }
    #[derive(Deserialize)]
    struct Capabilities<'a> {
        #[serde(borrow)]
        tasks: Tasks<'a>,
    }
    #[derive(Deserialize)]
    struct Tasks<'a> {
        #[serde(borrow)]
        cancel: Option<&'a RawValue>,
        #[serde(borrow)]
        requests: Requests<'a>,
    }
    #[derive(Deserialize)]
    struct Requests<'a> {
        #[serde(borrow)]
        tools: Tools<'a>,
    }
    #[derive(Deserialize)]
    struct Tools<'a> {
        #[serde(borrow)]
        call: Option<&'a RawValue>,
    }
    // A capability is an object, and one that is lacking is absent; some write booleans.
    let is_there = |value: &Option<&RawValue>| value.is_some_and(|value| value.get() != "false");
    let tasks = serde_json::from_str::<Initialized<'_>>(result.get());
    match tasks.map(|initialized| initialized.capabilities.tasks) {
        Ok(tasks) if is_there(&tasks.requests.tools.call) => TaskSupport::OnRequest {
            can_cancel: is_there(&tasks.cancel),
        },
        _ => TaskSupport::None,
    }
}

/// The revision that the server chose.
pub(super) fn chosen(result: &RawValue) -> Result<Revision, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized<'a> {
        #[serde(borrow)]
        protocol_version: Cow<'a, str>,
    }
    let initialized: Initialized<'_> = serde_json::from_str(result.get())
        .map_err(|_| Error::protocol("the server's answer to initialize is malformed"))?;
    Revision::ALL
        .into_iter()
        .find(|revision| revision.as_str() == initialized.protocol_version)
        .ok_or_else(|| Error::protocol("the server speaks no revision of MCP that we speak"))
}

/// The newest revision that a refusal of ours names in its place; `None` if it is about something
/// else. `text` is in lower case.
pub(super) fn named_in(text: &[u8]) -> Option<Revision> {
    let has = |word: &str| memchr::memmem::find(text, word.as_bytes()).is_some();
    let mut older = Revision::ALL.into_iter().rev().skip(1);
    older.find(|revision| has("version") && has(revision.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_supported_where_calls_of_tools_may_be_some() {
        for (capabilities, support) in [
            (r#"{"tools":{}}"#, TaskSupport::None),
            (r#"{"tasks":{}}"#, TaskSupport::None),
            (
                r#"{"tasks":{"cancel":{},"requests":{}}}"#,
                TaskSupport::None,
            ),
            (
                r#"{"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#,
                TaskSupport::OnRequest { can_cancel: true },
            ),
            (
                r#"{"tasks":{"requests":{"tools":{"call":true}}}}"#,
                TaskSupport::OnRequest { can_cancel: false },
            ),
            (
                r#"{"tasks":{"cancel":false,"requests":{"tools":{"call":false}}}}"#,
                TaskSupport::None,
            ),
        ] {
            let result = format!(r#"{{"protocolVersion":"x","capabilities":{capabilities}}}"#);
            let result = RawValue::from_string(result).expect("JSON");
            assert_eq!(task_support(&result), support, "{capabilities}");
        }
    }

    #[test]
    fn a_refusal_of_our_revision_may_name_another() {
        for (text, named) in [
            (
                "bad request: unsupported protocol version (supported versions: 2025-06-18, 2025-03-26)",
                Some(Revision::V2025_06_18),
            ),
            (
                "unsupported protocol version {\"expected\":\"2025-03-26\"}",
                Some(Revision::V2025_03_26),
            ),
            ("unsupported protocol version 2025-11-25", None),
            ("invalid protocol version: 2024-06-18", None),
            ("closed since 2025-06-18", None),
        ] {
            assert_eq!(named_in(text.as_bytes()), named, "{text}");
        }
    }
}
