//! Where it is kept what operators did.

use std::{sync::Arc, time::SystemTime};

use super::{
    audit_entry::{AuditEntry, AuditId},
    error::Error,
    future::BoxFuture,
};

/// Keeps what operators did. Entries are added and read: there is nothing to change or to remove
/// one by.
///
/// A store may have a limit, at which it drops the oldest entries; it says which.
///
/// `conformance::audit` (feature `conformance`) tests what can be seen of this contract. `Arc<S>`
/// implements the trait for every `S`.
///
/// ```
/// use mcp_layer::registry::{AuditEntry, AuditFilter, AuditPage, AuditStore, MemoryAudit};
/// use std::time::SystemTime;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let audit = MemoryAudit::default();
/// let mut entry = AuditEntry::new("default", SystemTime::now(), "server.remove", "docs");
/// entry.operator = "ann".into();
/// audit.append_audit(&entry).await?;
/// let (all, first) = (AuditFilter::default(), AuditPage::default());
/// assert_eq!(audit.list_audit("default", &all, &first).await?.entries, [entry]);
/// # Ok::<(), mcp_layer::registry::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AuditStore: Send + Sync + 'static {
    /// Adds an entry. When the future is ready it is kept, as safely as the store keeps anything.
    ///
    /// # Errors
    /// [`Error::Invalid`] for texts that are too long; [`Error::Unavailable`].
    ///
    /// # Cancellation
    /// A dropped future may have added it.
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>>;

    /// Returns a page of the organization's entries that match `filter`, the latest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list_audit<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a AuditFilter,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>>;
}

impl<S: AuditStore + ?Sized> AuditStore for Arc<S> {
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        (**self).append_audit(entry)
    }

    fn list_audit<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a AuditFilter,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        (**self).list_audit(organization, filter, page)
    }
}

/// A filter for entries; an absent member matches all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFilter {
    /// Only what this operator did.
    pub operator: Option<String>,
    /// Only this action; with a full stop at its end, such as `server.`, all that begin so.
    pub action: Option<String>,
    /// Only what was done to this, or to a part of it: `docs` also matches `docs/search`.
    pub target: Option<String>,
    /// Only what was done at this time or later.
    pub from: Option<SystemTime>,
    /// Only what was done before this time.
    pub to: Option<SystemTime>,
}

impl AuditFilter {
    /// Returns `true` if the filter matches `entry`.
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let is_action = self.action.as_deref().is_none_or(|wanted| {
            entry.action == wanted || wanted.ends_with('.') && entry.action.starts_with(wanted)
        });
        let is_target = self.target.as_deref().is_none_or(|wanted| {
            let rest = entry.target.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        is_action
            && is(&self.operator, &entry.operator)
            && is_target
            && self.from.is_none_or(|from| from <= entry.at)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

/// The part of a list of entries that is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AuditPage {
    /// Only entries before this one: the `next` of the page before. `None` for the first page.
    pub before: Option<AuditId>,
    /// The most entries in the page; counted as at least 1 and at most 200. Default 50.
    pub limit: usize,
}

impl Default for AuditPage {
    fn default() -> Self {
        Self {
            before: None,
            limit: 50,
        }
    }
}

impl AuditPage {
    /// The most entries in the page: the limit, within its bounds.
    pub fn size(&self) -> usize {
        self.limit.clamp(1, 200)
    }
}

/// A page of entries, the latest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditListing {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; `None` if this is the last one.
    pub next: Option<AuditId>,
}

impl AuditListing {
    /// Creates a page.
    pub fn new(entries: Vec<AuditEntry>, next: Option<AuditId>) -> Self {
        Self { entries, next }
    }
}
