//! The form of a project's budget.

use axum::{
    body::Bytes,
    extract::{Path, State},
};

use super::{
    pages::{ProjectPages, encoded},
    show::Show,
};
use crate::admin::{
    answer::Answer,
    dashboard::{control::number, errors::Errors, form::Form, page::page},
    fault::{Code, Fault},
    project::entered,
};
use crate::registry::members::Tree;

/// `POST /projects/{project}`
pub(in super::super) async fn save(
    State(pages): State<ProjectPages>,
    Path(project): Path<String>,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    let [tokens, cost] = ["tokens_per_day", "cost_per_day"].map(|field| form.trimmed(field));
    let (saved, done) = match tokens.is_empty() && cost.is_empty() {
        true => (
            pages.project_records.set_budget(&project, None).await,
            "unlimited",
        ),
        false => {
            let tree = Tree::new()
                .with("tokens_per_day", number(tokens))
                .with("cost_per_day", number(cost));
            let saved = match entered(&tree, &project) {
                Ok(budget) => {
                    pages
                        .project_records
                        .set_budget(&project, Some(budget))
                        .await
                }
                Err(fault) => Err(fault),
            };
            (saved, "budget")
        }
    };
    match saved {
        // Nothing was there to be removed.
        Err(fault) if done == "unlimited" && fault.code() == Code::NotFound => {}
        Err(fault) => {
            let status = fault.status();
            let errors = Errors::of(in_words(fault))?;
            let content = Show::of(&pages, &project).await?.typed(&form, errors);
            return page(status, &content);
        }
        Ok(()) if done == "budget" => pages.projects.note_named(&project),
        Ok(()) => {}
    }
    Ok(pages.to(&format!("/projects/{}?done={done}", encoded(&project))))
}

/// A fault in the words of the form.
fn in_words(fault: Fault) -> Fault {
    let (param, label) = match fault.param() {
        Some(param @ "tokens_per_day") => (param, "Tokens a day"),
        Some(param @ "cost_per_day") => (param, "Cost a day"),
        _ => return fault,
    };
    let rest = fault.message().strip_prefix(param).unwrap_or_default();
    let rest = rest.replace("leave it out", "leave the field empty");
    let words = format!("{label}{rest}.");
    fault.with_page(Some(words.into()))
}
