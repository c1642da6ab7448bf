//! The contract of [`OperatorSessionStore`], a function per clause; each needs an empty store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use super::clauses;
use crate::registry::operator_session::{OperatorSession, OperatorSessionStore};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(OperatorSessionStore) {
        what_began_is_there_whole_until_it_is_ended
        the_last_used_are_listed_first
        of_changes_at_once_one_is_made
        what_was_ended_is_not_brought_back
        an_id_is_used_once
        whoever_signs_in_again_and_again_ends_their_own
        an_organization_has_sessions_of_its_own
        odd_texts_do_no_harm
    }
}

/// Now, in whole milliseconds.
fn now() -> SystemTime {
    let since = UNIX_EPOCH.elapsed().unwrap();
    let millis = u64::try_from(since.as_millis()).unwrap();
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// A session with all that there is.
fn session(id: &str) -> OperatorSession {
    let (now, hour) = (now(), Duration::from_secs(3600));
    let mut session = OperatorSession::new("default", id, "ann", now, now + hour);
    session.role = "viewer".to_owned();
    session.via = "oidc".to_owned();
    session.from = "192.0.2.1".to_owned();
    session.grant = Some(vec![0, 1, 255]);
    session
}

async fn found(store: &impl OperatorSessionStore, id: &str) -> Option<OperatorSession> {
    store.session("default", id).await.unwrap()
}

/// Nothing of it is lost.
pub async fn what_began_is_there_whole_until_it_is_ended(store: impl OperatorSessionStore) {
    let mut session = session("a");
    store.begin_session(&session).await.unwrap();
    assert_eq!(found(&store, "a").await.as_ref(), Some(&session));
    session.role = "admin".to_owned();
    session.grant = None;
    session.used_at += Duration::from_secs(60);
    assert!(store.replace_session(&session).await.unwrap());
    session.version += 1;
    assert_eq!(found(&store, "a").await.as_ref(), Some(&session));
    assert!(store.end_session("default", "a").await.unwrap());
    assert_eq!(found(&store, "a").await, None);
    assert!(!store.end_session("default", "a").await.unwrap());
}

/// All of them are there.
pub async fn the_last_used_are_listed_first(store: impl OperatorSessionStore) {
    for (id, minutes) in [("a", 1), ("b", 3), ("c", 2)] {
        let mut session = session(id);
        session.used_at += Duration::from_secs(60 * minutes);
        store.begin_session(&session).await.unwrap();
    }
    let listed = store.sessions("default").await.unwrap();
    let ids: Vec<_> = listed.iter().map(|session| &*session.id).collect();
    assert_eq!(ids, ["b", "c", "a"]);
}

/// The others are told.
pub async fn of_changes_at_once_one_is_made(store: impl OperatorSessionStore) {
    let session = session("a");
    store.begin_session(&session).await.unwrap();
    let changes = join_all((0..5).map(|_| store.replace_session(&session))).await;
    let made = changes.into_iter().filter(|made| *made.as_ref().unwrap());
    assert_eq!(made.count(), 1);
}

/// Whoever read it before cannot put it back.
pub async fn what_was_ended_is_not_brought_back(store: impl OperatorSessionStore) {
    let session = session("a");
    store.begin_session(&session).await.unwrap();
    store.end_session("default", "a").await.unwrap();
    assert!(!store.replace_session(&session).await.unwrap());
    assert_eq!(found(&store, "a").await, None);
}

/// The session that is there stays.
pub async fn an_id_is_used_once(store: impl OperatorSessionStore) {
    store.begin_session(&session("a")).await.unwrap();
    let mut other = session("a");
    other.operator = "bob".to_owned();
    assert!(store.begin_session(&other).await.is_err());
    assert_eq!(found(&store, "a").await.unwrap().operator, "ann");
}

/// The hundred-and-first ends the first of theirs, and no other's, however long that was not used.
pub async fn whoever_signs_in_again_and_again_ends_their_own(store: impl OperatorSessionStore) {
    let mut other = session("other");
    other.operator = "bob".to_owned();
    store.begin_session(&other).await.unwrap();
    let mut elsewhere = session("elsewhere");
    elsewhere.organization = "other".to_owned();
    store.begin_session(&elsewhere).await.unwrap();
    for number in 1..=102 {
        let mut session = session(&number.to_string());
        session.used_at += Duration::from_secs(number);
        store.begin_session(&session).await.unwrap();
    }
    for (id, is_there) in [("1", false), ("2", false), ("3", true), ("102", true)] {
        assert_eq!(found(&store, id).await.is_some(), is_there, "{id}");
    }
    assert_eq!(found(&store, "other").await, Some(other));
    assert!(store.session("other", "elsewhere").await.unwrap().is_some());
    assert_eq!(store.sessions("default").await.unwrap().len(), 101);
}

/// Nobody else's are seen or ended.
pub async fn an_organization_has_sessions_of_its_own(store: impl OperatorSessionStore) {
    store.begin_session(&session("a")).await.unwrap();
    assert!(store.session("other", "a").await.unwrap().is_none());
    assert!(store.sessions("other").await.unwrap().is_empty());
    assert!(!store.end_session("other", "a").await.unwrap());
    assert!(found(&store, "a").await.is_some());
}

/// Texts that mean something to databases are texts.
pub async fn odd_texts_do_no_harm(store: impl OperatorSessionStore) {
    let mut odd = session("a");
    odd.operator = "o'neill\"%_é".to_owned();
    store.begin_session(&odd).await.unwrap();
    assert_eq!(found(&store, "a").await, Some(odd));
    for id in ["", "%", "a'", "\0", &"x".repeat(5000)] {
        assert_eq!(found(&store, id).await, None, "{id:?}");
        assert!(!store.end_session("default", id).await.unwrap());
        assert!(store.session(id, "a").await.unwrap().is_none());
        assert!(store.sessions(id).await.unwrap().is_empty());
    }
}
