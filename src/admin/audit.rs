//! What operators do, recorded before it is done.
//!
//! Whatever changes something passes through here once, at the depth where what was before and what
//! is to be are both known: the stores of this side, and nothing above them. So a page and a call of
//! REST leave the same entry, and a new one of either needs no line for it.
//!
//! An entry is written first. If it cannot be written, nothing is changed: there is no change without
//! an entry. If the change then fails, a second entry says so, whose action ends with `_failed`.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    acting::Acting,
    answer::{Answer, json},
    clock::Clock,
    fault::Fault,
    instant,
    query::{fault, limit, parameters},
    repeats::Repeats,
    time::Time,
};
use crate::registry::{AuditEntry, AuditFilter, AuditListing, AuditPage, AuditStore, Error};

/// The longest JSON of what was there before, and of what is there since, in bytes: servers with a
/// thousand tools are a quarter of it.
const STATE: usize = 256 << 10;
/// The most sign-ins that are recorded as refused within a minute, from all addresses together:
/// whoever guesses must not push out what operators did.
const REFUSED: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// The longest target, in bytes.
const TARGET: usize = 512;

/// The audit of one organization.
#[derive(Clone)]
pub(super) struct Audit {
    store: Arc<dyn AuditStore>,
    organization: Arc<str>,
    clock: Clock,
    /// When the present minute began, and the sign-ins that were refused in it.
    refused: Arc<Mutex<(Option<SystemTime>, u32)>>,
    repeats: Repeats,
}

/// A change, as far as it is to be recorded: without secrets.
pub(super) struct Change {
    action: &'static str,
    target: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// A change of `target`, such as `server.update` of a server's name.
    pub(super) fn new(action: &'static str, target: impl ToString) -> Self {
        let mut target = target.to_string();
        if target.len() > TARGET {
            let end = (0..=TARGET).rev().find(|end| target.is_char_boundary(*end));
            target.truncate(end.unwrap_or_default());
        }
        Self {
            action,
            target,
            before: None,
            after: None,
        }
    }

    /// What is there before it, as REST shows it.
    pub(super) fn before(self, before: &impl Serialize) -> Self {
        Self {
            before: Some(bounded(before)),
            ..self
        }
    }

    /// What is there after it, as REST shows it.
    pub(super) fn after(self, after: &impl Serialize) -> Self {
        Self {
            after: Some(bounded(after)),
            ..self
        }
    }
}

/// A state as it is recorded; one that is too long says how long it is.
fn bounded(state: &impl Serialize) -> Value {
    let state = serde_json::to_value(state).unwrap_or_default();
    let length = state.to_string().len();
    match length <= STATE {
        true => state,
        false => json!({"left_out": format!("{length} bytes, which are more than {STATE}")}),
    }
}

impl Audit {
    pub(super) fn new(store: Arc<dyn AuditStore>, organization: Arc<str>, clock: Clock) -> Self {
        Self {
            store,
            organization,
            clock,
            refused: Arc::default(),
            repeats: Repeats::default(),
        }
    }

    /// Records a change, and then makes it.
    ///
    /// # Errors
    /// Those of the change; and, before anything is changed, that it cannot be recorded.
    ///
    /// # Cancellation
    /// The entry may be there without the change.
    pub(super) async fn around<T, E: From<Error>>(
        &self,
        change: Change,
        doing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let entry = self.record(change).await?;
        self.after(&entry, doing).await
    }

    /// Records that the operator of the request signs out, unless it is a repeat, and does so.
    ///
    /// # Errors
    /// As [`around`](Self::around).
    pub(super) async fn around_sign_out<T, E: From<Error>>(
        &self,
        doing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut entry = self.entry("operator.sign_out", String::new());
        entry.target.clone_from(&entry.operator);
        match self.append_once("operator.sign_out", entry).await? {
            Some(entry) => self.after(&entry, doing).await,
            None => doing.await,
        }
    }

    /// Makes the change of an entry, with a second one if that fails.
    async fn after<T, E>(
        &self,
        entry: &AuditEntry,
        doing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = doing.await;
        if done.is_err() {
            let action = format!("{}_failed", entry.action);
            let mut failed = self.entry(&action, entry.target.clone());
            failed.after = Some(json!({"entry": entry.id.to_string()}));
            if let Err(error) = self.store.append_audit(&failed).await {
                tracing::error!(%error, entry = %entry.id, "a change failed, and the audit does not say so");
            }
        }
        done
    }

    /// Records what needs no more than that.
    pub(super) async fn record(&self, change: Change) -> Result<AuditEntry, Error> {
        let mut entry = self.entry(change.action, change.target);
        (entry.before, entry.after) = (change.before, change.after);
        self.append(entry).await
    }

