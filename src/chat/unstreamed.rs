//! A whole completion from an answer that came as a stream, or with the end of one, though nobody
//! asked for that (sgl-project/mini-sglang#51, unslothai/unsloth#6570, open-webui/computer#193).

use bytes::Bytes;

use super::{
    completion::Completion,
    turn::Asked,
    turn_reader::{StreamEvent, StreamReader},
};
use crate::{
    chat::Chunk,
    json::{Object, quoted},
};

/// The line that ends a stream.
const END: &str = "data: [DONE]";

/// Returns `true` if `body` begins as a stream of events does, whatever its head says
/// (nearai/private-ml-sdk#20, danielmiessler/Fabric#2128).
fn looks_streamed(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let body = body.trim_ascii_start();
    [&b"data:"[..], b"event:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| body.starts_with(field))
}

impl Completion {
    /// Reads the answer that `body` streams; `None` if it is no whole one.
    ///
    /// Of a chunk it keeps what all chunks share and what their deltas say.
    pub(crate) fn of_stream(body: &Bytes, asked: Asked) -> Option<Self> {
        if !looks_streamed(body) {
            return Self::before_end(body, asked);
        }
        let mut reader = StreamReader::answering(body.len(), asked);
        let mut has_finish = false;
        // The last event may lack its blank line.
        for mut data in [body.clone(), Bytes::from_static(b"\n\n")] {
            while let Some(event) = reader.next(&mut data).ok()? {
                let StreamEvent::Chunk(text) = event else {
                    return None;
                };
                match Chunk::parse(&text) {
                    Some(chunk) if chunk.is_error() => return None,
                    Some(chunk) => {
                        reader.add(&chunk);
                        has_finish |= chunk.is_finish();
                    }
                    None => {}
                }
            }
        }
        let is_whole = has_finish || reader.is_over();
        let completion = whole(&mut reader).filter(|_| is_whole);
        Self::parse(&completion?.into())
    }

    /// Reads a whole completion that only the end of a stream follows (decolua/9router#3492).
    fn before_end(body: &Bytes, asked: Asked) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let whole = text.trim_end().strip_suffix(END)?;
        Self::answering(&body.slice(..whole.len()), asked)
    }
}

/// The completion that a reader has read.
fn whole(reader: &mut StreamReader) -> Option<String> {
    let turn = reader.finish();
    let message = String::from_utf8(turn.message?.to_vec()).ok()?;
    let finish_reason = turn.finish_reason.as_deref();
    let finish_reason = finish_reason.map_or_else(|| "null".to_owned(), quoted);
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":{finish_reason}}}"#);
    let usage = turn
        .usage
        .and_then(|usage| serde_json::to_string(&usage).ok());
    let members: Vec<_> = usage.iter().map(|usage| ("usage", &**usage)).collect();
    let chunk = turn.identity?.chunk(Some(&choice), &members);
    let object = Object::parse(&chunk).ok()?;
    Some(object.edited(object.set(&[("object", r#""chat.completion""#)])))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::concat;

    fn read(body: &str) -> Option<Value> {
        let completion = Completion::of_stream(&body.to_owned().into(), Asked::default())?;
        serde_json::from_slice(&concat(&completion.with(None, None))).ok()
    }

    const CHUNKS: [&str; 4] = [
        r#"{"id":"c","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"He"}}]}"#,
        r#"{"choices":[{"delta":{"content":"llo"}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"total_tokens":3}}"#,
    ];

    fn stream(chunks: &[&str], end: &str) -> String {
        let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
        events.collect::<String>() + end
    }

    #[test]
    fn a_stream_is_read_as_the_completion_that_it_would_have_been() {
        let expected = json!({
            "id": "c", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
            "usage": {"total_tokens": 3},
        });
        for end in ["data: [DONE]\n\n", "data: [DONE]", "", ": bye\n\n"] {
            assert_eq!(read(&stream(&CHUNKS, end)), Some(expected.clone()), "{end}");
            assert_eq!(
                read(&format!("\u{feff}: hi\n\n{}", stream(&CHUNKS, end))),
                Some(expected.clone())
            );
        }
    }

    #[test]
    fn a_whole_completion_before_the_end_of_a_stream_is_one() {
        let whole = r#"{"choices":[{"message":{"content":"Hello"}}]}"#;
        for end in ["data: [DONE]", "\n\ndata: [DONE]\n\n"] {
            let read = read(&format!("{whole}{end}")).unwrap();
            assert_eq!(read["choices"][0]["message"]["content"], "Hello");
        }
    }

    #[test]
    fn what_is_no_whole_stream_is_no_completion() {
        for body in [
            stream(&CHUNKS[..2], ""),
            stream(&CHUNKS[3..], "data: [DONE]\n\n"),
            stream(&CHUNKS[..2], "data: {\"error\":{}}\n\ndata: [DONE]\n\n"),
            stream(&CHUNKS, "event: error\ndata: no\n\n"),
            "data: [DONE]\n\n".to_owned(),
            "<html>data: [DONE]".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&body), None, "{body}");
        }
    }
}
