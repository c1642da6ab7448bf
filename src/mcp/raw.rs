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
}
