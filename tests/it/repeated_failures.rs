//! Failures of the model's service that do not look like one, in requests that come again.

use serde_json::{Value, json};

use crate::support::{
    gateway::{Gateway, auto, chat},
    model::{json_answer, says},
};

#[tokio::test]
async fn an_error_under_the_status_200_is_not_given_again_for_its_key() {
    for failure in [
        json!({"error": {"message": "not now"}}),
        json!({"choices": []}),
    ] {
        let gateway = Gateway::new([json_answer(200, &failure), says("done")]).await;
        let ask = async || {
            let mut request = chat(auto(json!({})).to_string());
            let key = "once".parse().unwrap();
            request.headers_mut().insert("idempotency-key", key);
            gateway.request(request).await.json()
        };
        assert_eq!(ask().await["choices"][0], Value::Null, "{failure}");
        for _ in 0..2 {
            let answer = ask().await;
            assert_eq!(answer["choices"][0]["message"]["content"], "done");
        }
        assert_eq!(gateway.model.asked().len(), 2);
    }
}
