//! A request for a chat completion, as programs make it: commands and code to copy.

use serde_json::{Value, json};

use super::{super::callers_url::CallersUrl, text::Shown};

/// What stands where nothing was chosen. The script of the chat's page puts what is typed in the
/// place of these.
const MODEL: &str = "YOUR-MODEL";
const SERVER: &str = "YOUR-SERVER";
const MESSAGE: &str = "YOUR-MESSAGE";

/// A model that is asked with the tools of servers.
#[derive(Clone, Copy, Default)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) message: &'a str,
    pub(super) servers: &'a [String],
}

impl Request<'_> {
    /// The body of the request.
    pub(super) fn body(&self) -> Value {
        json!({
            "model": self.model,
            "messages": [{"role": "user", "content": self.message}],
            "mcp": {"enabled": true, "servers": self.servers, "auto_execute_tools": true},
        })
    }

    /// The request in several languages, by their names; placeholders stand for what is empty.
    pub(super) fn samples(&self, gateway: &CallersUrl) -> Vec<(&'static str, Shown)> {
        let or = |text, placeholder| match text {
            "" => placeholder,
            text => text,
        };
        let placeholder = [SERVER.to_owned()];
        let body = Request {
            model: or(self.model, MODEL),
            message: or(self.message, MESSAGE),
            servers: match self.servers {
                [] => &placeholder,
                servers => servers,
            },
        };
        let body = body.body();
        vec![
            ("curl", Shown::of(&curl(&body, gateway))),
            ("Python", Shown::of(&python(&body, gateway))),
            ("TypeScript", Shown::of(&typescript(&body, gateway))),
        ]
    }
}

fn curl(body: &Value, gateway: &CallersUrl) -> String {
    let body = serde_json::to_string_pretty(body).unwrap_or_default();
    format!(
        "curl -s {gateway}/v1/chat/completions \\\n  -H 'content-type: application/json' \\\n  \
         -H \"authorization: Bearer $API_KEY\" \\\n  -d '{}'",
        body.replace('\'', "'\\''")
    )
}

/// JSON is a Python literal but for `true`, which is said apart.
fn python(body: &Value, gateway: &CallersUrl) -> String {
    format!(
        "import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url=\"{gateway}/v1\", \
         api_key=os.environ[\"API_KEY\"])\nanswer = client.chat.completions.create(\n    \
         model={},\n    messages={},\n    extra_body={{\"mcp\": {{\"enabled\": True, \
         \"servers\": {}, \"auto_execute_tools\": True}}}},\n)\n\
         print(answer.choices[0].message.content)",
        body["model"], body["messages"], body["mcp"]["servers"]
    )
}

fn typescript(body: &Value, gateway: &CallersUrl) -> String {
    format!(
        "import OpenAI from \"openai\";\n\nconst client = new OpenAI({{ baseURL: \
         \"{gateway}/v1\", apiKey: process.env.API_KEY }});\nconst answer = await \
         client.chat.completions.create({{\n  model: {},\n  messages: {},\n  \
         // @ts-expect-error OpenAI's types do not know it\n  mcp: {},\n}});\n\
         console.log(answer.choices[0].message.content);",
        body["model"], body["messages"], body["mcp"]
    )
}
