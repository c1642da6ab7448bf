//! Walks JSON that stays text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Error;

/// Hands every element of a JSON array to `take`, one by one: however many there are, none is
/// kept.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if `array` is no array; and the first error of `take`.
pub(super) fn each<'a>(
    array: &'a RawValue,
    take: impl FnMut(&'a RawValue) -> Result<(), Error>,
) -> Result<(), Error> {
    struct Elements<'a, F> {
        take: F,
        failed: Option<Error>,
        life: PhantomData<&'a ()>,
    }
    impl<'a, F> Visitor<'a> for &mut Elements<'a, F>
    where
        F: FnMut(&'a RawValue) -> Result<(), Error>,
    {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element::<&'a RawValue>()? {
                if let Err(error) = (self.take)(element) {
                    self.failed = Some(error);
                    return Err(A::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }
    let mut elements = Elements {
        take,
        failed: None,
        life: PhantomData,
    };
    let read = serde_json::Deserializer::from_str(array.get()).deserialize_seq(&mut elements);
    match elements.failed {
        Some(error) => Err(error),
        None => {
            read.map_err(|_| Error::protocol("the server sent something else where a list belongs"))
        }
    }
}

/// How deep a JSON text nests. The text is known to be valid.
pub(super) fn depth(json: &RawValue) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.get().bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn elements_come_one_by_one_until_one_is_refused() {
        let list = raw(r#"[1, {"a": [2]}, "x"]"#);
        let mut seen = Vec::new();
        let walked = each(&list, |element| {
            seen.push(element.get());
            Ok(())
        });
        assert!(walked.is_ok());
        assert_eq!(seen, ["1", r#"{"a": [2]}"#, "\"x\""]);

        let mut seen = 0;
        let refused = each(&list, |_| {
            seen += 1;
            Err(Error::protocol("enough"))
        });
        assert_eq!(
            (refused.expect_err("refused").to_string(), seen),
            ("enough".to_owned(), 1)
        );
        assert!(each(&raw("{}"), |_| Ok(())).is_err());
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(&raw("1")), 0);
        assert_eq!(depth(&raw(r#"{"a":[{}],"b":"[[[\\\"[[["}"#)), 3);
    }
}
