//! The places of an object's members, kept when the object has been read.

use std::ops::Range;

use super::{Edit, text::quoted};

/// The places of some members of an object in its text, and its end: enough to set them later,
/// without reading it again.
#[derive(Clone, Debug)]
pub(crate) struct Places<const N: usize> {
    members: [(&'static str, Option<Range<usize>>); N],
    close: usize,
    is_empty: bool,
}

impl<const N: usize> Places<N> {
    /// These places in a text that has `before` bytes before the object.
    pub(crate) fn behind(mut self, before: usize) -> Self {
        for (_, place) in &mut self.members {
            *place = place
                .take()
                .map(|place| place.start + before..place.end + before);
        }
        self.close += before;
        self
    }

    pub(super) fn new(
        members: [(&'static str, Option<Range<usize>>); N],
        close: usize,
        is_empty: bool,
    ) -> Self {
        Self {
            members,
            close,
            is_empty,
        }
    }

    /// The edits that give these members their values, if they are given one; new ones come last.
    /// The same as if the object were asked.
    pub(crate) fn set(&self, values: [Option<&str>; N]) -> Vec<Edit> {
        let mut is_empty = self.is_empty;
        let members = self.members.iter().zip(values);
        let edit =
            |((name, place), value): (&(&'static str, Option<Range<usize>>), Option<&str>)| {
                let place = place.clone();
                value.map(|value| set(place, self.close, &mut is_empty, name, value))
            };
        members.filter_map(edit).collect()
    }
}

/// The edit that gives a member its value: at its place, or as the last one, behind a comma, unless
/// the object is empty until then.
pub(super) fn set(
    place: Option<Range<usize>>,
    close: usize,
    is_empty: &mut bool,
    name: &str,
    value: &str,
) -> Edit {
    if let Some(place) = place {
        return Edit::replace(place, value.to_owned());
    }
    let comma = if std::mem::take(is_empty) { "" } else { "," };
    Edit::insert(close, format!("{comma}{}:{value}", quoted(name)))
}
