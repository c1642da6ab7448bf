//! Who a request is from, as far as it decides what may be shared with whom.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use crate::{
    keyed::{Digest, Keyed},
    project::Project,
};

/// Names the API key, or the person, that a request of a [`Project`] is from.
///
/// Put it into the request's extensions beside the `Project`, where the proxy's own authentication
/// takes the key off the request. Any text will do that is another one for each key: the key's id,
/// a hash of the key, a user's name. It is hashed with a key of the process at once, and never kept
/// or shown. Without it the request's `Authorization` stands for the key.
///
/// Three things depend on it: whether two requests are of one caller, for servers with
/// [`ShareSession::Caller`](crate::registry::ShareSession::Caller); whose share of
/// [`Limits::caller_body_bytes`](crate::Limits::caller_body_bytes) a body counts towards; and whose
/// share of memory, and whose rate of new tokens, the callers' own tokens count towards. The last
/// are of a whole project where no request has a `CallerId`.
///
/// ```
/// use mcp_layer::{CallerId, Project};
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Project::new("web"));
/// request.extensions_mut().insert(CallerId::new("key-7"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallerId(Arc<str>);

impl CallerId {
    /// The caller who is called `id` within a project.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerId").finish_non_exhaustive()
    }
}

/// Who a request is from, in hashes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    /// Organization and project.
    pub(crate) project: Digest,
    /// Those, the API key, and all else that tells one person of a key from another.
    pub(crate) caller: Digest,
    /// Who answers for what is used up: the API key, or else the project. Nothing that a caller
    /// can make up is in it.
    pub(crate) payer: Digest,
}

impl Whose {
    /// The parts beside project and key, in an order of their own, tell persons apart.
    pub(crate) fn new(
        project: &Project,
        id: Option<&CallerId>,
        person: impl FnOnce(&mut Keyed),
    ) -> Self {
        let of = |purpose| {
            Keyed::new(purpose)
                .with(project.organization())
                .with(project.name())
        };
        let id = id.map(|CallerId(id)| &**id);
        let mut caller = of("caller");
        caller.add_optional(id);
        person(&mut caller);
        let mut payer = of("payer");
        payer.add_optional(id);
        Self {
            project: of("project").finish(),
            caller: caller.finish(),
            payer: payer.finish(),
        }
    }
}

/// Nobody in particular, of the project `default`.
impl Default for Whose {
    fn default() -> Self {
        static DEFAULT: LazyLock<Whose> =
            LazyLock::new(|| Whose::new(&Project::default(), None, |_| {}));
        *DEFAULT
    }
}

impl fmt::Debug for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whose").finish_non_exhaustive()
    }
}
