//! Answers of models and providers that are not as OpenAI's reference has them, whole and streamed:
//! what runs, what goes back, and what the caller gets. Each row is a report of somebody.

use serde_json::{Value, json};

use crate::{
    streamed_faults::done,
    streamed_loop::{gateway, send, streamed},
    support::{
        events::{Assembled, chunk, finish, streams, usage},
        gateway::{Gateway, auto},
        model::{Answer, json_answer, says},
    },
};
use mcp_layer::OwnTools;

/// An odd message of a model, and what becomes of it.
struct Odd {
    /// What is odd, and who reported it.
    what: &'static str,
    message: Value,
    reason: &'static str,
    /// The calls as they go back to the provider; an id that is made up is `*`.
    sent: Value,
    /// The beginnings of the results.
    results: &'static [&'static str],
    /// The number of calls that the server has had.
    ran: usize,
}

const NOTHING: &str = "Error: it did not work";
const NO_JSON: &str = "Error: the arguments are not valid JSON";
const NO_OBJECT: &str = "Error: the arguments are not a JSON object";
const CUT: &str = "Error: not run: the answer was cut short";
const HI: &str = r#"{"text":"hi"}"#;

fn called(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn calling(calls: &Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

/// A call of `s__echo` with these arguments, which go back as those.
fn arguments(what: &'static str, said: Value, sent: &str, result: &'static [&'static str]) -> Odd {
    let mut call = called("a", "s__echo", "");
    call["function"]["arguments"] = said;
    let ran = usize::from(!result[0].starts_with("Error: "));
    let sent = json!([called("a", "s__echo", sent)]);
    odd(what, calling(&json!([call])), sent, result, ran)
}

fn odd(
    what: &'static str,
    message: Value,
    sent: Value,
    results: &'static [&'static str],
    ran: usize,
) -> Odd {
    let reason = "tool_calls";
    Odd {
        what,
        message,
        reason,
        sent,
        results,
        ran,
    }
}

fn without(mut call: Value, path: &str, member: &str) -> Value {
    let object = call.pointer_mut(path).unwrap().as_object_mut();
    object.unwrap().remove(member);
    call
}

fn with(mut call: Value, path: &str, value: Value) -> Value {
    let (parent, member) = path.rsplit_once('/').unwrap();
    call.pointer_mut(parent).unwrap()[member] = value;
    call
}

fn table() -> Vec<Odd> {
    let mut rows = misspelt_arguments();
    rows.extend(misshapen_calls());
    rows.extend(cut_short());
    rows
}

fn misspelt_arguments() -> Vec<Odd> {
    let fail = called("a", "s__fail", "");
    let nothing = |what, call: Value| {
        let sent = json!([called("a", "s__fail", "{}")]);
        odd(what, calling(&json!([call])), sent, &[NOTHING], 1)
    };
    let in_a_string = format!("{}", json!(HI));
    vec![
        nothing("empty text (openai/openai-agents-js#664)", fail.clone()),
        nothing(
            "the text null (AIDotNet/OpenDeepWiki#392)",
            with(fail.clone(), "/function/arguments", json!("null")),
        ),
        nothing(
            "null (langchain-ai/langchain#34242)",
            with(fail.clone(), "/function/arguments", Value::Null),
        ),
        nothing(
            "absent (vllm-project/vllm#19419)",
            without(fail, "/function", "arguments"),
        ),
        arguments(
            "encoded twice (vllm-project/vllm#54964)",
            json!(in_a_string),
            HI,
            &["hi"],
        ),
        arguments(
            "an object, not a text (ggml-org/llama.cpp#20198)",
            json!({"text": "hi"}),
            HI,
            &["hi"],
        ),
        arguments(
            "a code fence (earendil-works/pi#8858)",
            json!(format!("```json\n{HI}\n```")),
            &format!("\n{HI}\n"),
            &["hi"],
        ),
        arguments(
            "behind {} (microsoft/autogen#7549)",
            json!(format!("{{}}{HI}")),
            HI,
            &["hi"],
        ),
        arguments(
            "said twice (64bit/async-openai#329)",
            json!(format!("{HI}{HI}")),
            HI,
            &["hi"],
        ),
        arguments(
            "a line break in a string (rhesis-ai/rhesis#2488)",
            json!("{\"text\":\"h\ni\"}"),
            r#"{"text":"h\u000ai"}"#,
            &["h\ni"],
        ),
        arguments(
            "an escape between values (OpenHands/software-agent-sdk#2488)",
            json!(r#"{"text": \n"hi"}"#),
            r#"{"text":  "hi"}"#,
            &["hi"],
        ),
        arguments(
            "several objects (BerriAI/litellm#40582)",
            json!(r#"{"text":"a"}{"text":"b"}"#),
            "{}",
            &[NO_JSON],
        ),
        arguments(
            "words behind (NousResearch/hermes-agent#79333)",
            json!(format!("{HI} as you wish")),
            "{}",
            &[NO_JSON],
        ),
        arguments(
            "Python (waybarrios/vllm-mlx#63)",
            json!("{'text': None}"),
            "{}",
            &[NO_JSON],
        ),
        arguments(
            "a list (vllm-project/vllm#50861)",
            json!("[]"),
            "{}",
            &[NO_OBJECT],
        ),
        arguments("a number", json!(7), "{}", &[NO_OBJECT]),
    ]
}

fn misshapen_calls() -> Vec<Odd> {
    let hi = || called("a", "s__echo", HI);
    let ho = |id: &str| called(id, "s__echo", r#"{"text":"ho"}"#);
    let one = || json!([hi()]);
    let made_up = json!([called("*", "s__echo", HI)]);
    const MISSING: &str = "Error: there is no tool named";
    vec![
        odd(
            "no type (langchain-ai/langchain-azure#35)",
            calling(&json!([without(hi(), "", "type")])),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "another type",
            calling(&json!([with(hi(), "/type", json!("function_call"))])),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "no content (langchain4j/langchain4j#540)",
            without(calling(&one()), "", "content"),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "no role",
            without(calling(&one()), "", "role"),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "no id (BerriAI/litellm#11407)",
            calling(&json!([without(hi(), "", "id")])),
            made_up.clone(),
            &["hi"],
            1,
        ),
        odd(
            "an id that is a number",
            calling(&json!([with(hi(), "/id", json!(7))])),
            made_up,
            &["hi"],
            1,
        ),
        odd(
            "one id for two calls (HKUDS/nanobot#4059)",
            calling(&json!([hi(), ho("a")])),
            json!([hi(), ho("*")]),
            &["hi", "ho"],
            2,
        ),
        odd(
            "one id for two calls that are alike (HKUDS/nanobot#3943)",
            calling(&json!([hi(), hi()])),
            json!([hi(), called("*", "s__echo", HI)]),
            &["hi", "hi"],
            2,
        ),
        odd(
            "a blank before the name (code-yeongyu/oh-my-openagent#1568)",
            calling(&json!([called("a", " s__echo", HI)])),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "a namespace before the name (tontinton/maki#518)",
            calling(&json!([called("a", "functions.s__echo", HI)])),
            one(),
            &["hi"],
            1,
        ),
        odd(
            "a name that no provider takes back (anomalyco/opencode#48750)",
            calling(&json!([called("a", "browser.tabs.open", "{}")])),
            json!([called("a", "browser_tabs_open", "{}")]),
            &[MISSING],
            0,
        ),
        odd(
            "no name (mastra-ai/mastra#13632)",
            calling(&json!([called("a", "", "{}")])),
            json!([called("a", "_", "{}")]),
            &[MISSING],
            0,
        ),
        odd(
            "the old form (run-llama/llama_index#18313)",
            json!({"role": "assistant", "content": null, "function_call": {"name": "s__echo", "arguments": HI}}),
            json!([called("*", "s__echo", HI)]),
            &["hi"],
            1,
        ),
        odd(
            "null among the calls",
            calling(&json!([null, hi()])),
            one(),
            &["hi"],
            1,
        ),
    ]
}

fn cut_short() -> Vec<Odd> {
    let half = |reason: &'static str, what: &'static str, arguments: Value| {
        let call = with(called("a", "s__fail", ""), "/function/arguments", arguments);
        let sent = json!([called("a", "s__fail", "{}")]);
        let mut odd = odd(what, calling(&json!([call])), sent, &[CUT], 0);
        odd.reason = reason;
        odd
    };
    let two = json!([
        called("a", "s__echo", HI),
        called("b", "s__echo", r#"{"te"#)
    ]);
    let mut first_whole = odd(
        "the second is half of one",
        calling(&two),
        json!([called("a", "s__echo", HI), called("b", "s__echo", "{}")]),
        &["hi", CUT],
        1,
    );
    first_whole.reason = "length";
    vec![
        half(
            "length",
            "nothing yet (2389-research/tracker#507)",
            json!(""),
        ),
        half("length", "null yet", json!("null")),
        half("length", "half an object", json!("{\"a\":")),
        half("content_filter", "nothing yet", json!("")),
        half(
            "max_tokens",
            "by another name (nearai/ironclaw#5665)",
            json!(""),
        ),
        half("length", "something odd", json!("{}{}")),
        half(
            "insufficient_system_resource",
            "DeepSeek's word for a turn that broke off",
            json!(""),
        ),
        half("model_length", "Mistral's", json!("null")),
        half("error", "OpenRouter's and Mistral's", json!("")),
        half("abort", "SGLang's", json!("{}{\"a\":1}")),
        first_whole,
    ]
}

/// The answer as a whole one.
fn whole(odd: &Odd) -> Answer {
    let choice = json!({"index": 0, "message": odd.message, "finish_reason": odd.reason});
    json_answer(200, &json!({"id": "x", "model": "m", "choices": [choice]}))
}

/// The same as a stream.
fn stream(odd: &Odd) -> Answer {
    let mut delta = odd.message.clone();
    let calls = delta["tool_calls"].as_array_mut();
    for (index, call) in calls.into_iter().flatten().enumerate() {
        if call.is_object() {
            call["index"] = index.into();
        }
    }
    streams(&[chunk(delta), finish(odd.reason), usage(1, 1)])
}

/// The messages that went back, with `*` for ids that were made up.
fn sent(gateway: &Gateway) -> Vec<Value> {
    let messages = gateway.model.asked()[1].json()["messages"].take();
    let mut messages = messages.as_array().unwrap()[1..].to_vec();
    let is_made_up = |id: &Value| id.as_str().is_some_and(|id| id.len() > 20);
    for message in &mut messages {
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        let calls = calls.into_iter().flatten();
        for id in calls
            .map(|call| &mut call["id"])
            .filter(|id| is_made_up(id))
        {
            *id = "*".into();
        }
        if is_made_up(&message["tool_call_id"]) {
            message["tool_call_id"] = "*".into();
        }
    }
    messages
}

fn check(odd: &Odd, gateway: &Gateway) -> Vec<Value> {
    let what = odd.what;
    assert_eq!(gateway.server.calls(), odd.ran, "{what}");
    let messages = sent(gateway);
    let [assistant, answers @ ..] = &messages[..] else {
        panic!("{what}")
    };
    assert_eq!(assistant["role"], "assistant", "{what}");
    assert!(assistant.get("content").is_some(), "{what}");
    assert!(assistant.get("function_call").is_none(), "{what}");
    assert_eq!(assistant["tool_calls"], odd.sent, "{what}");
    assert_eq!(answers.len(), odd.results.len(), "{what}");
    for (index, (answer, result)) in answers.iter().zip(odd.results).enumerate() {
        let call = &odd.sent[index];
        assert_eq!(answer["tool_call_id"], call["id"], "{what}");
        assert_eq!(answer["name"], call["function"]["name"], "{what}");
        let content = answer["content"].as_str().unwrap();
        assert!(content.starts_with(result), "{what}: {content}");
    }
    messages
}

#[tokio::test]
async fn an_odd_turn_is_executed_alike_whole_and_streamed_and_goes_back_as_every_provider_takes_it()
{
    for odd in table() {
        let answers = Gateway::new([whole(&odd), says("done")]).await;
        let reply = answers.send(&auto(json!({}))).await;
        assert_eq!(
            reply.json()["choices"][0]["message"]["content"],
            "done",
            "{}",
            odd.what
        );
        let messages = check(&odd, &answers);

        let streams = gateway([stream(&odd), done()]).await;
        let told = send(&streams, &streamed(json!({}))).await;
        assert_eq!(
            (&*told.content, told.errors.len()),
            ("done", 0),
            "{}",
            odd.what
        );
        let mut same = check(&odd, &streams);
        // A stream has always a role and a content.
        same[0]["content"] = messages[0]["content"].clone();
        assert_eq!(same, messages, "{}", odd.what);

        // A whole answer that is told as a stream.
        let both = gateway([whole(&odd), done()]).await;
        send(&both, &streamed(json!({}))).await;
        assert_eq!(check(&odd, &both), same, "{}", odd.what);
    }
}

/// A request with a tool of the caller's own.
fn own() -> Value {
    json!({"tools": [{"type": "function", "function": {"name": "own"}}]})
}

async fn handed_back(odd: &Odd) -> (Value, Assembled) {
    let answers = Gateway::new([whole(odd)]).await;
    let reply = answers.send(&auto(own())).await.json();
    let streams = gateway([stream(odd)]).await;
    (reply, send(&streams, &streamed(own())).await)
}

#[tokio::test]
async fn an_odd_turn_is_handed_back_repaired_and_what_nobody_can_read_as_it_came() {
    let own = |arguments: Value| {
        let call = with(called("a", "own", ""), "/function/arguments", arguments);
        without(call, "", "type")
    };
    for (arguments, told) in [
        (json!(""), "{}"),
        (json!({"text": "hi"}), HI),
        (json!(format!("{{}}{HI}")), HI),
        (json!(r#"{"a":1}{"b":2}"#), r#"{"a":1}{"b":2}"#),
        (json!("{'a': None}"), "{'a': None}"),
    ] {
        let message = without(calling(&json!([own(arguments)])), "", "content");
        let (whole, streamed) = handed_back(&odd("", message, Value::Null, &[], 0)).await;
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(choice["message"]["content"], Value::Null);
        assert!(choice["message"].get("content").is_some());
        assert_eq!(
            choice["message"]["tool_calls"],
            json!([called("a", "own", told)])
        );
        assert_eq!(streamed.finish_reasons, ["tool_calls"]);
        assert_eq!(
            streamed.calls,
            [without(called("a", "own", told), "", "type")]
        );
        assert_eq!(
            streamed.with("tool_calls")["tool_calls"][0]["type"],
            "function"
        );
    }
}

#[tokio::test]
async fn a_turn_that_was_cut_short_does_not_look_whole_when_it_is_handed_back() {
    for arguments in ["", r#"{"a":"#] {
        let message = calling(&json!([called("a", "own", arguments)]));
        let mut odd = odd("", message, Value::Null, &[], 0);
        odd.reason = "length";
        let (whole, streamed) = handed_back(&odd).await;
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(
            choice["message"]["tool_calls"][0]["function"]["arguments"],
            arguments
        );
        assert_eq!(streamed.finish_reasons, ["length"]);
        assert_eq!(streamed.calls[0]["function"]["arguments"], arguments);
    }
    let mut whole = odd(
        "",
        calling(&json!([called("a", "own", "{}")])),
        Value::Null,
        &[],
        0,
    );
    whole.reason = "length";
    let (answer, streamed) = handed_back(&whole).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(streamed.finish_reasons, ["tool_calls"]);
}

#[tokio::test]
async fn an_executed_turn_is_in_the_receipt_as_it_went_back() {
    let broken = calling(&json!([called("a", "s__echo", "{'a'")]));
    let broken = odd("", broken, Value::Null, &[], 0);
    let mixed = calling(&json!([called("b", "own", "{}")]));
    let mixed = odd("", mixed, Value::Null, &[], 0);
    let gateway = Gateway::new([whole(&broken), whole(&mixed)]).await;
    let gateway = gateway.layered(|layer| layer.with_own_tools(OwnTools::Whole));
    let receipt = gateway.send(&auto(own())).await.receipt();
    assert_eq!(
        receipt["messages"].as_array().unwrap()[..],
        sent(&gateway)[..]
    );
    assert_eq!(
        receipt["messages"][0]["tool_calls"],
        json!([called("a", "s__echo", "{}")])
    );
}

#[tokio::test]
async fn text_and_calls_in_several_choices_are_one_turn() {
    // HKUDS/nanobot#1555, zeroclaw-labs/zeroclaw#2136
    let text = json!({"role": "assistant", "content": "Let me see."});
    let hi = json!([called("a", "s__echo", HI)]);
    let ho = json!([called("b", "s__echo", r#"{"text":"ho"}"#)]);
    let choice = |index: usize, message: &Value, reason: &str| json!({"index": index, "message": message, "finish_reason": reason});
    let thought =
        json!({"role": "assistant", "content": null, "tool_calls": hi, "reasoning_opaque": "x"});
    let more = json!({"role": "assistant", "tool_calls": ho});
    for choices in [
        json!([
            choice(0, &text, "stop"),
            choice(1, &thought, "tool_calls"),
            choice(2, &more, "tool_calls")
        ]),
        json!([
            choice(0, &thought, "tool_calls"),
            choice(1, &more, "tool_calls"),
            choice(2, &text, "stop")
        ]),
    ] {
        let answer = json_answer(200, &json!({"id": "x", "choices": choices}));
        let whole = Gateway::new([answer, says("done")]).await;
        whole.send(&auto(json!({}))).await;
        let messages = sent(&whole);
        assert_eq!(messages[0]["content"], "Let me see.");
        assert_eq!(messages[0]["reasoning_opaque"], "x");
        let calls = json!([hi[0], ho[0]]);
        assert_eq!(messages[0]["tool_calls"], calls);
        assert_eq!(
            (&messages[1]["content"], &messages[2]["content"]),
            (&json!("hi"), &json!("ho"))
        );

        let delta = |choice: &Value| {
            let mut chunk = chunk(choice["message"].clone());
            chunk["choices"][0]["index"] = choice["index"].clone();
            let calls = chunk["choices"][0]["delta"]["tool_calls"].as_array_mut();
            for call in calls.into_iter().flatten() {
                call["index"] = 0.into();
            }
            chunk
        };
        let mut chunks: Vec<_> = choices.as_array().unwrap().iter().map(delta).collect();
        let mut together = chunks[0].clone();
        together["choices"] = chunks
            .iter()
            .map(|chunk| chunk["choices"][0].clone())
            .collect();
        chunks.push(finish("tool_calls"));
        for chunks in [chunks, vec![together, finish("tool_calls")]] {
            let streams = gateway([streams(&chunks), done()]).await;
            let told = send(&streams, &streamed(json!({}))).await;
            assert_eq!(told.content, "Let me see.done");
            let indices = told
                .chunks
                .iter()
                .map(|chunk| chunk["choices"][0]["index"].clone());
            assert!(
                indices
                    .into_iter()
                    .all(|index| index == 0 || index.is_null())
            );
            assert_eq!(sent(&streams)[0]["tool_calls"], calls);
            assert_eq!(sent(&streams)[1..], messages[1..]);
        }
    }
}

#[tokio::test]
async fn several_choices_are_handed_back_as_one() {
    let text = json!({"role": "assistant", "content": "Both."});
    let calls = calling(&json!([called("a", "own", "{}")]));
    let choices = json!([
        {"index": 0, "message": text, "finish_reason": "stop"},
        {"index": 1, "message": calls, "finish_reason": "tool_calls"}
    ]);
    let gateway = Gateway::new([json_answer(200, &json!({"id": "x", "choices": choices}))]).await;
    let reply = gateway.send(&auto(own())).await.json();
    assert_eq!(
        reply["choices"],
        json!([{"index": 0, "finish_reason": "tool_calls", "message":
            {"role": "assistant", "content": "Both.", "tool_calls": [called("a", "own", "{}")]}}])
    );
}

#[tokio::test]
async fn what_was_asked_for_is_not_odd() {
    // Several choices for `n`, and a call in the old form for `functions`.
    let message = calling(&json!([called("a", "own", "{}")]));
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let answer = json!({"id": "x", "choices": [choice, choice]});
    let answers = Gateway::new([json_answer(200, &answer)]).await;
    let open = calling(&json!([called("b", "s__echo", HI)]));
    let mut request = auto(json!({"n": 2, "messages": [{"role": "user", "content": "hi"}, open]}));
    request["mcp"]["auto_execute_tools"] = false.into();
    request["mcp"]["resume_tool_calls"] = true.into();
    let reply = answers.send(&request).await.json();
    assert_eq!(reply["choices"], answer["choices"]);

    let message = json!({"role": "assistant", "content": null, "function_call": {"name": "own", "arguments": ""}});
    let old = Odd {
        reason: "function_call",
        ..odd("", message.clone(), Value::Null, &[], 0)
    };
    let functions = json!({"functions": [{"name": "own"}]});
    let answers = Gateway::new([whole(&old)]).await;
    let reply = answers.send(&auto(functions.clone())).await.json();
    assert_eq!(reply["choices"][0]["message"], message);
    assert_eq!(reply["choices"][0]["finish_reason"], "function_call");
    let streams = gateway([stream(&old)]).await;
    let told = send(&streams, &streamed(functions)).await;
    assert_eq!(
        told.with("function_call")["function_call"],
        message["function_call"]
    );
    assert_eq!(told.finish_reasons, ["function_call"]);
}
