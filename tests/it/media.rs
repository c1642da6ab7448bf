//! Images and recordings of tool results: shown to models that take them, and notes for the rest.

use mcp_layer::registry::ModelAlias;
use mcp_layer::{McpLayer, MediaPatterns, Project, Streaming};
use serde_json::{Value, json};

use crate::support::{
    events::raw_stream,
    evil::Evil,
    framework::{results, strict, turn},
    gallery::{
        Form, PNG, WAVE, audio, gallery, image, image_part, large, of, roles, show, shown, text,
    },
    gateway::{Gateway, auto, chat},
    model::{Answer, json_answer},
    traces::Traces,
};

fn execute(layer: McpLayer) -> McpLayer {
    layer.with_streaming(Streaming::Execute)
}

/// A request for this model, whole or streamed.
fn asking(model: &str, stream: bool) -> Value {
    auto(json!({"model": model, "stream": stream}))
}

/// What a service says that takes no images.
fn refuses(status: u16) -> Answer {
    let error = json!({"message": "this model does not support image input", "code": status});
    json_answer(status, &json!({"error": error}))
}

/// The model calls `s__see`, and then says `done`.
fn sees(stream: bool) -> [Answer; 2] {
    [
        turn(stream, "", &[show("s__see")]),
        turn(stream, "done", &[]),
    ]
}

#[tokio::test]
async fn images_of_a_round_are_shown_in_one_message_behind_all_its_results() {
    for stream in [false, true] {
        for form in [Form::Json, Form::Events] {
            let tools = [
                ("see", of([text("a picture"), image(PNG)])),
                ("say", of([text("no picture")])),
                ("look", of([image(PNG), image(&large(1 << 10))])),
            ];
            let calls = [show("s__see"), show("s__say"), show("s__look")];
            let script = [turn(stream, "", &calls), turn(stream, "done", &[])];
            let (gateway, _evil) = gallery(form, tools, script).await;
            let gateway = gateway.layered(execute);
            let reply = gateway.send(&asking("openai/gpt-4o", stream)).await;
            assert_eq!(reply.status, 200);
            let asked = gateway.model.asked();
            let told = results(&strict(&asked)[1]);
            let request = asked[1].json();
            assert_eq!(roles(&request), "uatttu");
            assert_eq!(told[0], "a picture\n[image/png, 72 B, not shown]");
            let [parts] = &shown(&request)[..] else {
                panic!("{request}")
            };
            let line = parts[0]["text"].as_str().unwrap();
            assert!(line.contains("not the user's words"), "{line}");
            assert!(
                line.contains("1. image/png, 72 B: of call call_0, tool s__see"),
                "{line}"
            );
            assert!(
                line.contains("3. image/png, 768 B: of call call_2, tool s__look"),
                "{line}"
            );
            let expected = [PNG, PNG, &large(1 << 10)].map(|data| image_part("image/png", data));
            assert_eq!(parts[1..], expected);
        }
    }
}

#[tokio::test]
async fn a_model_that_is_not_named_gets_notes() {
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], sees(false)).await;
    gateway.send(&asking("m", false)).await;
    let asked = gateway.model.asked();
    assert_eq!(roles(&asked[1].json()), "uat");
    assert_eq!(
        results(&strict(&asked)[1]),
        ["[image/png, 72 B, not shown]"]
    );
}

#[tokio::test]
async fn an_operator_says_which_models_take_what() {
    for (models, is_shown) in [
        (MediaPatterns::default().with_images(["m*"]), true),
        (MediaPatterns::default().with_audio(["m*"]), false),
        (
            MediaPatterns::default()
                .with_images(["m*"])
                .with_text_only(["mine"]),
            false,
        ),
        (MediaPatterns::none(), false),
    ] {
        let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], sees(false)).await;
        let gateway = gateway.layered(|layer| layer.with_media_models(models));
        gateway.send(&asking("mine", false)).await;
        let request = gateway.model.asked()[1].json();
        assert_eq!(shown(&request).len(), usize::from(is_shown), "{request}");
    }
}

