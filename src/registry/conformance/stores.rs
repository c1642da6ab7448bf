//! The contract of [`ServerStore`], a function per clause; each needs an empty store.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{assert_same, reading};
use crate::{
    name::ServerName,
    project::Project,
    registry::{
        auth::{Auth, AuthKind},
        error::Error,
        listing::{Filter, Page},
        pins::Gate,
        server::{Server, Source},
        server_id::ServerId,
        server_store::ServerStore,
        share_session::ShareSession,
    },
};

super::clauses! {
    /// Runs every clause, each with a new and empty store from `make`.
    all(ServerStore) {
        an_inserted_server_is_whole_wherever_it_is_read
        an_existing_name_is_a_conflict_and_changes_nothing
        organizations_do_not_see_each_other
        a_replaced_server_counts_up_and_stays_the_same_one
        a_stale_version_changes_nothing
        what_is_not_there_is_not_found
        of_replaces_of_the_same_version_one_wins
        of_inserts_of_the_same_name_one_wins
        a_removed_server_is_gone_and_its_name_is_free
        changes_are_found_at_once
        a_list_is_by_name_and_in_pages
        a_page_has_limits
        a_list_is_filtered_by_project
        a_list_is_filtered_by_text_without_regard_to_case
        a_list_is_filtered_by_kind_of_authentication
        drafts_are_not_found_and_are_listed_where_they_are_asked_for
        a_server_says_when_it_was_made_and_changed
        what_becomes_of_unaccepted_tools_is_always_said
        who_shares_a_session_and_who_is_told_of_traces_is_kept
        how_long_a_call_may_take_is_kept
    }
}

fn server(name: &str) -> Server {
    Server::new(name, "https://mcp.example.com/mcp").unwrap()
}

fn name(name: &str) -> ServerName {
    name.parse().unwrap()
}

async fn find(store: &impl ServerStore, project: &Project, wanted: &str) -> Option<Arc<Server>> {
    let mut found = store.find(project, &[name(wanted)]).await.unwrap();
    assert!(found.len() <= 1);
    found.pop()
}

/// Lists the names on all pages.
async fn listed(store: &impl ServerStore, filter: &Filter, limit: usize) -> Vec<String> {
    let mut page = Page {
        limit,
        ..Page::default()
    };
    let mut names = Vec::new();
    loop {
        let listing = store.list("default", filter, &page).await.unwrap();
        names.extend(listing.servers.iter().map(|server| server.name.to_string()));
        let Some(next) = listing.next else {
            return names;
        };
        assert_eq!(Some(next.as_str()), names.last().map(String::as_str));
        page.after = Some(next);
        assert!(names.len() < 10_000, "the pages have no end");
    }
}

/// An inserted server has version 1 and its own identity, and is whole wherever it is read.
pub async fn an_inserted_server_is_whole_wherever_it_is_read(store: impl ServerStore) {
    for mut meant in reading::servers() {
        meant.version = 7;
        let inserted = store.insert(meant.clone()).await.unwrap();
        let got = store.get("default", &meant.name).await.unwrap();
        let found = find(&store, &Project::new("web"), meant.name.as_str()).await;
        let (filter, page) = (Filter::default(), Page::default());
        let listed = store.list("default", &filter, &page).await.unwrap().servers;
        let listed = listed.iter().find(|server| server.name == meant.name);
        for read in [&inserted, &got, &found.unwrap(), listed.unwrap()] {
            assert_same(read, &meant);
            assert_eq!((&read.id, read.version), (&meant.id, 1));
        }
    }
}

/// An insertion of an existing name is a conflict, never an overwrite.
pub async fn an_existing_name_is_a_conflict_and_changes_nothing(store: impl ServerStore) {
    let first = store.insert(server("a")).await.unwrap();
    let other = server("a").with_enabled(false);
    let error = store.insert(other).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { name: taken } if taken == name("a")));
    let got = store.get("default", &name("a")).await.unwrap();
    assert_eq!((&got.id, got.version, got.enabled), (&first.id, 1, true));
}

