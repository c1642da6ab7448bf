//! Media that are too many, too large, or none.

use mcp_layer::{
    Limits,
    registry::{Auth, Server},
};
use serde_json::{Value, json};

use crate::support::{
    CANARY,
    framework::{results, strict, turn},
    gallery::{
        Form, PNG, audio, gallery, gallery_with, image, image_part, large, of, show, shown, text,
    },
    gateway::auto,
};

/// The text of a result, and the media that are shown, for a model that takes all.
async fn told(form: Form, result: Value) -> (String, Vec<Value>) {
    let script = [turn(false, "", &[show("s__see")]), turn(false, "done", &[])];
    let (gateway, _evil) = gallery(form, [("see", result)], script).await;
    let reply = gateway
        .send(&auto(json!({"model": "gemini-2.5-pro"})))
        .await;
    assert_eq!(reply.status, 200);
    let asked = gateway.model.asked();
    let text = results(&strict(&asked)[1]).remove(0);
    let parts = shown(&asked[1].json()).pop();
    (
        text,
        parts.map_or_else(Vec::new, |parts| parts[1..].to_vec()),
    )
}

#[tokio::test]
async fn what_is_no_image_is_a_note() {
    let svg = "PHN2Zy8+";
    let blob = |mime: &str, blob: &str| json!({"type": "resource", "resource": {"uri": "file:///a", "mimeType": mime, "blob": blob}});
    for block in [
        json!({"type": "image", "mimeType": "image/png"}),
        json!({"type": "image", "mimeType": "image/png", "data": null}),
        json!({"type": "image", "mimeType": "image/png", "data": ""}),
        json!({"type": "image", "mimeType": "image/png", "data": "not base64!"}),
        json!({"type": "image", "mimeType": "image/png", "data": "iVBOR"}),
        json!({"type": "image", "mimeType": "image/png", "data": {"a": PNG}}),
        json!({"type": "image", "mimeType": "text/html", "data": "PGh0bWw+"}),
        json!({"type": "image", "mimeType": "image/svg+xml", "data": svg}),
        json!({"type": "image", "data": svg}),
        audio("T2dnUwAC", "audio/ogg"),
        // An error page, or anything else, that its server takes for an image.
        json!({"type": "image", "mimeType": "image/png", "data": svg}),
        json!({"type": "image", "mimeType": "image/webp", "data": "PGh0bWw+"}),
        json!({"type": "image", "mimeType": "image/jpeg", "data": "JVBERi0xLjcgYWFhYWE="}),
        json!({"type": "image", "mimeType": "image/png; charset=x", "data": "aGVsbG8="}),
        json!({"type": "image", "mimeType": "IMAGE/GIF", "data": "TVoAAAAA"}),
        audio("aGVsbG8=", "audio/wav"),
        audio("aGVsbG8=", "audio/mpeg"),
        blob("image/png", svg),
        blob("audio/wav", "aGVsbG8="),
    ] {
        let (text, parts) = told(Form::Json, of([block.clone()])).await;
        assert!(text.ends_with("not shown]"), "{block}: {text}");
        assert_eq!(parts, [Value::Null; 0], "{block}");
    }
}

#[tokio::test]
async fn what_can_be_read_in_one_way_is_put_right() {
    let broken = format!("{}\r\n{}\n", &PNG[..40], &PNG[40..]);
    let for_urls = PNG.replace('+', "-").replace('/', "_");
    for (data, mime_type) in [
        (PNG, "image/png; charset=binary"),
        (PNG, "IMAGE/PNG"),
        (PNG, "image/jpeg"),
        (PNG, "image/*"),
        (PNG, "text/html"),
        (PNG, "audio/wav"),
        (&broken, "image/png"),
        (&for_urls, "image/png"),
        (PNG.trim_end_matches('='), "image/png"),
        (&format!("data:image/png;base64,{PNG}"), "image/png"),
    ] {
        let block = json!({"type": "image", "mimeType": mime_type, "data": data});
        let (_, parts) = told(Form::Json, of([block.clone()])).await;
        assert_eq!(parts, [image_part("image/png", PNG)], "{block}");
    }
}