#[tokio::test]
async fn an_operator_names_models_by_their_aliases_too() {
    for (models, model, is_shown) in [
        (MediaPatterns::none().with_images(["seer"]), "m", true),
        (MediaPatterns::none().with_images(["m"]), "m", true),
        (MediaPatterns::default(), "m", false),
        (MediaPatterns::default(), "gpt-4o", true),
        (
            MediaPatterns::default().with_text_only(["seer"]),
            "gpt-4o",
            false,
        ),
    ] {
        let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], sees(false)).await;
        let alias = ModelAlias::new("seer", model, ["s".parse().unwrap()]);
        let gateway = gateway.layered(|layer| {
            let layer = layer.with_model_aliases([alias]).unwrap();
            layer.with_media_models(models)
        });
        gateway
            .send(&json!({"model": "seer", "messages": [{"role": "user", "content": "hi"}]}))
            .await;
        let request = gateway.model.asked()[1].json();
        assert_eq!(shown(&request).len(), usize::from(is_shown), "{request}");
    }
}

#[tokio::test]
async fn recordings_are_shown_to_models_that_take_them_and_images_to_those() {
    let result = || {
        of([
            audio(WAVE, "audio/x-wav"),
            image(PNG),
            audio("SUQzBAAA", "audio/mpeg"),
        ])
    };
    for (model, kinds) in [
        ("gpt-4o-audio-preview", "text input_audio input_audio"),
        ("gpt-4o", "text image_url"),
        ("gemini-2.5-flash", "text input_audio image_url input_audio"),
    ] {
        let (gateway, _evil) = gallery(Form::Json, [("see", result())], sees(false)).await;
        gateway.send(&asking(model, false)).await;
        let request = gateway.model.asked()[1].json();
        let parts = &shown(&request)[0];
        let found: Vec<_> = parts
            .iter()
            .map(|part| part["type"].as_str().unwrap())
            .collect();
        assert_eq!(found.join(" "), kinds);
        let recordings = parts.iter().filter_map(|part| part.get("input_audio"));
        let expected = [
            json!({"data": WAVE, "format": "wav"}),
            json!({"data": "SUQzBAAA", "format": "mp3"}),
        ];
        assert!(
            recordings
                .zip(&expected)
                .all(|(found, expected)| found == expected)
        );
    }
}

#[tokio::test]
async fn an_image_in_an_embedded_resource_and_in_a_failure_is_shown() {
    let resource = |mime: &str, blob: &str| json!({"type": "resource", "resource": {"uri": "file:///a", "mimeType": mime, "blob": blob}});
    let mut failed = of([text("it broke"), image(PNG)]);
    failed["isError"] = json!(true);
    for (result, text, parts) in [
        (
            of([resource("image/png", PNG)]),
            "file:///a\n[image/png, 72 B, not shown]",
            vec![image_part("image/png", PNG)],
        ),
        (
            of([resource("application/pdf", "JVBERi0xLjcK")]),
            "file:///a\n[application/pdf, 9 B, not shown]",
            vec![],
        ),
        (
            failed,
            "Error: it broke\n[image/png, 72 B, not shown]",
            vec![image_part("image/png", PNG)],
        ),
    ] {
        let (gateway, _evil) = gallery(Form::Json, [("see", result)], sees(false)).await;
        gateway.send(&asking("gpt-4o", false)).await;
        let asked = gateway.model.asked();
        assert_eq!(results(&strict(&asked)[1])[0], text);
        let shown = shown(&asked[1].json());
        assert_eq!(shown.first().map_or(&[][..], |parts| &parts[1..]), parts);
    }
}

/// A gateway whose tools `see` and `look` each give an image of its own.
async fn two_images(script: impl IntoIterator<Item = Answer>) -> (Gateway, Evil) {
    let tools = [
        ("see", of([text("a picture"), image(PNG)])),
        ("look", of([image(&large(1 << 10))])),
    ];
    let (gateway, evil) = gallery(Form::Json, tools, script).await;
    (gateway.layered(execute), evil)
}

