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
        sort(&mut edits);
        let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
        let mut text = String::with_capacity(original.len() + added);
        for (kept, with) in pieces(0..original.len(), edits) {
            text.push_str(&original[kept]);
            text.push_str(&String::from_utf8_lossy(&with));
        }
        text
    }

    /// Applies the edits, and returns two parts: the text before the byte `place` of the original,
    /// and the rest.
    pub(crate) fn apply_around(
        original: &Bytes,
        mut edits: Vec<Self>,
        place: usize,
    ) -> (Vec<Bytes>, Vec<Bytes>) {
        sort(&mut edits);
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
    for (kept, with) in pieces(part, edits) {
        let pair = [original.slice(kept), with].into_iter();
        segments.extend(pair.filter(|segment| !segment.is_empty()));
    }
    segments
}

fn sort(edits: &mut [Edit]) {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
}

/// What stays of a part of the original, each with what stands behind it afterwards; the edits are
/// sorted.
fn pieces(part: Range<usize>, edits: Vec<Edit>) -> impl Iterator<Item = (Range<usize>, Bytes)> {
    let mut done = part.start;
    let rest = Edit::insert(part.end, Bytes::new());
    edits.into_iter().chain([rest]).map(move |edit| {
        debug_assert!(
            edit.range.start >= done && edit.range.end <= part.end,
            "edits overlap"
        );
        let kept = done..edit.range.start;
        done = edit.range.end;
        (kept, edit.with)
    })
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
