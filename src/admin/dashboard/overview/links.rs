//! Addresses of the exchanges behind a figure.

use std::time::SystemTime;

use url::form_urlencoded::Serializer;

use super::super::super::{overview::Asked, time::rfc3339};

/// Makes addresses of the list of exchanges, in the range and the project that the page is about.
pub(super) struct Links {
    list: String,
    from: SystemTime,
    to: SystemTime,
    project: Option<String>,
    pub(super) base: String,
}

impl Links {
    pub(super) fn new(base: &str, asked: &Asked) -> Self {
        Self {
            list: format!("{base}/traces"),
            from: asked.range.from(),
            to: asked.range.to(),
            project: asked.project.clone(),
            base: base.to_owned(),
        }
    }

    /// All exchanges.
    pub(super) fn all(&self) -> String {
        self.with(&[])
    }

    /// Those that these filters leave.
    pub(super) fn with(&self, filters: &[(&str, &str)]) -> String {
        self.between(self.from, self.to, filters)
    }

    /// Those that began in this time.
    pub(super) fn during(&self, from: SystemTime, to: SystemTime) -> String {
        self.between(from, to, &[])
    }

    fn between(&self, from: SystemTime, to: SystemTime, filters: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("from", &rfc3339(from));
        query.append_pair("to", &rfc3339(to));
        let is_named = filters.iter().any(|(name, _)| *name == "project");
        if let Some(project) = self.project.as_deref().filter(|_| !is_named) {
            query.append_pair("project", project);
        }
        query.extend_pairs(filters);
        format!("{}?{}", self.list, query.finish())
    }
}
