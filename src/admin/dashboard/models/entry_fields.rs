//! The fields of an alias or a default: read into the tree that it is read from, and shown from it.

use std::collections::BTreeSet;

use super::place::Kind;
use crate::{
    admin::{
        dashboard::{
            control::{Control, texts},
            errors::Errors,
            fields::{ProjectBox, boxes, chosen, read_projects},
            form::Form,
            text::sentence,
        },
        fault::{Code, Fault, Faults},
    },
    registry::members::{About, Given, Kind as Value, Tree},
};

const NAME: About = About {
    hint: "What a client enters as its model, such as <code>gpt-5-docs</code>. It hides a model of that name.",
    ..field("name", "Alias")
};
const MODEL: About = About {
    hint: "What the model's service is asked for instead, such as <code>gpt-5</code>.",
    ..field("model", "Model")
};
const PROJECT: About = About {
    hint: "Whose requests get the servers, where they ask for none.",
    ..field("project", "Project")
};
const MODELS: About = About {
    hint: "One in each line; <code>*</code> stands for any text, such as <code>gpt-5*</code>. Left empty: all models.",
    kind: Value::Prose {
        longest: 30_000,
        lines: 3,
    },
    ..field("models", "Models")
};

const fn field(name: &'static str, label: &'static str) -> About {
    About {
        name,
        label,
        hint: "",
        description: "",
        refusal: None,
        kind: Value::Code,
        is_optional: false,
        given: Given::Everywhere,
    }
}

/// The values that a form shows of an entry.
pub(super) struct EntryFields {
    /// The members that are entered as text.
    pub(super) controls: Vec<Control>,
    pub(super) servers: Vec<ProjectBox>,
    pub(super) is_for_all: bool,
    pub(super) projects: Vec<ProjectBox>,
}

impl EntryFields {
    /// The fields of `entered`, with these servers and projects to choose from.
    pub(super) fn of(
        kind: Kind,
        entered: &Tree<'_>,
        servers: &BTreeSet<String>,
        projects: &BTreeSet<String>,
    ) -> Self {
        let abouts: &[About] = match kind {
            Kind::Alias => &[NAME, MODEL],
            Kind::Default => &[PROJECT, MODELS],
        };
        let controls = abouts.iter().filter_map(|about| {
            let control = Control::of("", *about, entered.get(about.name))?;
            // One in each line, as they are entered.
            let value = match entered.get(about.name) {
                list @ Tree::List(_) => texts(list).join("\n"),
                _ => control.value,
            };
            Some(Control { value, ..control })
        });
        Self {
            controls: controls.collect(),
            servers: boxes(&texts(entered.get("servers")), servers),
            is_for_all: !entered.get("projects").is_list(),
            projects: boxes(&texts(entered.get("projects")), projects),
        }
    }
}

/// The entry that a form has.
pub(super) fn read(kind: Kind, form: &Form) -> Tree<'_> {
    let servers = chosen(form, "server", "other_servers");
    match kind {
        Kind::Alias => Tree::new()
            .with("name", form.trimmed("name"))
            .with("model", form.trimmed("model"))
            .with("servers", servers)
            .with("projects", read_projects(form)),
        Kind::Default => {
            let lines = form.text("models").lines().map(str::trim);
            let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            let models: Tree<'_> = match lines.is_empty() {
                true => Tree::from_iter(["*"]),
                false => lines.into_iter().collect(),
            };
            Tree::new()
                .with("project", form.trimmed("project"))
                .with("models", models)
                .with("servers", servers)
        }
    }
}

/// The members without which there is no entry, where they are empty.
pub(super) fn missing(kind: Kind, entered: &Tree<'_>) -> Option<Faults> {
    let required: &[_] = match kind {
        Kind::Alias => &["name", "model", "servers"],
        Kind::Default => &["project", "servers"],
    };
    let is_empty = |member: &&&str| {
        let member = entered.get(member);
        member.items().is_empty() && member.as_text().unwrap_or_default().is_empty()
    };
    let empty = required.iter().filter(is_empty);
    Faults::of(
        empty
            .map(|member| Fault::of(Code::InvalidRequest, member, "is empty"))
            .collect(),
    )
}

/// The errors of a form, each beside the field that it is about and in the words of the form.
///
/// # Errors
/// A fault that no field can fix.
pub(super) fn errors(kind: Kind, faults: impl Into<Faults>) -> Result<Errors, Fault> {
    Errors::of(faults.into().map(|fault| in_words(kind, fault)))
}

fn in_words(kind: Kind, fault: Fault) -> Fault {
    let param = fault.param().unwrap_or_default();
    let member = param.split(['.', '[']).next().unwrap_or_default();
    let label = kind.labels().iter().find(|(name, _)| *name == member);
    let Some((member, label)) = label else {
        return fault;
    };
    let rest = fault
        .message()
        .strip_prefix(param)
        .unwrap_or_default()
        .trim_end_matches('.');
    let words = match (*member, rest) {
        (_, "") => sentence(fault.message()),
        ("servers", " is empty") => "Choose at least one server.".to_owned(),
        (_, rest) => format!("{label}{rest}."),
    };
    fault.at(*member).with_page(Some(words.into()))
}