/// A name is unique within its organization, and nothing crosses its border.
pub async fn organizations_do_not_see_each_other(store: impl ServerStore) {
    let theirs = server("a").with_organization("other");
    let theirs = store.insert(theirs).await.unwrap();
    assert!(find(&store, &Project::default(), "a").await.is_none());
    assert!(store.get("default", &name("a")).await.is_err());
    assert!(listed(&store, &Filter::default(), 50).await.is_empty());
    assert!(matches!(
        store.replace(server("a")).await,
        Err(Error::NotFound { .. })
    ));
    assert!(store.remove("default", &name("a")).await.is_err());

    let ours = store.insert(server("a")).await.unwrap();
    assert_ne!(ours.id, theirs.id);
    store.remove("default", &name("a")).await.unwrap();
    let got = store.get("other", &name("a")).await.unwrap();
    assert_eq!(got.id, theirs.id);
    let project = Project::default().with_organization("other");
    assert_eq!(find(&store, &project, "a").await.unwrap().id, theirs.id);
}

/// A replacement counts the version up, and keeps the identity of the stored record.
pub async fn a_replaced_server_counts_up_and_stays_the_same_one(store: impl ServerStore) {
    let first = store.insert(server("a")).await.unwrap();
    for meant in reading::servers() {
        let before = store.get("default", &name("a")).await.unwrap();
        let meant = Server {
            name: name("a"),
            id: ServerId::random(),
            version: before.version,
            ..meant
        };
        let replaced = store.replace(meant.clone()).await.unwrap();
        let got = store.get("default", &name("a")).await.unwrap();
        for read in [replaced, got] {
            assert_same(&read, &meant);
            assert_eq!(
                (&read.id, read.version),
                (&first.id, before.version + 1),
                "{meant:?}"
            );
        }
    }
}

/// A replacement that expects another version changes nothing.
pub async fn a_stale_version_changes_nothing(store: impl ServerStore) {
    let first = store.insert(server("a")).await.unwrap();
    let second = store.replace((*first).clone()).await.unwrap();
    for version in [0, 1, 3, u64::MAX] {
        let stale = Server {
            version,
            enabled: false,
            ..(*second).clone()
        };
        let error = store.replace(stale).await.unwrap_err();
        assert!(
            matches!(&error, Error::Stale { version: 2, name: stale } if *stale == name("a")),
            "{error:?}"
        );
    }
    let got = store.get("default", &name("a")).await.unwrap();
    assert_eq!((got.version, got.enabled), (2, true));
}

/// A server that does not exist is not found, by any method.
pub async fn what_is_not_there_is_not_found(store: impl ServerStore) {
    store.insert(server("b")).await.unwrap();
    let a = name("a");
    let errors = [
        store.get("default", &a).await.unwrap_err(),
        store.get("other", &name("b")).await.unwrap_err(),
        store.replace(server("a")).await.unwrap_err(),
        store.remove("default", &a).await.unwrap_err(),
        store.remove("other", &name("b")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    }
    assert!(find(&store, &Project::default(), "a").await.is_none());
}

/// Exactly one of several replacements of the same version wins, and is what is stored.
pub async fn of_replaces_of_the_same_version_one_wins(store: impl ServerStore) {
    let mut stored = store.insert(server("a")).await.unwrap();
    for _ in 0..4 {
        let replaces = (0..8).map(|index| {
            let mut server = (*stored).clone();
            server.description = Some(format!("by {index}"));
            store.replace(server)
        });
        let (won, lost): (Vec<_>, Vec<_>) = join_all(replaces)
            .await
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        let stale = |error| matches!(error, Error::Stale { .. });
        assert!(lost.into_iter().all(|lost| stale(lost.unwrap_err())));
        let got = store.get("default", &name("a")).await.unwrap();
        assert_same(&got, won[0].as_ref().unwrap());
        assert_eq!(got.version, stored.version + 1);
        stored = got;
    }
}

/// Exactly one of several insertions of the same name wins; the others are conflicts.
pub async fn of_inserts_of_the_same_name_one_wins(store: impl ServerStore) {
    let inserts = join_all((0..8).map(|_| store.insert(server("a")))).await;
    let (won, lost): (Vec<_>, Vec<_>) = inserts.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let conflict = |error| matches!(error, Error::Conflict { .. });
    assert!(lost.into_iter().all(|lost| conflict(lost.unwrap_err())));
    let got = store.get("default", &name("a")).await.unwrap();
    assert_eq!(got.id, won[0].as_ref().unwrap().id);
}

/// A removed server is gone; recreating it gives it a new identity, and version 1.
pub async fn a_removed_server_is_gone_and_its_name_is_free(store: impl ServerStore) {
    let first = store.insert(server("a")).await.unwrap();
    let first = store.replace((*first).clone()).await.unwrap();
    store.remove("default", &name("a")).await.unwrap();
    assert!(store.get("default", &name("a")).await.is_err());
    assert!(find(&store, &Project::default(), "a").await.is_none());
    assert!(listed(&store, &Filter::default(), 50).await.is_empty());
    let again = store.replace((*first).clone()).await;
    assert!(matches!(again, Err(Error::NotFound { .. })));

    let second = store.insert(server("a")).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.version, 1);
}

