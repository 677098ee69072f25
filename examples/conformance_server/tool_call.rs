//! What each tool does. Arguments may be missing altogether: the suite leaves them out.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{Peer, RpcError};
use crate::resources::RED_PIXEL_PNG;

/// One channel, 8 bits, 8 kHz, two samples of silence.
const SILENCE_WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==";

/// The pause that the suite asks for between two notifications.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether the call takes its time, and so must not be run on the reading thread.
pub(crate) fn waits(params: &Value) -> bool {
    matches!(
        name(params),
        "test_tool_with_logging"
            | "test_tool_with_progress"
            | "test_sampling"
            | "test_elicitation"
            | "test_elicitation_sep1034_defaults"
            | "test_elicitation_sep1330_enums"
            | "test_reconnection"
    )
}

pub(crate) fn run(peer: &Peer, params: &Value) -> Result<Value, RpcError> {
    let result = match name(params) {
        "test_simple_text" => content(&[text("This is a simple text response for testing.")]),
        "test_image_content" => content(&[image()]),
        "test_audio_content" => content(&[audio()]),
        "test_embedded_resource" => content(&[embedded_resource()]),
        "test_multiple_content_types" => mixed(),
        "test_error_handling" => failure("This tool intentionally returns an error for testing"),
        "test_tool_with_logging" => or_failure(log_thrice(peer)),
        "test_tool_with_progress" => or_failure(report_progress(peer, params)),
        "test_sampling" => or_failure(sample(peer, argument(params, "prompt"))),
        "test_elicitation" => or_failure(elicit(peer, "User response", &ask_for_contact(params))),
        "test_elicitation_sep1034_defaults" => {
            or_failure(elicit(peer, "Elicitation completed", &ask_with_defaults()))
        }
        "test_elicitation_sep1330_enums" => {
            or_failure(elicit(peer, "Elicitation completed", &ask_with_enums()))
        }
        "test_reconnection" => {
            thread::sleep(2 * PAUSE);
            content(&[text("Answered after the pause.")])
        }
        "json_schema_2020_12_tool" => content(&[text("ok")]),
        unknown => return Err(RpcError::invalid_params(format!("Unknown tool: {unknown}"))),
    };
    Ok(result)
}

fn log_thrice(peer: &Peer) -> Result<String, String> {
    peer.log("info", "Tool execution started")
        .map_err(|gone| gone.to_string())?;
    thread::sleep(PAUSE);
    peer.log("info", "Tool processing data")
        .map_err(|gone| gone.to_string())?;
    thread::sleep(PAUSE);
    peer.log("info", "Tool execution completed")
        .map_err(|gone| gone.to_string())?;
    Ok("Logged three times.".to_owned())
}

fn report_progress(peer: &Peer, params: &Value) -> Result<String, String> {
    let token = params.pointer("/_meta/progressToken");
    for progress in [0, 50, 100] {
        if progress > 0 {
            thread::sleep(PAUSE);
        }
        if let Some(token) = token {
            let report = json!({ "progressToken": token, "progress": progress, "total": 100 });
            peer.notify("notifications/progress", &report)
                .map_err(|gone| gone.to_string())?;
        }
    }
    Ok("Progress complete.".to_owned())
}

fn sample(peer: &Peer, prompt: &str) -> Result<String, String> {
    if !peer.client_can("sampling") {
        return Err("The client does not support sampling".to_owned());
    }
    let request = json!({
        "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
        "maxTokens": 100,
    });
    let answer = peer.ask("sampling/createMessage", &request)?;
    let said = answer.pointer("/content/text").and_then(Value::as_str);
    Ok(format!("LLM response: {}", said.unwrap_or_default()))
}

fn elicit(peer: &Peer, heading: &str, request: &Value) -> Result<String, String> {
    if !peer.client_can("elicitation") {
        return Err("The client does not support elicitation".to_owned());
    }
    let answer = peer.ask("elicitation/create", request)?;
    let action = answer
        .get("action")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let given = answer.get("content").cloned().unwrap_or_default();
    Ok(format!("{heading}: action={action}, content={given}"))
}

fn ask_for_contact(params: &Value) -> Value {
    json!({
        "message": argument(params, "message"),
        "requestedSchema": {
            "type": "object",
            "properties": {
                "username": { "type": "string", "description": "User's response" },
                "email": { "type": "string", "description": "User's email address" },
            },
            "required": ["username", "email"],
        },
    })
}

fn ask_with_defaults() -> Value {
    json!({
        "message": "Check these values.",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "default": "John Doe" },
                "age": { "type": "integer", "default": 30 },
                "score": { "type": "number", "default": 95.5 },
                "status": {
                    "type": "string",
                    "enum": ["active", "inactive", "pending"],
                    "default": "active",
                },
                "verified": { "type": "boolean", "default": true },
            },
        },
    })
}

fn ask_with_enums() -> Value {
    let options = json!(["option1", "option2", "option3"]);
    let titled = json!([
        { "const": "value1", "title": "First Option" },
        { "const": "value2", "title": "Second Option" },
        { "const": "value3", "title": "Third Option" },
    ]);
    json!({
        "message": "Choose.",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "untitledSingle": { "type": "string", "enum": options },
                "titledSingle": { "type": "string", "oneOf": titled },
                "legacyEnum": {
                    "type": "string",
                    "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"],
                },
                "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
                "titledMulti": { "type": "array", "items": { "anyOf": titled } },
            },
        },
    })
}

fn mixed() -> Value {
    let resource = json!({
        "uri": "test://mixed-content-resource",
        "mimeType": "application/json",
        "text": r#"{"test":"data","value":123}"#,
    });
    content(&[
        text("Multiple content types test:"),
        image(),
        json!({ "type": "resource", "resource": resource }),
    ])
}

fn embedded_resource() -> Value {
    json!({ "type": "resource", "resource": {
        "uri": "test://embedded-resource",
        "mimeType": "text/plain",
        "text": "This is an embedded resource content.",
    } })
}

fn image() -> Value {
    json!({ "type": "image", "data": RED_PIXEL_PNG, "mimeType": "image/png" })
}

fn audio() -> Value {
    json!({ "type": "audio", "data": SILENCE_WAV, "mimeType": "audio/wav" })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn content(parts: &[Value]) -> Value {
    json!({ "content": parts })
}

fn failure(reason: &str) -> Value {
    json!({ "content": [text(reason)], "isError": true })
}

fn or_failure(outcome: Result<String, String>) -> Value {
    outcome.map_or_else(|reason| failure(&reason), |said| content(&[text(&said)]))
}

fn name(params: &Value) -> &str {
    params
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn argument<'a>(params: &'a Value, name: &str) -> &'a str {
    let given = params
        .get("arguments")
        .and_then(|arguments| arguments.get(name));
    given.and_then(Value::as_str).unwrap_or_default()
}
