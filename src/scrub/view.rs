//! Decoded views of a text, mapped back to their source.

use std::ops::Range;

use super::escapes::Unit;

/// Bytes, each with the range of the source that it stands for.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// The places in the source; `None` if these are its own bytes.
    places: Option<&'a [Place]>,
}

/// Start and end in the source.
type Place = (u32, u32);

/// A text that was decoded.
#[derive(Default)]
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    places: Vec<Place>,
}

impl<'a> Text<'a> {
    pub(super) fn source(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            places: None,
        }
    }

    /// Returns the range of the source that these bytes stand for.
    pub(super) fn place(&self, at: Range<usize>) -> Range<usize> {
        match self.places {
            None => at,
            Some(places) => places[at.start].0 as usize..places[at.end - 1].1 as usize,
        }
    }
}

impl View {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            places: Vec::with_capacity(bytes),
        }
    }

    pub(super) fn text(&self) -> Text<'_> {
        Text {
            bytes: &self.bytes,
            places: Some(&self.places),
        }
    }

    /// Adds a byte decoded from these bytes of `text`.
    pub(super) fn push(&mut self, byte: u8, text: Text<'_>, at: Range<usize>) {
        let place = text.place(at);
        self.bytes.push(byte);
        self.places.push((place.start as u32, place.end as u32));
    }

    /// Adds these bytes of `text` as they are.
    pub(super) fn copy(&mut self, text: Text<'_>, at: Range<usize>) {
        self.bytes.extend_from_slice(&text.bytes[at.clone()]);
        match text.places {
            None => self.places.extend(at.map(|at| (at as u32, at as u32 + 1))),
            Some(places) => self.places.extend_from_slice(&places[at]),
        }
    }

    /// Adds the value of an escape at these bytes of `text`.
    pub(super) fn decode(&mut self, unit: Unit, text: Text<'_>, at: Range<usize>) {
        let (bytes, count) = unit.bytes();
        let place = text.place(at);
        self.bytes.extend_from_slice(&bytes[..count]);
        self.places
            .resize(self.bytes.len(), (place.start as u32, place.end as u32));
    }
}