/// A change is found at once, even if the old record was found just before.
pub async fn changes_are_found_at_once(store: impl ServerStore) {
    let project = Project::new("web");
    let find = || find(&store, &project, "a");
    assert!(find().await.is_none());
    let inserted = store.insert(server("a")).await.unwrap();
    assert_eq!(find().await.unwrap().id, inserted.id);

    let auth = Auth::static_headers([("x-key", "s3cret")]).unwrap();
    let replaced = (*inserted).clone().with_auth(auth);
    store.replace(replaced.clone()).await.unwrap();
    assert_same(&find().await.unwrap(), &replaced);

    let replaced = find().await.unwrap();
    let elsewhere = (*replaced).clone().with_projects(["batch"]).unwrap();
    store.replace(elsewhere).await.unwrap();
    assert!(find().await.is_none());

    store.remove("default", &name("a")).await.unwrap();
    assert!(find().await.is_none());
    let inserted = store.insert(server("a")).await.unwrap();
    assert_eq!(find().await.unwrap().id, inserted.id);
}

/// A list is sorted by the bytes of names, so that every cursor has one meaning.
pub async fn a_list_is_by_name_and_in_pages(store: impl ServerStore) {
    let mut names = [
        "a", "a-b", "a0", "ab", "a-c", "b", "0", "9-z", "z", "aa", "x1-y",
    ];
    for name in names {
        store.insert(server(name)).await.unwrap();
    }
    store
        .insert(server("m").with_organization("other"))
        .await
        .unwrap();
    names.sort_unstable();
    for limit in [1, 2, 3, names.len() - 1, names.len(), 50] {
        let listed = listed(&store, &Filter::default(), limit).await;
        assert_eq!(listed, names, "pages of {limit}");
    }
    // A cursor need not be there any more.
    let page = Page {
        after: Some(name("a-bb")),
        limit: 2,
    };
    let listing = store.list("default", &Filter::default(), &page).await;
    let listing = listing.unwrap();
    assert_eq!(listing.servers[0].name.as_str(), "a-c");
    assert_eq!(listing.next, Some(name("a0")));
}

/// A page has at least one server, and at most 200.
pub async fn a_page_has_limits(store: impl ServerStore) {
    for number in 0..201 {
        store
            .insert(server(&format!("s{number:03}")))
            .await
            .unwrap();
    }
    for (limit, servers) in [(0, 1), (1, 1), (50, 50), (200, 200), (1000, 200)] {
        let page = Page {
            limit,
            ..Page::default()
        };
        let listing = store.list("default", &Filter::default(), &page).await;
        let listing = listing.unwrap();
        assert_eq!(listing.servers.len(), servers, "{limit}");
        assert!(listing.next.is_some());
    }
}

/// A list by project has the servers that the project can use, on every page.
pub async fn a_list_is_filtered_by_project(store: impl ServerStore) {
    for number in 0..6 {
        let server = server(&format!("s{number}"));
        let server = match number % 3 {
            0 => server,
            1 => server.with_projects(["web", "we%", "\"quoted\""]).unwrap(),
            _ => server.with_projects(["batch"]).unwrap(),
        };
        store.insert(server).await.unwrap();
    }
    let of = |project: &str| Filter {
        project: Some(project.to_owned()),
        ..Filter::default()
    };
    for limit in [1, 2, 50] {
        let list = async |project| listed(&store, &of(project), limit).await;
        assert_eq!(list("web").await, ["s0", "s1", "s3", "s4"]);
        assert_eq!(list("\"quoted\"").await, ["s0", "s1", "s3", "s4"]);
        assert_eq!(list("batch").await, ["s0", "s2", "s3", "s5"]);
        for other in ["WEB", "we", "w%", "", "web\0"] {
            assert_eq!(list(other).await, ["s0", "s3"], "{other:?}");
        }
    }
}

