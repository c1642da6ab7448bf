//! Adding and changing an alias or a default, with a preview of what requests get by it.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;

use super::{
    entry_fields::{self, EntryFields},
    known::Known,
    list::overtaken_words,
    pages::ModelPages,
    place::{Kind, Place},
    preview::Preview,
    removing::gone,
};
use crate::{
    admin::{
        answer::Answer,
        dashboard::{
            control::texts,
            errors::Errors,
            form::Form,
            page::{Frame, page},
            text::{Shown, words},
        },
        fault::{Code, Fault},
        model_edit::{Edit, id},
        models::{Document, entries},
    },
    registry::{Filter, Page, members::Tree},
};

/// Servers that have a box of their own, besides the chosen ones; others are typed.
const SERVERS: usize = 200;
/// Projects to choose from for a preview.
const PROJECTS: usize = 200;

#[derive(Template)]
#[template(path = "model_edit.html")]
struct Content {
    frame: Frame,
    path: String,
    is_alias: bool,
    is_new: bool,
    is_declared: bool,
    title: Option<Shown>,
    /// The entry as it was when the form was made, for who finds it changed.
    was: String,
    errors: Errors,
    fields: EntryFields,
    done: Option<&'static str>,
    conflict: Option<Conflict>,
    warnings: Vec<Shown>,
    preview: Option<Preview>,
    /// The projects to choose from for the preview, and whether each is chosen.
    projects: Vec<(String, bool)>,
    /// `true` if the layer can be asked what requests get.
    explains: bool,
    facts: Vec<(&'static str, Shown)>,
}

/// What somebody else has saved meanwhile.
struct Conflict {
    /// `true` if the entry is not there any more.
    is_removed: bool,
    differences: Vec<(&'static str, Shown, Shown)>,
}

/// What a page shows of an entry, besides the entry.
#[derive(Default)]
struct Shows {
    errors: Errors,
    is_declared: bool,
    done: Option<&'static str>,
    conflict: Option<Conflict>,
    /// The project whose requests are explained.
    project: String,
    /// The entry as it was when its form was first shown, as JSON.
    was: String,
}

/// `GET /models/{kind}`, a new one, and `GET /models/{kind}/{id}`
pub(in super::super) async fn edit(
    State(pages): State<ModelPages>,
    place: Place,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let query = Form::parse(query.as_bytes())?;
    let mut shows = Shows {
        project: query.text("for").to_owned(),
        done: match query.text("done") {
            "saved" => Some("Saved. Requests that come now use it."),
            _ => None,
        },
        ..Shows::default()
    };
    let document = pages.models.load().await?;
    if place.id.is_none() {
        let empty = entry_fields::read(place.kind, &query);
        return shown(&pages, &place, &empty, StatusCode::OK, shows).await;
    }
    let found = place.find(&document).ok_or_else(gone)?;
    shows.is_declared = found.is_declared;
    shows.was = json(&found.entry);
    shown(&pages, &place, &found.entry, StatusCode::OK, shows).await
}

/// `POST /models/{kind}` and `POST /models/{kind}/{id}`
pub(in super::super) async fn save(
    State(pages): State<ModelPages>,
    place: Place,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    let entered = entry_fields::read(place.kind, &form);
    let mut shows = Shows {
        project: form.text("for").to_owned(),
        was: form.text("was").to_owned(),
        ..Shows::default()
    };
    if form.text("go") == "preview" {
        return shown(&pages, &place, &entered, StatusCode::OK, shows).await;
    }
    if let Some(faults) = entry_fields::missing(place.kind, &entered) {
        shows.errors = entry_fields::errors(place.kind, faults)?;
        return shown(&pages, &place, &entered, StatusCode::BAD_REQUEST, shows).await;
    }
    let edit = match &place.id {
        Some(id) => Edit::Replace(id, &entered),
        None => Edit::Add(&entered),
    };
    match pages.models.edit(place.kind.list(), &edit).await {
        Ok(()) => {
            let (kind, id) = (place.kind, Some(id(&entered)));
            let saved = Place { kind, id };
            Ok(pages.to(&format!("{}?done=saved", saved.path())))
        }
        Err(fault) if fault.code() == Code::StaleVersion => {
            conflict(&pages, place.kind, &entered, &form).await
        }
        Err(fault) => {
            shows.errors = entry_fields::errors(place.kind, fault)?;
            shown(&pages, &place, &entered, StatusCode::BAD_REQUEST, shows).await
        }
    }
}

/// Handles a concurrent change: the form keeps what was typed, for what is there now.
async fn conflict(pages: &ModelPages, kind: Kind, entered: &Tree<'_>, form: &Form) -> Answer {
    let document = pages.models.load().await?;
    let was = Tree::json(form.text("was").as_bytes()).unwrap_or_default();
    let theirs = successor(kind, &was, &document);
    let place = Place {
        kind,
        id: theirs.as_ref().map(id),
    };
    let differences = theirs
        .as_ref()
        .map(|theirs| differences(kind, theirs, entered));
    let shows = Shows {
        project: form.text("for").to_owned(),
        conflict: Some(Conflict {
            is_removed: theirs.is_none(),
            differences: differences.unwrap_or_default(),
        }),
        was: theirs.as_ref().map(json).unwrap_or_default(),
        ..Shows::default()
    };
    shown(pages, &place, entered, StatusCode::CONFLICT, shows).await
}

/// An entry as text, which a form carries along.
fn json(entry: &Tree<'_>) -> String {
    // A tree of texts is always written.
    serde_json::to_string(entry).unwrap_or_default()
}

/// What has become of the entry `was`: the stored one of its name, or the default of its project and
/// models, or else the only one of its project.
fn successor<'d>(kind: Kind, was: &Tree<'_>, document: &'d Document) -> Option<Tree<'d>> {
    let all = entries(&document.stored, kind.list());
    let same = |entry: &Tree<'_>, member: &str| entry.get(member) == was.get(member);
    match kind {
        Kind::Alias => {
            let mut named = all.iter().filter(|entry| same(entry, "name"));
            let scoped = named.clone().find(|entry| same(entry, "projects"));
            scoped.or_else(|| named.next()).cloned()
        }
        Kind::Default => {
            let of_project: Vec<_> = all.iter().filter(|entry| same(entry, "project")).collect();
            let found = of_project.iter().find(|entry| same(entry, "models"));
            let only = (of_project.len() == 1)
                .then(|| of_project.first())
                .flatten();
            found.or(only).map(|entry| Tree::clone(entry))
        }
    }
}

/// The members in which two entries differ.
fn differences(
    kind: Kind,
    theirs: &Tree<'_>,
    mine: &Tree<'_>,
) -> Vec<(&'static str, Shown, Shown)> {
    let text = |entry: &Tree<'_>, member: &str| {
        words(&serde_json::to_value(entry.get(member)).unwrap_or_default())
    };
    let both = kind
        .labels()
        .iter()
        .map(|(member, label)| (*label, text(theirs, member), text(mine, member)));
    let differ = both.filter(|(_, theirs, mine)| theirs != mine);
    let shown = differ
        .map(|(label, theirs, mine)| (label, Shown::short(&theirs, 200), Shown::short(&mine, 200)));
    shown.collect()
}

/// The page of `entry`.
async fn shown(
    pages: &ModelPages,
    place: &Place,
    entry: &Tree<'_>,
    status: StatusCode,
    shows: Shows,
) -> Answer {
    let kind = place.kind;
    let known = Known::of(pages, [entry]).await?;
    let choices = pages.choices().await?;
    let projects = projects(kind, entry, &choices, &shows.project);
    let project = projects.iter().find(|(_, is_chosen)| *is_chosen);
    let preview = match project {
        Some((project, _)) => Preview::of(pages, kind, entry, project).await,
        None => None,
    };
    let mut warnings = known.warnings(kind, entry);
    if place.id.is_some() && shows.conflict.is_none() {
        warnings.extend(overtaken_words(kind, entry, &pages.models.in_force()));
    }
    let title = match kind {
        Kind::Alias => entry.get("name"),
        Kind::Default => entry.get("project"),
    };
    let title = title
        .as_text()
        .filter(|title| !title.is_empty() && place.id.is_some());
    let content = Content {
        frame: pages.frame(),
        path: place.path(),
        is_alias: kind == Kind::Alias,
        is_new: place.id.is_none(),
        is_declared: shows.is_declared,
        title: title.map(Shown::of),
        was: shows.was,
        errors: shows.errors,
        fields: EntryFields::of(kind, entry, &servers(pages).await?, &choices),
        done: shows.done,
        conflict: shows.conflict,
        warnings,
        preview,
        projects,
        explains: pages.explainer.is_some(),
        facts: facts(kind, entry),
    };
    page(status, &content)
}

/// The names of the first servers.
async fn servers(pages: &ModelPages) -> Result<BTreeSet<String>, Fault> {
    let page = Page {
        limit: SERVERS,
        ..Page::default()
    };
    let listing = pages.store.list(&Filter::default(), &page).await?;
    let names = listing.servers.iter().map(|server| server.name.to_string());
    Ok(names.collect())
}

/// The projects whose requests may get `entry`; the one that was asked for is chosen, or the first.
fn projects(
    kind: Kind,
    entry: &Tree<'_>,
    known: &BTreeSet<String>,
    asked: &str,
) -> Vec<(String, bool)> {
    let all: Vec<&str> = match kind {
        Kind::Default => entry.get("project").as_text().into_iter().collect(),
        Kind::Alias if entry.get("projects").is_list() => texts(entry.get("projects")),
        Kind::Alias => {
            let others = known.iter().map(String::as_str);
            let others = others.filter(|project| *project != "default");
            ["default"].into_iter().chain(others).collect()
        }
    };
    let all = all.into_iter().filter(|project| !project.is_empty());
    let all: Vec<&str> = all.take(PROJECTS).collect();
    let chosen = all
        .iter()
        .position(|project| *project == asked)
        .unwrap_or(0);
    let all = all.into_iter().enumerate();
    all.map(|(at, project)| (project.to_owned(), at == chosen))
        .collect()
}

/// The members of an entry that is only shown.
fn facts(kind: Kind, entry: &Tree<'_>) -> Vec<(&'static str, Shown)> {
    let fact = |(member, label): &(&str, &'static str)| {
        let value = serde_json::to_value(entry.get(member)).unwrap_or_default();
        (*label, Shown::of(&words(&value)))
    };
    kind.labels().iter().map(fact).collect()
}
