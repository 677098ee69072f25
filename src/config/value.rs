//! Parsers for the texts that options take. Pure; an error is the sentence that says what to write.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::http::client::is_confidential;
use crate::listener::{Address, AddressError};

/// No configured time is longer than this.
const LONGEST: Duration = Duration::from_hours(10 * 366 * 24);

const DURATION_SHAPE: &str = "write a number and a unit: `60s`, `30m`, `1h` or `90d`";
const SIZE_SHAPE: &str = "write bytes, or a number and a unit: `4MiB`, `512KiB`, `1MB`";

/// `500ms`, `60s`, `30m`, `1h`, `90d`; a bare `0` too.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = number_and_unit(text).ok_or(DURATION_SHAPE)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DURATION_SHAPE.into()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "write at most ten years (`3650d`)".into())
}

/// Bytes: `4194304`, `4MiB`, `1MB`, `512KiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = number_and_unit(text).ok_or(SIZE_SHAPE)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SIZE_SHAPE.into()),
    };
    number
        .checked_mul(bytes)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| (1..=1 << 30).contains(bytes))
        .ok_or_else(|| "write between 1 byte and `1GiB`".into())
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// A count of at least one.
pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count))
        .ok_or_else(|| "write a whole number between 1 and 1000000".into())
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write `true` or `false`".into()),
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:PATH`.
pub(super) fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: AddressError| {
        let text = error.to_string();
        let hint = text.split_once("; ").map(|(_, hint)| hint.to_owned());
        hint.unwrap_or(text)
    })
}

/// `10.0.0.0/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "write an address or a network: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`".into())
}

/// `scheme://host[:port]`, normalised as browsers send it (RFC 6454 §6.2).
pub(super) fn origin(text: &str) -> Result<String, String> {
    const SHAPE: &str = "write each origin as `https://host` or `https://host:port`";
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    let web = matches!(url.scheme(), "http" | "https");
    if !(web && is_bare(&url) && url.path() == "/") || text.ends_with('/') {
        return Err(SHAPE.into());
    }
    if text.contains('*') {
        return Err("patterns are not taken here; name each origin".into());
    }
    Ok(url.origin().ascii_serialization())
}

/// A URL that secrets may be sent to: https, or loopback.
pub(super) fn confidential_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "write a whole URL: `https://id.example.com`")?;
    if !is_confidential(&url) {
        return Err("secrets are sent there: write an https URL (http only to loopback)".into());
    }
    if !is_bare(&url) {
        return Err("write it without user name, password, query and fragment".into());
    }
    Ok(url)
}

/// Whether it is no more than scheme, host, port and path.
pub(super) fn is_bare(url: &Url) -> bool {
    let anonymous = url.username().is_empty() && url.password().is_none();
    anonymous && url.query().is_none() && url.fragment().is_none()
}

/// A scope, as RFC 6749 §3.3 has it.
pub(super) fn scope(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(known) {
        return Ok(text.to_owned());
    }
    Err("write scopes without spaces, divided by commas: `openid,email`".into())
}

/// A name of an environment variable.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err("write the variable's name alone: `HOME`".into());
    }
    Ok(text.to_owned())
}

/// `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write `NAME=VALUE`".into()),
    }
}

/// The elements of a comma-separated list. None of them may be empty: `a,,b` is more likely a
/// variable that expanded to nothing than a wish.
pub(super) fn elements(text: &str) -> Result<Vec<String>, String> {
    text.split(',')
        .map(|element| match element.trim() {
            "" => Err("an element of the list is empty; remove the extra comma".into()),
            element => Ok(element.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("60s", 60), ("30m", 1800), ("1h", 3600), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn durations_without_a_unit_or_sense_are_refused() {
        for text in [
            "",
            "60",
            "s",
            "1w",
            "1 h",
            "-1s",
            "1.5h",
            "1hh",
            "99999999999d",
            "١s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("4MiB", 4 << 20),
            ("1MB", 1_000_000),
            ("512KiB", 512 << 10),
            ("4096", 4096),
            ("1B", 1),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_nothing_or_too_much_are_refused() {
        for text in [
            "",
            "0",
            "MiB",
            "4mib",
            "4 MiB",
            "-1",
            "2GiB",
            "18446744073709551615GiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_read() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        assert_eq!(address("127.0.0.1:80"), Ok(tcp("127.0.0.1:80")));
        assert_eq!(address("[::]:8080"), Ok(tcp("[::]:8080")));
        assert_eq!(
            address("unix:/run/g.sock"),
            Ok(Address::Unix("/run/g.sock".into()))
        );
        for text in [
            "8080",
            ":8080",
            "localhost:8080",
            "::1:8080",
            "unix:",
            "http://x",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_read() {
        assert_eq!(network("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        assert!(network("10.0.0.0/33").is_err());
        assert!(network("proxy").is_err());
    }

    #[test]
    fn origins_are_normalised_and_nothing_else_passes() {
        assert_eq!(
            origin("https://App.Example.com:443").unwrap(),
            "https://app.example.com"
        );
        assert_eq!(
            origin("http://localhost:6274").unwrap(),
            "http://localhost:6274"
        );
        for text in [
            "*",
            "https://*.x.org",
            "https://x.org/",
            "https://x.org/a",
            "null",
            "x.org",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
        assert!(origin("https://user@x.org").is_err());
    }

    #[test]
    fn an_empty_element_of_a_list_is_an_error() {
        assert_eq!(elements("a, b").unwrap(), ["a", "b"]);
        for text in ["", ",", "a,", ",a", "a,,b", "a, ,b"] {
            assert!(elements(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn assignments_keep_everything_behind_the_first_equals_sign() {
        assert_eq!(assignment("A=b=c,d").unwrap(), ("A".into(), "b=c,d".into()));
        assert_eq!(assignment("A=").unwrap(), ("A".into(), String::new()));
        assert!(assignment("A").is_err());
        assert!(assignment("=b").is_err());
    }

    #[test]
    fn secrets_go_to_https_or_to_loopback() {
        for text in [
            "https://id.example.com",
            "https://id.example.com/realms/a",
            "http://127.0.0.1:1",
        ] {
            assert!(confidential_url(text).is_ok(), "{text}");
        }
        for text in [
            "id.example.com",
            "http://id.example.com",
            "https://u:p@id.example.com",
            "https://id.example.com/?a",
            "https://id.example.com/#a",
        ] {
            assert!(confidential_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_is_one_word() {
        assert!(scope("https://a.test/x.read").is_ok());
        for text in ["openid email", "a\"", "é"] {
            assert!(scope(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_upsets_a_parser(text in "\\PC*") {
            let _ = (duration(&text), size(&text), count(&text), switch(&text), address(&text));
            let _ = (network(&text), origin(&text), assignment(&text), elements(&text));
            let _ = (confidential_url(&text), scope(&text));
        }

        #[test]
        fn every_duration_in_seconds_means_itself(seconds in 0u64..300_000_000) {
            prop_assert_eq!(duration(&format!("{seconds}s")), Ok(Duration::from_secs(seconds)));
        }
    }
}