/// A list by text takes the text literally, whatever its case; nothing in it is a pattern.
pub async fn a_list_is_filtered_by_text_without_regard_to_case(store: impl ServerStore) {
    for (name, display_name, description) in [
        ("deep-wiki", "Deep Wiki", "Answers questions about Code"),
        ("percent", "100% _sure_", "back\\slash and 'quote'"),
        ("russian", "СПРАВКА", "ÀÉÎ Straße"),
        ("bare", "", ""),
    ] {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut server = server(name);
        server.display_name = text(display_name);
        server.description = text(description);
        store.insert(server).await.unwrap();
    }
    for (text, found) in [
        ("WIKI", vec!["deep-wiki"]),
        ("deep w", vec!["deep-wiki"]),
        ("about code", vec!["deep-wiki"]),
        ("0% _", vec!["percent"]),
        ("K\\S", vec!["percent"]),
        ("'QUOTE'", vec!["percent"]),
        ("справка", vec!["russian"]),
        ("àéî STRASSE", vec![]),
        ("ÀÉî straße", vec!["russian"]),
        ("e%r", vec![]),
        ("b_re", vec![]),
        ("wiki answers", vec![]),
        ("a", vec!["bare", "deep-wiki", "percent", "russian"]),
        ("", vec!["bare", "deep-wiki", "percent", "russian"]),
        ("a\0", vec![]),
    ] {
        let filter = Filter {
            text: Some(text.to_owned()),
            ..Filter::default()
        };
        assert_eq!(listed(&store, &filter, 2).await, found, "{text:?}");
    }
    let long = Filter {
        text: Some("x".repeat(1 << 20)),
        ..Filter::default()
    };
    assert!(listed(&store, &long, 2).await.is_empty());
}

/// A list by authentication goes by what it is now, not by what it was.
pub async fn a_list_is_filtered_by_kind_of_authentication(store: impl ServerStore) {
    for server in reading::servers() {
        store.insert(server).await.unwrap();
    }
    let list = async |auth, project: Option<&str>| {
        let filter = Filter {
            auth: Some(auth),
            project: project.map(ToOwned::to_owned),
            ..Filter::default()
        };
        listed(&store, &filter, 1).await
    };
    let none = ["everyone", "switched-off", "web-and-batch"];
    assert_eq!(list(AuthKind::None, None).await, none);
    assert_eq!(list(AuthKind::None, Some("other")).await, none[..2]);
    assert_eq!(list(AuthKind::StaticHeaders, None).await, ["web-only"]);
    assert!(
        list(AuthKind::StaticHeaders, Some("batch"))
            .await
            .is_empty()
    );
    assert_eq!(list(AuthKind::OAuth2, None).await, ["connected"]);
    assert_eq!(
        list(AuthKind::TokenPassthrough, None).await,
        ["passed-through"]
    );

    let connected = store.get("default", &name("connected")).await.unwrap();
    let replaced = (*connected).clone().with_auth(Auth::None);
    store.replace(replaced).await.unwrap();
    assert!(list(AuthKind::OAuth2, None).await.is_empty());
    assert_eq!(list(AuthKind::None, None).await.len(), 4);
}

/// A draft is not found and is listed only on request, until it is finished; its name is taken.
pub async fn drafts_are_not_found_and_are_listed_where_they_are_asked_for(store: impl ServerStore) {
    let project = Project::default();
    let drafts = Filter {
        drafts: true,
        ..Filter::default()
    };
    let mut draft = server("a");
    draft.draft = true;
    let inserted = store.insert(draft.clone()).await.unwrap();
    store.insert(server("b")).await.unwrap();
    assert!(inserted.draft);
    assert!(store.get("default", &name("a")).await.unwrap().draft);
    for _ in 0..2 {
        assert!(find(&store, &project, "a").await.is_none());
        assert_eq!(listed(&store, &Filter::default(), 1).await, ["b"]);
        assert_eq!(listed(&store, &drafts, 1).await, ["a"]);
    }
    let other = Filter {
        text: Some("b".to_owned()),
        ..drafts.clone()
    };
    assert!(listed(&store, &other, 1).await.is_empty());
    let taken = store.insert(server("a")).await.unwrap_err();
    assert!(matches!(taken, Error::Conflict { .. }));

    draft.version = 1;
    let changed = store.replace(draft.clone()).await.unwrap();
    assert!(changed.draft && find(&store, &project, "a").await.is_none());
    draft.version = 2;
    draft.draft = false;
    store.replace(draft).await.unwrap();
    assert_eq!(find(&store, &project, "a").await.unwrap().id, inserted.id);
    assert_eq!(listed(&store, &Filter::default(), 1).await, ["a", "b"]);
    assert!(listed(&store, &drafts, 1).await.is_empty());

    let back = Server {
        draft: true,
        ..(*store.get("default", &name("a")).await.unwrap()).clone()
    };
    store.replace(back).await.unwrap();
    assert!(find(&store, &project, "a").await.is_none());
    store.remove("default", &name("a")).await.unwrap();
    assert!(listed(&store, &drafts, 1).await.is_empty());
}

