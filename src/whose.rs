//! Identities of callers: they decide what may be shared, and who pays.
//!
//! A caller can make up tokens, `user` and headers, so those tell callers apart but never open
//! another account: what is kept for callers is counted for the [`CallerId`], which the proxy's
//! authentication provides, or for the project.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use crate::{
    keyed::{Digest, Keyed},
    project::Project,
    registry::CallLimits,
};

/// The id of the API key, or the person, that sent a request of a [`Project`].
///
/// Put it into the request's extensions beside the `Project` if the proxy's own authentication
/// removes the key from the request. Any text that differs for each key, and stays the same, will
/// do: the key's id, a hash of the key, a user's name. It is hashed at once, and never kept or
/// shown. Without it the request's `Authorization` stands for the key.
///
/// It decides whether two requests have the same caller: for what is kept of exchanges
/// (conversations, repeats, `Idempotency-Key`s), and for servers with
/// [`ShareSession::Caller`](crate::registry::ShareSession::Caller). And it decides whose share a
/// request uses: of [`Limits::caller_body_bytes`](crate::Limits::caller_body_bytes), and of the
/// memory and the rate for callers' own tokens. If no request has a `CallerId`, a whole project
/// shares the latter two.
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
    /// Creates the id of a caller within a project.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerId").finish_non_exhaustive()
    }
}

/// The most calls of tools that the caller of a request may make, whatever its [`Project`] may.
///
/// Put it into the request's extensions beside a [`CallerId`], for which the calls are counted;
/// without one they are not. A limit that is reached is told to the model, as those of
/// [grants](crate::registry::ProjectGrant) are.
///
/// ```
/// use mcp_layer::{CallerId, CallerLimits, Project, registry::{CallLimit, CallLimits}};
///
/// let limits = CallLimits::default().with(CallLimit::PerMinute, 60)?;
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Project::new("web"));
/// request.extensions_mut().insert(CallerId::new("key-7"));
/// request.extensions_mut().insert(CallerLimits(limits));
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits(pub CallLimits);

/// The caller of a request, as hashes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    /// The organization and project.
    pub(crate) project: Digest,
    /// The project, the API key, and everything that distinguishes people who share a key.
    pub(crate) caller: Digest,
    /// The account that usage is charged to: the API key, or else the project. It contains nothing
    /// that a caller can make up.
    pub(crate) payer: Digest,
}

impl Whose {
    /// Hashes project, key and `person`, whose parts distinguish people who share a key.
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

/// Returns an anonymous caller of the project `default`.
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
