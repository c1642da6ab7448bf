//! The filters of a list. All of them are part of the address, so a filtered list can be bookmarked
//! and shared.

use url::form_urlencoded;

use super::text::Shown;

/// The parameters of a list that have a value.
#[derive(Clone, Default)]
pub(super) struct Filters(Vec<(&'static str, String)>);

/// A filter on a page: its present value, or the values to choose from.
pub(super) struct Chip {
    pub(super) label: &'static str,
    pub(super) set: Option<Choice>,
    pub(super) choices: Vec<Choice>,
    /// The name of the parameter, if its value can also be typed.
    pub(super) typed: Option<&'static str>,
    /// The other parameters of the page, which a filter form carries along unchanged.
    pub(super) kept: Vec<(&'static str, String)>,
}

/// A value, and the address with it; if it is already set, the address without it.
pub(super) struct Choice {
    pub(super) label: Shown,
    pub(super) link: String,
}

impl Filters {
    /// The filters among `names` for which `value` has one.
    pub(super) fn of<'a>(names: &[&'static str], value: impl Fn(&'static str) -> &'a str) -> Self {
        let values = names.iter().map(|name| (*name, value(name).trim()));
        let values = values.filter(|(_, value)| !value.is_empty());
        Self(
            values
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The filters as a query, without its `?`.
    pub(super) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0).finish()
    }

    /// The address with `name` set to `value`, or without `name` if `value` is empty.
    pub(super) fn link(&self, name: &'static str, value: &str) -> String {
        let mut filters = self.without(name);
        if !value.is_empty() {
            filters.0.push((name, value.to_owned()));
        }
        format!("?{}", filters.query())
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let others = self.0.iter().filter(|(other, _)| *other != name);
        Self(others.cloned().collect())
    }

    /// The filter `name` with what it can be set to: values, and what they are called.
    pub(super) fn chip<'a>(
        &self,
        name: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Chip {
        let now = self.get(name);
        let mut called = now;
        let mut choices = Vec::new();
        for (value, label) in values {
            if value == now {
                called = label;
            }
            choices.push(Choice {
                label: Shown::short(label, 60),
                link: self.link(name, value),
            });
        }
        let set = (!now.is_empty()).then(|| Choice {
            label: Shown::short(called, 60),
            link: self.link(name, ""),
        });
        Chip {
            label,
            set,
            choices,
            typed: None,
            kept: Vec::new(),
        }
    }

    /// The filter `name` with a field to type other values.
    pub(super) fn open_chip<'a>(
        &self,
        name: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Chip {
        Chip {
            typed: Some(name),
            kept: self.without(name).0,
            ..self.chip(name, label, values)
        }
    }

    /// All of them, for a form that has them without being about them.
    pub(super) fn pairs(&self) -> &[(&'static str, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_set_and_taken_away_without_the_others() {
        let filters = Filters::of(&["project", "status", "q"], |name| match name {
            "project" => "a&b",
            "q" => " wiki ",
            _ => "",
        });
        assert_eq!(filters.query(), "project=a%26b&q=wiki");
        assert_eq!(
            filters.link("status", "active"),
            "?project=a%26b&q=wiki&status=active"
        );
        assert_eq!(filters.link("project", ""), "?q=wiki");
        let chip = filters.chip("status", "Status", [("active", "Active")]);
        assert!(chip.set.is_none() && chip.choices.len() == 1);
        let chip = filters.chip("project", "Project", []);
        assert_eq!(chip.set.unwrap().link, "?q=wiki");
    }
}
