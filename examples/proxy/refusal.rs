//! Error answers in OpenAI's shape, which SDKs turn into their own exceptions.

use axum::response::{IntoResponse, Json, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer};

#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// Returns the body of the answer.
    pub fn body(&self) -> String {
        self.json().to_string()
    }

    fn json(&self) -> Value {
        let kind = match self.status.is_client_error() {
            true => "invalid_request_error",
            false => "server_error",
        };
        let error =
            json!({"message": self.message, "type": kind, "param": null, "code": self.code});
        json!({"error": error})
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        answer::json(refusal.status, refusal.body())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.json())).into_response()
    }
}