#[tokio::test]
async fn a_round_shows_four_mib_and_the_rest_are_notes() {
    const MIB: usize = 1 << 20;
    for form in [Form::Json, Form::Events] {
        let data = large(2 * MIB - 4);
        let blocks = [image(&data), image(&data), image(&data), image(PNG)];
        // 6 MiB: more than results without media may have.
        let (text, parts) = told(form, of(blocks)).await;
        assert_eq!(text.lines().count(), 4);
        assert_eq!(parts.len(), 2, "{form:?}");
        assert_eq!(parts[0], image_part("image/png", &data));
    }
}

#[tokio::test]
async fn a_round_shows_twenty_and_the_rest_are_notes() {
    let blocks = (0..200).map(|_| image(PNG));
    let (text, parts) = told(Form::Json, of(blocks)).await;
    assert_eq!((text.lines().count(), parts.len()), (200, 20));
}

#[tokio::test]
async fn the_limits_of_a_round_are_over_all_its_calls() {
    let mut limits = Limits::default();
    limits.media_items = 3;
    let calls = [show("s__see"), show("s__see")];
    let script = [turn(false, "", &calls), turn(false, "done", &[])];
    let result = of([image(PNG), image(PNG)]);
    let (gateway, _evil) = gallery(Form::Json, [("see", result)], script).await;
    let gateway = gateway.layered(|layer| layer.with_limits(limits));
    gateway.send(&auto(json!({"model": "gpt-4o"}))).await;
    let parts = shown(&gateway.model.asked()[1].json()).remove(0);
    assert_eq!(parts.len(), 1 + 3);
}

#[tokio::test]
async fn an_answer_beyond_all_limits_fails_its_call() {
    for form in [Form::Json, Form::Events] {
        let (text, parts) = told(form, of([image(&large(9 << 20))])).await;
        assert!(
            text.starts_with("Error: ") && text.contains("8388608"),
            "{text}"
        );
        assert_eq!(parts, [Value::Null; 0]);
    }
    // Without media, less is allowed.
    for (form, bytes, limit) in [
        (Form::Json, 5 << 20, 4 << 20),
        (Form::Events, 2 << 20, 1 << 20),
    ] {
        let (told, _) = told(form, of([text(&"x".repeat(bytes))])).await;
        assert!(told.contains(&limit.to_string()), "{told}");
    }
}

#[tokio::test]
async fn a_credential_in_the_base64_of_an_image_is_found_and_the_image_is_a_note() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let secret = CANARY.trim_start_matches("Bearer ");
    let bytes = STANDARD.decode(PNG).unwrap();
    let hidden = [
        &bytes[..],
        b" token ",
        secret.as_bytes(),
        b" end",
        &vec![7; 2 << 20],
    ]
    .concat();
    let result = of([image(&STANDARD.encode(hidden)), image(PNG)]);
    let script = [turn(false, "", &[show("s__see")]), turn(false, "done", &[])];
    let keyed = |mut server: Server| {
        server.auth = Auth::static_headers([("authorization", CANARY)]).unwrap();
        server
    };
    let (gateway, _evil) = gallery_with(Form::Events, [("see", result)], script, keyed).await;
    gateway.send(&auto(json!({"model": "gpt-4o"}))).await;
    let parts = shown(&gateway.model.asked()[1].json()).remove(0);
    assert_eq!(parts[1..], [image_part("image/png", PNG)]);
}

#[tokio::test]
async fn structured_content_that_repeats_an_image_is_not_told() {
    let block = image(&large(1 << 10));
    let note = "[image/png, 768 B, not shown]";
    for (structured, expected) in [
        (block.clone(), note.to_owned()),
        (json!({"result": block}), note.to_owned()),
        (json!({"result": [block]}), note.to_owned()),
        (
            json!({"image": block["data"], "width": 1}),
            format!("{note}\n{{\"image\":\"{note}\",\"width\":1}}"),
        ),
    ] {
        let mut result = of([block.clone()]);
        result["structuredContent"] = structured;
        let (text, parts) = told(Form::Json, result).await;
        assert_eq!((text, parts.len()), (expected, 1));
    }
}