/// The model calls this tool, its service refuses the result so, and the model says `done` without.
fn refused(stream: bool, tool: &'static str, refusal: Answer) -> [Answer; 3] {
    let [called, done] = [&[show(tool)][..], &[]].map(|calls| turn(stream, "", calls));
    [called, refusal, done]
}

/// The roles of all requests to the model.
fn all_roles(gateway: &Gateway) -> Vec<String> {
    let asked = gateway.model.asked();
    asked.iter().map(|asked| roles(&asked.json())).collect()
}

#[tokio::test]
async fn a_service_that_refuses_an_image_is_asked_once_more_with_notes_and_after_another_for_an_hour()
 {
    for stream in [false, true] {
        for status in [400, 403, 404, 415, 422] {
            let [first, second] = ["s__see", "s__look"];
            let first = refused(stream, first, refuses(status));
            let second = refused(stream, second, refuses(status));
            let script = first.into_iter().chain(second).chain(sees(stream));
            let (gateway, _evil) = two_images(script).await;
            for _ in 0..3 {
                let reply = gateway.send(&asking("gpt-4o", stream)).await;
                assert_eq!(reply.status, 200, "{status}");
            }
            let expected = ["u", "uatu", "uat", "u", "uatu", "uat", "u", "uat"];
            assert_eq!(all_roles(&gateway), expected, "{status}");
            let told = results(&strict(&gateway.model.asked())[2]);
            assert!(told[0].contains("image/png, 72 B, not shown"));
        }
    }
}

#[tokio::test]
async fn an_image_that_is_refused_again_and_again_costs_a_model_no_others() {
    let again = (0..4).flat_map(|_| refused(false, "s__see", refuses(400)));
    let script = again.chain([
        turn(false, "", &[show("s__look")]),
        turn(false, "done", &[]),
    ]);
    let (gateway, _evil) = two_images(script).await;
    for _ in 0..5 {
        gateway.send(&asking("gpt-4o", false)).await;
    }
    assert_eq!(all_roles(&gateway)[12..], ["u", "uatu"]);
}

#[tokio::test]
async fn what_is_refused_to_a_project_is_shown_to_others() {
    let script = ["s__see", "s__look"].map(|tool| refused(false, tool, refuses(400)));
    let script = script.into_iter().flatten();
    let script = script.chain(sees(false)).chain(sees(false));
    let (gateway, _evil) = two_images(script).await;
    for project in ["web", "web", "batch", "web"] {
        let mut request = chat(asking("gpt-4o", false).to_string());
        request.extensions_mut().insert(Project::new(project));
        gateway.request(request).await;
    }
    assert_eq!(all_roles(&gateway)[6..], ["u", "uatu", "u", "uat"]);
}

#[tokio::test]
async fn a_turn_that_is_too_long_says_nothing_of_what_a_model_takes() {
    let code = "context_length_exceeded";
    let too_long =
        || json!({"error": {"message": "maximum context length exceeded", "code": code}});
    for (status, error) in [
        (400, too_long()),
        (413, json!({"error": {"message": "too large"}})),
    ] {
        let refusal = || json_answer(status, &error);
        let script = ["s__see", "s__look"].map(|tool| refused(false, tool, refusal()));
        let script = script.into_iter().flatten().chain(sees(false));
        let (gateway, _evil) = two_images(script).await;
        for _ in 0..3 {
            let reply = gateway.send(&asking("gpt-4o", false)).await;
            assert_eq!(reply.status, 200, "{status}");
        }
        assert_eq!(all_roles(&gateway)[6..], ["u", "uatu"], "{status}");
    }
}

