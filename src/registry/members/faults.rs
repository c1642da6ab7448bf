//! All that is wrong with a text, where whoever entered it wants to mend it at once.

use std::iter;

/// At least one fault, in the order in which they were found.
///
/// A text that is read without anybody who looks at it reports the [first](Self::first).
#[derive(Debug)]
pub(crate) struct Faults<F> {
    /// Boxed, so that a result of little is not as large as its error.
    first: Box<F>,
    others: Vec<F>,
}

impl<F> Faults<F> {
    /// Those of a list; `None` if it is empty.
    pub(crate) fn of(faults: Vec<F>) -> Option<Self> {
        let mut faults = faults.into_iter();
        let first = Box::new(faults.next()?);
        let others = faults.collect();
        Some(Self { first, others })
    }

    /// Returns `read` if nothing is wrong.
    pub(crate) fn unless<T>(faults: Vec<F>, read: T) -> Result<T, Self> {
        Self::of(faults).map_or(Ok(read), Err)
    }

    pub(crate) fn as_first(&self) -> &F {
        &self.first
    }

    pub(crate) fn first(self) -> F {
        *self.first
    }

    pub(crate) fn push(&mut self, fault: F) {
        self.others.push(fault);
    }

    pub(crate) fn map<G>(self, mut turn: impl FnMut(F) -> G) -> Faults<G> {
        Faults {
            first: Box::new(turn(*self.first)),
            others: self.others.into_iter().map(turn).collect(),
        }
    }
}

impl<F> From<F> for Faults<F> {
    fn from(first: F) -> Self {
        let others = Vec::new();
        Self {
            first: Box::new(first),
            others,
        }
    }
}

impl<F> IntoIterator for Faults<F> {
    type Item = F;
    type IntoIter = iter::Chain<iter::Once<F>, std::vec::IntoIter<F>>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(*self.first).chain(self.others)
    }
}
