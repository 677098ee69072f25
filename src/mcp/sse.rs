//! Server-sent events (HTML Living Standard §9.2): writing them.

use bytes::Bytes;

/// A comment: keeps a connection and the proxies on its way awake.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// One `message` event with an id. `data` is a JSON text; raw CR and LF in it are left out, so it
/// cannot break out of its field. CR, LF and NUL in the id are left out as well.
pub fn event(id: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + id.map_or(0, str::len) + 32);
    out.extend_from_slice(b"event: message\n");
    if let Some(id) = id {
        push_id(&mut out, id);
    }
    out.extend_from_slice(b"data: ");
    push_without_breaks(&mut out, data);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

/// An event with an id and empty data (2025-11-25, "Sending Messages" 6: priming), with `retry`
/// in milliseconds if given.
pub fn priming(id: &str, retry_millis: Option<u64>) -> Bytes {
    let mut out = Vec::with_capacity(id.len() + 48);
    push_id(&mut out, id);
    if let Some(millis) = retry_millis {
        out.extend_from_slice(format!("retry: {millis}\n").as_bytes());
    }
    out.extend_from_slice(b"data: \n\n");
    Bytes::from(out)
}

/// The first event of the HTTP+SSE transport (2024-11-05, HTTP with SSE): where the client posts to.
/// `path` is a path and query of ours, so it has no CR or LF.
pub fn endpoint(path: &str) -> Bytes {
    Bytes::from(format!("event: endpoint\ndata: {path}\n\n"))
}

/// A reader ignores an id with NUL in it.
fn push_id(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend(id.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r' | 0)));
    out.push(b'\n');
}

fn push_without_breaks(out: &mut Vec<u8>, mut data: &[u8]) {
    while let Some(at) = memchr::memchr2(b'\n', b'\r', data) {
        let (run, rest) = data.split_at(at);
        out.extend_from_slice(run);
        data = rest.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Event {
        id: String,
        name: String,
        data: String,
        retry: Option<u64>,
    }

    /// Reads a stream as the standard says (§9.2.6).
    fn decode(stream: &[u8]) -> Vec<Event> {
        let text = String::from_utf8_lossy(stream)
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let (mut events, mut event, mut has_data) = (Vec::new(), Event::default(), false);
        for line in text.split('\n') {
            if line.is_empty() {
                if has_data {
                    event.data.pop();
                    events.push(std::mem::take(&mut event));
                }
                has_data = false;
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" if !value.contains('\0') => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.name),
                "retry" => event.retry = value.parse().ok(),
                "data" => {
                    event.data.push_str(value);
                    event.data.push('\n');
                    has_data = true;
                }
                _ => {}
            }
        }
        events
    }

    #[test]
    fn a_keep_alive_is_no_event() {
        assert_eq!(decode(KEEP_ALIVE), []);
        let stream = [KEEP_ALIVE, &event(None, b"{}"), KEEP_ALIVE].concat();
        assert_eq!(decode(&stream).len(), 1);
    }

    #[test]
    fn a_priming_event_has_an_id_and_empty_data() {
        for retry in [None, Some(1500)] {
            let primed = Event {
                id: "7".to_owned(),
                retry,
                ..Event::default()
            };
            assert_eq!(decode(&priming("7", retry)), [primed]);
        }
    }

    #[test]
    fn pretty_printed_json_keeps_its_meaning() {
        let stream = event(None, b"{\r\n  \"a\": 1,\n\"b\":\"\xe2\x80\xa8\"\n}");
        let value: serde_json::Value = serde_json::from_str(&decode(&stream)[0].data).unwrap();
        assert_eq!(value, serde_json::json!({"a": 1, "b": "\u{2028}"}));
    }

    proptest! {
        #[test]
        fn neither_id_nor_data_can_inject(
            id in proptest::option::of("[a\n\r\0: é]{0,9}|.*"),
            data in "(data|id|event|[\n\r\0: {}é])*|.*",
        ) {
            let keep = |text: &str| text.replace(['\n', '\r'], "");
            let expected = Event {
                id: keep(id.as_deref().unwrap_or_default()).replace('\0', ""),
                name: "message".to_owned(),
                data: keep(&data),
                retry: None,
            };
            prop_assert_eq!(decode(&event(id.as_deref(), data.as_bytes())), [expected]);
        }

        #[test]
        fn an_id_cannot_inject_into_a_priming_event(id in "[a\n\r\0: é]{0,9}|.*") {
            let events = decode(&priming(&id, Some(3)));
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(&events[0].data, "");
            prop_assert_eq!(&events[0].id, &id.replace(['\n', '\r', '\0'], ""));
        }
    }
}
