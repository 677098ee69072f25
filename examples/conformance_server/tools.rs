//! What `tools/list` shows.

use serde_json::{Value, json};

pub(crate) fn list() -> Value {
    json!({ "tools": [
        plain("test_simple_text", "Answers with one text"),
        plain("test_image_content", "Answers with one image"),
        plain("test_audio_content", "Answers with one sound"),
        plain("test_embedded_resource", "Answers with one embedded resource"),
        plain("test_multiple_content_types", "Answers with a text, an image and a resource"),
        plain("test_tool_with_logging", "Logs three times while it runs"),
        plain("test_tool_with_progress", "Reports progress three times while it runs"),
        plain("test_error_handling", "Always fails"),
        with_text("test_sampling", "Asks the client's model", "prompt"),
        with_text("test_elicitation", "Asks the client's user", "message"),
        plain("test_elicitation_sep1034_defaults", "Asks with a default for each primitive type"),
        plain("test_elicitation_sep1330_enums", "Asks with each kind of enumeration"),
        plain("test_reconnection", "Answers late enough for a client to reconnect"),
        json_schema_2020_12(),
    ] })
}

fn plain(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": {} },
    })
}

fn with_text(name: &str, description: &str, argument: &str) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": { argument: { "type": "string" } },
            "required": [argument],
        },
    })
}

/// A schema whose less common keywords must reach the client untouched (SEP-1613).
fn json_schema_2020_12() -> Value {
    json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": { "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            } },
            "properties": {
                "name": { "type": "string" },
                "address": { "$ref": "#/$defs/address" },
                "contactMethod": { "type": "string", "enum": ["phone", "email"] },
                "phone": { "type": "string" },
                "email": { "type": "string" },
            },
            "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
            "if": {
                "properties": { "contactMethod": { "const": "phone" } },
                "required": ["contactMethod"],
            },
            "then": { "required": ["phone"] },
            "else": { "required": ["email"] },
            "additionalProperties": false,
        },
    })
}
