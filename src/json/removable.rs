//! Members that may be removed later, when their object is gone.

use std::ops::Range;

use super::Edit;

/// The places of some members of an object, with the commas that go with them.
#[derive(Clone, Debug)]
pub(crate) struct Removable<const N: usize> {
    members: [Option<Member>; N],
    /// The position behind the opening brace.
    open: usize,
}

/// A member that is there.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) index: usize,
    /// It, with the comma before it.
    pub(super) place: Range<usize>,
    /// The position behind the comma that follows, or behind the member itself.
    pub(super) behind: usize,
}

impl<const N: usize> Removable<N> {
    pub(super) fn new(members: [Option<Member>; N], open: usize) -> Self {
        Self { members, open }
    }

    /// Returns `true` if this member is there.
    pub(crate) fn has(&self, member: usize) -> bool {
        self.members[member].is_some()
    }

    /// The edits that remove these members, each with one comma.
    pub(crate) fn edits(&self, are_gone: [bool; N]) -> Vec<Edit> {
        let members = self.members.iter().zip(are_gone);
        let gone = members.filter_map(|(member, is_gone)| member.as_ref().filter(|_| is_gone));
        let mut gone: Vec<&Member> = gone.collect();
        gone.sort_by_key(|member| member.index);
        // Those that the object begins with have no comma before them, and take the one behind.
        let first = gone.iter().enumerate();
        let first = first.take_while(|(at, member)| *at == member.index).count();
        let (first, rest) = gone.split_at(first);
        let first = first.last().map(|last| self.open..last.behind);
        let rest = rest.iter().map(|member| member.place.clone());
        first.into_iter().chain(rest).map(Edit::remove).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::json::Object;

    #[test]
    fn any_members_are_removed_wherever_they_stand() {
        for text in [
            r#"{"a":1,"b":2,"c":3,"d":4}"#,
            r#"{ "d" : 4 , "c":3 , "x":0,"b" : 2,"a":1 }"#,
            r#"{"a":1,"x":[],"b":2}"#,
            r#"{"b":2}"#,
        ] {
            let object = Object::parse(text).unwrap();
            let names = ["a", "b", "c"];
            let removable = object.removable(names);
            for bits in 0..8 {
                let are_gone = [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0];
                let mut expected: Value = serde_json::from_str(text).unwrap();
                for (name, is_gone) in names.into_iter().zip(are_gone) {
                    if is_gone {
                        expected.as_object_mut().unwrap().remove(name);
                    }
                }
                let edited = object.edited(removable.edits(are_gone));
                let edited: Value = serde_json::from_str(&edited).expect("JSON");
                assert_eq!(edited, expected, "{text} {are_gone:?}");
            }
        }
    }
}
