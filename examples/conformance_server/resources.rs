//! Resources: two fixed ones, one from a template, one to subscribe to.

use serde_json::{Value, json};

use crate::peer::RpcError;

/// One red pixel.
pub(crate) const RED_PIXEL_PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

pub(crate) fn list() -> Value {
    json!({ "resources": [
        entry("test://static-text", "Static text", "text/plain"),
        entry("test://static-binary", "Static binary", "image/png"),
        entry("test://watched-resource", "Watched resource", "text/plain"),
    ] })
}

pub(crate) fn templates() -> Value {
    json!({ "resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "Template",
        "description": "Data made from the id in the URI",
        "mimeType": "application/json",
    }] })
}

pub(crate) fn read(params: &Value) -> Result<Value, RpcError> {
    let uri = params.get("uri").and_then(Value::as_str);
    let uri = uri.ok_or_else(|| RpcError::invalid_params("uri is missing"))?;
    let contents = match uri {
        "test://static-text" => text(
            uri,
            "text/plain",
            "This is the content of the static text resource.",
        ),
        "test://static-binary" => {
            json!({ "uri": uri, "mimeType": "image/png", "blob": RED_PIXEL_PNG })
        }
        "test://watched-resource" => text(uri, "text/plain", "This one can be subscribed to."),
        _ => from_template(uri).ok_or_else(|| RpcError::resource_not_found(uri))?,
    };
    Ok(json!({ "contents": [contents] }))
}

fn from_template(uri: &str) -> Option<Value> {
    let id = uri
        .strip_prefix("test://template/")?
        .strip_suffix("/data")?;
    let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
    Some(text(uri, "application/json", &data.to_string()))
}

fn text(uri: &str, mime_type: &str, text: &str) -> Value {
    json!({ "uri": uri, "mimeType": mime_type, "text": text })
}

fn entry(uri: &str, name: &str, mime_type: &str) -> Value {
    json!({ "uri": uri, "name": name, "description": name, "mimeType": mime_type })
}
