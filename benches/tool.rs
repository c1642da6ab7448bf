//! A tool for the doubles of all benches.

use serde_json::{Value, json};

/// A tool of about the size that real ones have.
pub fn tool(number: usize) -> Value {
    json!({
        "name": format!("tool_{number:03}"),
        "title": "Search the documentation",
        "description": "Searches the documentation and returns the best passages, with their titles. Use it for questions about how something works.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to search for, in a few words."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "description": "How many passages to return."}
            },
            "required": ["query"]
        }
    })
}