    /// Records that somebody signs in, who is not known to the request yet, unless it is a repeat.
    pub(super) async fn sign_in(
        &self,
        (operator, role, via): (&str, &str, &str),
        after: Option<Value>,
    ) -> Result<(), Error> {
        let mut entry = self.entry("operator.sign_in", operator.to_owned());
        (entry.operator, entry.role) = (operator.to_owned(), role.to_owned());
        entry.via = via.to_owned();
        entry.after = after.as_ref().map(bounded);
        self.append_once("operator.sign_in", entry).await.map(drop)
    }

    /// Adds an entry of this action, unless there was one of its operator and address within the last
    /// minute.
    async fn append_once(
        &self,
        action: &'static str,
        entry: AuditEntry,
    ) -> Result<Option<AuditEntry>, Error> {
        let who = (&*entry.operator, &*entry.from);
        let Some(turn) = self.repeats.turn(action, who, entry.at).await else {
            return Ok(None);
        };
        let entry = self.append(entry).await?;
        turn.recorded();
        Ok(Some(entry))
    }

    /// Records that somebody was not let in, unless there are many. It changes nothing whether that
    /// succeeds.
    pub(super) async fn refused(&self, change: Change) {
        let now = self.clock.now();
        let is_one_of_many = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let (began, count) = &mut *refused;
            let passed = began.and_then(|began| now.duration_since(began).ok());
            if passed.is_none_or(|passed| passed >= MINUTE) {
                (*began, *count) = (Some(now), 0);
            }
            *count = count.saturating_add(1);
            *count > REFUSED
        };
        if !is_one_of_many && let Err(error) = self.record(change).await {
            tracing::error!(%error, "the audit does not say that somebody was refused");
        }
    }

    async fn append(&self, entry: AuditEntry) -> Result<AuditEntry, Error> {
        self.store.append_audit(&entry).await?;
        tracing::info!(
            action = entry.action,
            target_name = entry.target,
            operator = entry.operator,
            "an operator acts"
        );
        Ok(entry)
    }

    fn entry(&self, action: &str, target: String) -> AuditEntry {
        let acting = Acting::now();
        let mut entry = AuditEntry::new(&*self.organization, self.clock.now(), action, target);
        entry.from = acting.address();
        if let Some(operator) = acting.operator {
            entry.operator = operator.name.to_string();
            entry.role = operator.role.to_string();
            entry.via = operator.via.as_str().to_owned();
        }
        entry
    }

    /// A page of the entries, the latest first.
    pub(super) async fn list(
        &self,
        filter: &AuditFilter,
        page: &AuditPage,
    ) -> Result<AuditListing, Error> {
        self.store
            .list_audit(&self.organization, filter, page)
            .await
    }
}

#[derive(Serialize)]
struct List<'a> {
    entries: Vec<View<'a>>,
    next: Option<String>,
}

/// An entry in JSON. What is not known is `null`.
#[derive(Serialize)]
struct View<'a> {
    id: String,
    at: Time,
    operator: Option<&'a str>,
    role: Option<&'a str>,
    via: Option<&'a str>,
    from: Option<&'a str>,
    action: &'a str,
    target: Option<&'a str>,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
}

impl<'a> View<'a> {
    fn of(entry: &'a AuditEntry) -> Self {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        Self {
            id: entry.id.to_string(),
            at: Time(entry.at),
            operator: some(&entry.operator),
            role: some(&entry.role),
            via: some(&entry.via),
            from: some(&entry.from),
            action: &entry.action,
            target: some(&entry.target),
            before: entry.before.as_ref(),
            after: entry.after.as_ref(),
        }
    }
}

/// `GET /audit`
pub(super) async fn list(State(audit): State<Audit>, RawQuery(query): RawQuery) -> Answer {
    let (filter, page) = wanted(query.as_deref().unwrap_or_default())?;
    let listing = audit.list(&filter, &page).await?;
    let entries = listing.entries.iter().map(View::of).collect();
    let next = listing.next.map(|next| next.to_string());
    json(StatusCode::OK, &List { entries, next })
}

/// Reads what a query asks for; a parameter without a value is as good as absent.
pub(super) fn wanted(query: &str) -> Result<(AuditFilter, AuditPage), Fault> {
    let (mut filter, mut page) = (AuditFilter::default(), AuditPage::default());
    parameters(query, |name, value| {
        let text = value.map(str::to_owned);
        match name {
            "operator" => filter.operator = text,
            "action" => filter.action = text,
            "target" => filter.target = text,
            "from" => filter.from = value.map(|value| time(name, value)).transpose()?,
            "to" => filter.to = value.map(|value| time(name, value)).transpose()?,
            "limit" => page.limit = value.map_or(Ok(page.limit), limit)?,
            "cursor" => {
                let cursor = value.map(|value| {
                    let reason = "must be the next of the page before";
                    value.parse().map_err(|_| fault("cursor", reason))
                });
                page.before = cursor.transpose()?;
            }
            _ => return Err(fault(name, "is not a parameter of this list")),
        }
        Ok(())
    })?;
    Ok((filter, page))
}