/// The store sets the times and the source of a record, whatever the record said.
pub async fn a_server_says_when_it_was_made_and_changed(store: impl ServerStore) {
    let mut forged = server("a");
    forged.created_at = Some(std::time::UNIX_EPOCH);
    forged.updated_at = Some(std::time::UNIX_EPOCH);
    forged.source = Source::File;
    let inserted = store.insert(forged.clone()).await.unwrap();
    forged.version = 1;
    let replaced = store.replace(forged).await.unwrap();
    let got = store.get("default", &name("a")).await.unwrap();
    let found = find(&store, &Project::default(), "a").await.unwrap();
    for read in [&replaced, &got, &found] {
        assert_eq!(read.source, Source::Store);
        assert_eq!(read.created_at, inserted.created_at);
        assert_eq!(read.updated_at, replaced.updated_at);
    }
    assert_eq!(inserted.source, Source::Store);
    assert!(inserted.created_at.unwrap() > std::time::UNIX_EPOCH);
    assert!(inserted.created_at <= inserted.updated_at);
    assert!(inserted.updated_at <= replaced.updated_at);
}

/// The rules for sharing sessions and for traces are stored as given, not as they were before.
pub async fn who_shares_a_session_and_who_is_told_of_traces_is_kept(store: impl ServerStore) {
    let inserted = store.insert(server("a")).await.unwrap();
    assert_eq!(inserted.share_session, ShareSession::Project);
    assert_eq!(inserted.trace_context, None);
    let told = [Some(true), Some(false), None, Some(true)];
    for (version, ((_, sharing), told)) in (1..).zip(ShareSession::ALL.into_iter().zip(told)) {
        let mut next = server("a");
        (next.share_session, next.trace_context) = (sharing, told);
        next.version = version;
        let replaced = store.replace(next).await.unwrap();
        let got = store.get("default", &name("a")).await.unwrap();
        let found = find(&store, &Project::default(), "a").await.unwrap();
        for read in [&replaced, &got, &found] {
            assert_eq!((read.share_session, read.trace_context), (sharing, told));
        }
    }
}

/// The times of calls are stored as given, not as they were before.
pub async fn how_long_a_call_may_take_is_kept(store: impl ServerStore) {
    let inserted = store.insert(server("a")).await.unwrap();
    assert_eq!((inserted.call, inserted.call_max), (None, None));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let times = [
        (seconds(1), seconds(86_400)),
        (None, seconds(900)),
        (None, None),
    ];
    for (version, (call, call_max)) in (1..).zip(times) {
        let mut next = server("a").with_call_time(call, call_max).unwrap();
        next.version = version;
        let replaced = store.replace(next).await.unwrap();
        let got = store.get("default", &name("a")).await.unwrap();
        let found = find(&store, &Project::default(), "a").await.unwrap();
        for read in [&replaced, &got, &found] {
            assert_eq!((read.call, read.call_max), (call, call_max));
        }
    }
}

/// The rules for unaccepted tools are always set: by the record, or else by the store.
pub async fn what_becomes_of_unaccepted_tools_is_always_said(store: impl ServerStore) {
    let gates = |server: &Server| (server.on_change, server.new_tools);
    let inserted = store.insert(server("a")).await.unwrap();
    let by_store = gates(&inserted);
    assert!(by_store.0.is_some() && by_store.1.is_some());
    let (allow, block) = (Some(Gate::Allow), Some(Gate::Block));
    let said = [(allow, block), (block, allow), (None, None), (allow, allow)];
    for (version, (on_change, new_tools)) in (1..).zip(said) {
        let mut next = server("a");
        (next.on_change, next.new_tools) = (on_change, new_tools);
        next.version = version;
        let replaced = store.replace(next).await.unwrap();
        let expected = (on_change.or(by_store.0), new_tools.or(by_store.1));
        let got = store.get("default", &name("a")).await.unwrap();
        let found = find(&store, &Project::default(), "a").await.unwrap();
        for read in [&replaced, &got, &found] {
            assert_eq!(gates(read), expected);
        }
    }
}
