//! Prompts, and completion of their arguments.

use serde_json::{Value, json};

use crate::peer::RpcError;
use crate::resources::RED_PIXEL_PNG;

const COMPLETIONS: [&str; 4] = ["paris", "park", "party", "test"];

pub(crate) fn list() -> Value {
    json!({ "prompts": [
        prompt("test_simple_prompt", "A prompt without arguments", &[]),
        prompt("test_prompt_with_arguments", "A prompt with two arguments", &["arg1", "arg2"]),
        prompt("test_prompt_with_embedded_resource", "A prompt with a resource", &["resourceUri"]),
        prompt("test_prompt_with_image", "A prompt with an image", &[]),
    ] })
}

pub(crate) fn get(params: &Value) -> Result<Value, RpcError> {
    let argument = |name: &str| {
        let given = params
            .get("arguments")
            .and_then(|arguments| arguments.get(name));
        given.and_then(Value::as_str).unwrap_or_default()
    };
    let messages = match params
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "test_simple_prompt" => vec![said("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (first, second) = (argument("arg1"), argument("arg2"));
            vec![said(&format!(
                "Prompt with arguments: arg1='{first}', arg2='{second}'"
            ))]
        }
        "test_prompt_with_embedded_resource" => vec![
            resource(argument("resourceUri")),
            said("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![image(), said("Please analyze the image above.")],
        unknown => {
            return Err(RpcError::invalid_params(format!(
                "Unknown prompt: {unknown}"
            )));
        }
    };
    Ok(json!({ "messages": messages }))
}

pub(crate) fn complete(params: &Value) -> Value {
    let begun = params
        .pointer("/argument/value")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let values: Vec<_> = COMPLETIONS
        .into_iter()
        .filter(|word| word.starts_with(begun))
        .collect();
    json!({ "completion": { "total": values.len(), "values": values, "hasMore": false } })
}

fn prompt(name: &str, description: &str, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments
        .iter()
        .map(|name| json!({ "name": name, "description": name, "required": true }))
        .collect();
    json!({ "name": name, "description": description, "arguments": arguments })
}

fn said(text: &str) -> Value {
    by_user(&json!({ "type": "text", "text": text }))
}

fn image() -> Value {
    by_user(&json!({ "type": "image", "data": RED_PIXEL_PNG, "mimeType": "image/png" }))
}

fn resource(uri: &str) -> Value {
    by_user(&json!({ "type": "resource", "resource": {
        "uri": uri,
        "mimeType": "text/plain",
        "text": "Embedded resource content for testing.",
    } }))
}

fn by_user(content: &Value) -> Value {
    json!({ "role": "user", "content": content })
}