/// A point in time, or the beginning of a day or a minute in UTC, since people type it, too.
fn time(name: &str, value: &str) -> Result<SystemTime, Fault> {
    let whole = match value.len() {
        10 => format!("{value}T00:00:00Z"),
        16 => format!("{value}:00Z"),
        _ => value.to_owned(),
    };
    let reason = "must be a time such as 2026-11-30T12:00:00Z, or a day";
    instant::parsed(&whole).ok_or_else(|| fault(name, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{BoxFuture, MemoryAudit};

    #[test]
    fn every_parameter_is_read_and_what_is_wrong_is_named() {
        let id = "0123456789abcdef0123456789abcdef";
        let query = format!(
            "operator=ann&action=server.&target=&from=1970-01-01&to=1970-01-02T00:00&limit=7&cursor={id}"
        );
        let (filter, page) = wanted(&query).unwrap();
        assert_eq!(filter.operator.as_deref(), Some("ann"));
        assert_eq!(filter.action.as_deref(), Some("server."));
        assert_eq!(filter.target, None);
        assert_eq!(filter.from, Some(SystemTime::UNIX_EPOCH));
        assert_eq!(filter.to, Some(SystemTime::UNIX_EPOCH + MINUTE * 60 * 24));
        assert_eq!((page.limit, page.before), (7, id.parse().ok()));
        for (query, name) in [
            ("cursor=x", "cursor"),
            ("limit=201", "limit"),
            ("from=yesterday", "from"),
            ("to=1", "to"),
            ("who=ann", "who"),
        ] {
            assert_eq!(wanted(query).unwrap_err().param(), Some(name), "{query}");
        }
    }

    #[test]
    fn what_is_too_long_is_left_out_and_says_so() {
        let long = "x".repeat(STATE);
        assert!(bounded(&long)["left_out"].is_string());
        assert_eq!(bounded(&"x"), "x");
        assert_eq!(Change::new("a", "é".repeat(400)).target.len(), TARGET);
    }

    /// A store that takes so many entries, and no more.
    #[derive(Clone, Default)]
    struct Full(MemoryAudit, usize);

    impl AuditStore for Full {
        fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
            Box::pin(async move {
                let all = (AuditFilter::default(), AuditPage::default());
                let there = self.0.list_audit("o", &all.0, &all.1).await?;
                match there.entries.len() < self.1 {
                    true => self.0.append_audit(entry).await,
                    false => Err(Error::unavailable("it is full")),
                }
            })
        }

        fn list_audit<'a>(
            &'a self,
            organization: &'a str,
            filter: &'a AuditFilter,
            page: &'a AuditPage,
        ) -> BoxFuture<'a, Result<AuditListing, Error>> {
            self.0.list_audit(organization, filter, page)
        }
    }

    fn audit(room: usize) -> Audit {
        let store = Arc::new(Full(MemoryAudit::default(), room));
        Audit::new(store, "o".into(), Clock::new(SystemTime::now))
    }

    async fn actions(audit: &Audit) -> Vec<String> {
        let all = (AuditFilter::default(), AuditPage::default());
        let listing = audit.list(&all.0, &all.1).await.unwrap();
        listing
            .entries
            .into_iter()
            .map(|entry| entry.action)
            .collect()
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_done() {
        let audit = audit(0);
        let mut is_done = false;
        let done = audit
            .around(Change::new("server.create", "a"), async {
                is_done = true;
                Ok::<_, Error>(())
            })
            .await;
        assert!(matches!(done, Err(Error::Unavailable { .. })));
        assert!(!is_done);
    }

    #[tokio::test]
    async fn a_change_that_fails_leaves_a_second_entry() {
        let audit = audit(9);
        let failing = async { Err::<(), _>(Error::unavailable("away")) };
        let done = audit.around(Change::new("server.create", "a"), failing);
        assert!(done.await.is_err());
        let working = async { Ok::<_, Error>(()) };
        let done = audit.around(Change::new("server.remove", "a"), working);
        assert!(done.await.is_ok());
        let expected = ["server.remove", "server.create_failed", "server.create"];
        assert_eq!(actions(&audit).await, expected);
    }

    #[tokio::test]
    async fn refused_sign_ins_do_not_fill_the_audit() {
        let audit = audit(1000);
        for _ in 0..50 {
            audit.refused(Change::new("sign_in.refused", "")).await;
        }
        assert_eq!(actions(&audit).await.len(), 10);
    }
}
