//! A message, read in one pass as far as a history is restored by it.

use std::borrow::Cow;

use bytes::Bytes;

use super::said::READ;
use crate::json::{NoJson, Scan, string};

/// The members of a message that a history is restored by, as JSON texts.
#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) role: Option<&'a str>,
    pub(super) content: Option<&'a str>,
    pub(super) tool_call_id: Option<&'a str>,
    /// The objects among its calls.
    pub(super) calls: Vec<Call<'a>>,
}

/// A call of a message.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) text: &'a str,
    id: Option<&'a str>,
    pub(super) arguments: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` if it is no object.
    pub(super) fn of(message: &'a Bytes) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut scan = Scan::new(text);
        let read = Self::scan(&mut scan, text).ok()?;
        scan.peek().is_none().then_some(read)
    }

    fn scan(scan: &mut Scan<'a>, text: &'a str) -> Result<Self, NoJson> {
        let (mut message, mut has_calls) = (Self::default(), false);
        scan.object(|scan, name| match &*name {
            // Of several members with one name the first counts.
            "tool_calls" if !std::mem::replace(&mut has_calls, true) => {
                message.calls = calls(scan, text)?;
                Ok(())
            }
            "role" => first(&mut message.role, scan),
            "content" => first(&mut message.content, scan),
            "tool_call_id" => first(&mut message.tool_call_id, scan),
            _ => scan.value().map(drop),
        })?;
        Ok(message)
    }

    /// Returns `true` if its role is `tool`.
    pub(super) fn is_tool(&self) -> bool {
        self.role
            .and_then(string)
            .is_some_and(|role| role == "tool")
    }
}

impl<'a> Call<'a> {
    /// Its id; empty if it has none.
    pub(super) fn id(&self) -> Cow<'a, str> {
        self.id.and_then(string).unwrap_or_default()
    }

    fn scan(scan: &mut Scan<'a>, text: &'a str) -> Result<Self, NoJson> {
        let (mut call, mut has_function) = (Self::default(), false);
        let start = scan.at();
        scan.object(|scan, name| match &*name {
            "id" => first(&mut call.id, scan),
            "function" if !std::mem::replace(&mut has_function, true) => {
                call.arguments = arguments(scan)?;
                Ok(())
            }
            _ => scan.value().map(drop),
        })?;
        call.text = &text[start..scan.at()];
        Ok(call)
    }
}

/// The objects in the list that is scanned next.
fn calls<'a>(scan: &mut Scan<'a>, text: &'a str) -> Result<Vec<Call<'a>>, NoJson> {
    let mut calls = Vec::new();
    if scan.peek() != Some(b'[') {
        scan.value()?;
        return Ok(calls);
    }
    let mut count = 0;
    scan.list(|scan| {
        count += 1;
        match scan.peek() {
            Some(b'{') if count <= READ => calls.push(Call::scan(scan, text)?),
            _ => drop(scan.value()?),
        }
        Ok(())
    })?;
    Ok(calls)
}

/// The arguments in the function that is scanned next.
fn arguments<'a>(scan: &mut Scan<'a>) -> Result<Option<&'a str>, NoJson> {
    let mut arguments = None;
    if scan.peek() != Some(b'{') {
        scan.value()?;
        return Ok(arguments);
    }
    scan.object(|scan, name| match &*name {
        "arguments" => first(&mut arguments, scan),
        _ => scan.value().map(drop),
    })?;
    Ok(arguments)
}

/// Scans a value, and takes it for that of a member that has none yet.
fn first<'a>(member: &mut Option<&'a str>, scan: &mut Scan<'a>) -> Result<(), NoJson> {
    let value = scan.value()?;
    member.get_or_insert(value);
    Ok(())
}
