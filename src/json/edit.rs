//! Rewriting bytes by naming what changes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A range of the original bytes and what stands there afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    range: Range<usize>,
    with: Bytes,
}

impl Edit {
    pub(crate) fn replace(range: Range<usize>, with: impl Into<Bytes>) -> Self {
        Self {
            range,
            with: with.into(),
        }
    }

    pub(crate) fn insert(at: usize, with: impl Into<Bytes>) -> Self {
        Self {
            range: at..at,
            with: with.into(),
        }
    }

    pub(crate) fn remove(range: Range<usize>) -> Self {
        Self {
            range,
            with: Bytes::new(),
        }
    }

    /// Moves the edit `offset` bytes further on.
    pub(crate) fn shifted(self, offset: usize) -> Self {
        Self {
            range: self.range.start + offset..self.range.end + offset,
            with: self.with,
        }
    }

    /// The rewritten text in shared segments; what did not change is not copied.
    ///
    /// Edits do not overlap; insertions at one place keep their order.
    pub(crate) fn apply(original: &Bytes, edits: Vec<Self>) -> Vec<Bytes> {
        let (mut before, behind) = Self::apply_around(original, edits, original.len());
        before.extend(behind);
        before
    }

    /// The rewritten text in one piece.
    pub(crate) fn apply_to_text(original: &str, mut edits: Vec<Self>) -> String {
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
        let mut text = String::with_capacity(original.len() + added);
        let mut done = 0;
        for edit in edits {
            text.push_str(&original[done..edit.range.start]);
            text.push_str(&String::from_utf8_lossy(&edit.with));
            done = edit.range.end;
        }
        text.push_str(&original[done..]);
        text
    }

    /// Applies the edits, and returns two parts: the text before the byte `place` of the original,
    /// and the rest.
    pub(crate) fn apply_around(
        original: &Bytes,
        mut edits: Vec<Self>,
        place: usize,
    ) -> (Vec<Bytes>, Vec<Bytes>) {
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let behind = edits.split_off(edits.partition_point(|edit| edit.range.start < place));
        let whole = original.len();
        (
            segments(original, 0..place, edits),
            segments(original, place..whole, behind),
        )
    }
}

fn segments(original: &Bytes, part: Range<usize>, edits: Vec<Edit>) -> Vec<Bytes> {
    let mut segments = Vec::with_capacity(edits.len() * 2 + 1);
    let mut done = part.start;
    for edit in edits {
        debug_assert!(
            edit.range.start >= done && edit.range.end <= part.end,
            "edits overlap"
        );
        segments.push(original.slice(done..edit.range.start));
        segments.push(edit.with);
        done = edit.range.end;
    }
    segments.push(original.slice(done..part.end));
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// The segments in one piece; a single one is not copied.
pub(crate) fn concat(segments: &[Bytes]) -> Bytes {
    if let [only] = segments {
        return only.clone();
    }
    let mut whole = BytesMut::with_capacity(segments.iter().map(Bytes::len).sum());
    for segment in segments {
        whole.extend_from_slice(segment);
    }
    whole.freeze()
}
