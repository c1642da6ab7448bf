//! The list of aliases and defaults.

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;

use super::{
    known::Known,
    pages::ModelPages,
    place::{Kind, Place},
    preview::overtaken,
};
use crate::{
    admin::{
        answer::Answer,
        dashboard::{
            control::texts,
            form::Form,
            page::{Frame, page},
            text::Shown,
        },
        model_edit::{Edit, id},
        models::{Document, entries},
    },
    registry::{ModelRules, members::Tree},
};

/// Servers, patterns and projects that a row names.
const NAMED: usize = 4;
/// Warnings that a row has; its page has all.
const WARNINGS: usize = 3;

#[derive(Template)]
#[template(path = "models.html")]
struct List {
    frame: Frame,
    done: Option<&'static str>,
    are_kept: bool,
    aliases: Vec<Row>,
    defaults: Vec<Row>,
}

struct Row {
    path: String,
    /// The alias, or the project of a default.
    title: Shown,
    /// The model of an alias, or the patterns of a default.
    models: Named,
    servers: Named,
    /// Those of an alias; `None` for all.
    projects: Option<Named>,
    warnings: Vec<Shown>,
    more_warnings: usize,
    is_declared: bool,
    /// `true` for a default that can be moved before another one.
    can_move: bool,
}

/// The first of some values, and the number of the others.
struct Named {
    first: Vec<Shown>,
    more: usize,
}

/// `GET /models`
pub(in super::super) async fn list(
    State(pages): State<ModelPages>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let done = match Form::parse(query.as_bytes())?.text("done") {
        "removed" => Some("Removed. Requests that come now do without it."),
        "moved" => Some("Moved. Of the defaults that fit a request, the first one counts."),
        _ => None,
    };
    let mut content = List {
        frame: pages.frame(),
        done,
        are_kept: pages.models.are_kept(),
        aliases: Vec::new(),
        defaults: Vec::new(),
    };
    if content.are_kept {
        let document = pages.models.load().await?;
        let all = [Kind::Alias, Kind::Default].map(|kind| rows_of(kind, &document));
        let trees = all.iter().flatten().map(|(entry, _)| entry);
        let known = Known::of(&pages, trees).await?;
        let rules = pages.models.in_force();
        let [aliases, defaults] = &all;
        content.aliases = rows(Kind::Alias, aliases, &known, &rules);
        content.defaults = rows(Kind::Default, defaults, &known, &rules);
    }
    page(StatusCode::OK, &content)
}

/// `POST /models/{kind}/{id}/up`
pub(in super::super) async fn move_up(State(pages): State<ModelPages>, place: Place) -> Answer {
    let id = place.id.as_deref().unwrap_or_default();
    let list = place.kind.list();
    pages.models.edit(list, &Edit::MoveUp(id)).await?;
    Ok(pages.to("/models?done=moved"))
}

/// The entries of a kind, the file's first as they count, and whether each is the file's.
fn rows_of(kind: Kind, document: &Document) -> Vec<(Tree<'_>, bool)> {
    let of = |rules, is_declared| {
        let entries = entries(rules, kind.list()).into_iter();
        entries.map(move |entry| (entry, is_declared))
    };
    of(&document.declared, true)
        .chain(of(&document.stored, false))
        .collect()
}

fn rows(kind: Kind, entries: &[(Tree<'_>, bool)], known: &Known, rules: &ModelRules) -> Vec<Row> {
    let mut stored = 0;
    let row = |(entry, is_declared): &(Tree<'_>, bool)| {
        stored += usize::from(!is_declared);
        let can_move = kind == Kind::Default && !is_declared && stored > 1;
        Row {
            can_move,
            ..Row::of(kind, entry, *is_declared, known, rules)
        }
    };
    entries.iter().map(row).collect()
}

impl Row {
    fn of(
        kind: Kind,
        entry: &Tree<'_>,
        is_declared: bool,
        known: &Known,
        rules: &ModelRules,
    ) -> Self {
        let text = |name: &str| entry.get(name).as_text().unwrap_or_default();
        let (title, models) = match kind {
            Kind::Alias => (text("name"), vec![text("model")]),
            Kind::Default => (text("project"), texts(entry.get("models"))),
        };
        let projects = entry.get("projects");
        let mut warnings = known.warnings(kind, entry);
        warnings.extend(overtaken_words(kind, entry, rules));
        let more_warnings = warnings.len().saturating_sub(WARNINGS);
        warnings.truncate(WARNINGS);
        let place = Place {
            kind,
            id: Some(id(entry)),
        };
        Self {
            path: place.path(),
            title: Shown::of(title),
            models: Named::of(models),
            servers: Named::of(texts(entry.get("servers"))),
            projects: projects.is_list().then(|| Named::of(texts(projects))),
            warnings,
            more_warnings,
            is_declared,
            can_move: false,
        }
    }
}

impl Named {
    fn of(values: Vec<&str>) -> Self {
        Self {
            more: values.len().saturating_sub(NAMED),
            first: values.into_iter().take(NAMED).map(Shown::of).collect(),
        }
    }
}

/// The sentence about a default that comes too late.
pub(super) fn overtaken_words(kind: Kind, entry: &Tree<'_>, rules: &ModelRules) -> Option<Shown> {
    let pattern = match kind {
        Kind::Alias => None,
        Kind::Default => overtaken(entry, rules),
    };
    pattern.map(|pattern| {
        Shown::of(&format!(
            "An earlier default of the project counts for models {pattern}."
        ))
    })
}