#[tokio::test]
async fn what_is_not_about_the_messages_costs_no_images() {
    for status in [401, 402] {
        let [first, _] = sees(false);
        let script = [first, refuses(status)];
        let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
        let reply = gateway.send(&asking("gpt-4o", false)).await;
        assert_eq!(reply.status, status);
        assert_eq!(gateway.model.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_service_that_refuses_the_turn_either_way_is_asked_no_third_time() {
    let [first, _] = sees(false);
    let script = [first, refuses(400), refuses(422)];
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
    let reply = gateway.send(&asking("gpt-4o", false)).await;
    assert_eq!(reply.json()["error"]["upstream_status"], 422);
    assert_eq!(gateway.model.asked().len(), 3);
}

#[tokio::test]
async fn one_bad_image_does_not_cost_a_model_all_others() {
    let script = [sees(false), sees(false), sees(false)];
    let mut script: Vec<_> = script.into_iter().flatten().collect();
    script.insert(3, refuses(400));
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
    for _ in 0..3 {
        gateway.send(&asking("gpt-4o", false)).await;
    }
    let expected = ["u", "uatu", "u", "uatu", "uat", "u", "uatu"];
    assert_eq!(all_roles(&gateway), expected);
}

#[tokio::test]
async fn an_error_with_status_200_shows_nothing_of_what_a_service_takes() {
    for stream in [false, true] {
        let [first, _] = sees(stream);
        let error = json!({"error": {"message": "overloaded", "code": 503}});
        let failed = match stream {
            true => raw_stream(format!("data: {error}\n\n")),
            false => json_answer(200, &error),
        };
        let script = ["s__see", "s__look"].map(|tool| refused(stream, tool, refuses(400)));
        let script = [first, failed]
            .into_iter()
            .chain(script.into_iter().flatten());
        let (gateway, _evil) = two_images(script.chain(sees(stream))).await;
        let gateway = gateway.layered(|layer| layer.with_turn_retries(0).without_exchanges());
        for _ in 0..4 {
            gateway.send(&asking("gpt-4o", stream)).await;
        }
        let expected = [
            "u", "uatu", "u", "uatu", "uat", "u", "uatu", "uat", "u", "uat",
        ];
        assert_eq!(all_roles(&gateway), expected);
    }
}

#[tokio::test]
async fn a_rejected_member_goes_before_the_images_do() {
    let [first, last] = sees(false);
    let message = "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.";
    let error = json!({"message": message, "param": "parallel_tool_calls"});
    let script = [first, json_answer(400, &json!({"error": error})), last];
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
    let mut request = asking("gpt-4o", false);
    request["parallel_tool_calls"] = json!(true);
    gateway.send(&request).await;
    let last = gateway.model.asked()[2].json();
    assert_eq!(
        (roles(&last), last.get("parallel_tool_calls")),
        ("uatu".to_owned(), None)
    );
}

#[tokio::test]
async fn images_stay_in_the_later_turns_of_a_request() {
    let script = [
        turn(false, "", &[show("s__see")]),
        turn(false, "", &[show("s__see")]),
        turn(false, "done", &[]),
    ];
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
    gateway.send(&asking("gpt-4o", false)).await;
    let asked = crate::support::framework::grows(&gateway.model.asked());
    assert_eq!(asked[2].len(), 7);
}

#[tokio::test]
async fn a_caller_who_runs_one_turn_through_is_shown_its_images_too() {
    let script = [turn(false, "done", &[])];
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], script).await;
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "s__see", "arguments": "{}"}});
    let messages = json!([{"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]}]);
    let mut request = asking("gpt-4o", false);
    request["messages"] = messages;
    request["mcp"] = json!({"enabled": true, "servers": ["s"], "resume_tool_calls": true});
    gateway.send(&request).await;
    assert_eq!(roles(&gateway.model.asked()[0].json()), "uatu");
}

#[tokio::test]
async fn a_record_of_an_exchange_has_no_images() {
    let (gateway, _evil) = gallery(Form::Json, [("see", of([image(PNG)]))], sees(false)).await;
    let (gateway, traces): (Gateway, _) = Traces::with(gateway, |layer| {
        layer.with_trace_payloads(mcp_layer::trace::Payloads::Full)
    });
    gateway.send(&asking("gpt-4o", false)).await;
    let trace = format!("{:?}", traces.one());
    assert!(
        trace.contains("not shown") && !trace.contains(&PNG[..40]),
        "{trace}"
    );
}
