//! One cookie out of a request, byte-exact: no trimming, no quoting, and two of the same name count
//! as none (threat case A-046).

use hyper::HeaderMap;
use hyper::header::COOKIE;

/// The value of cookie `name`, out of all Cookie fields of the request.
pub fn get<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = None;
    for field in headers.get_all(COOKIE) {
        for value in values(field.to_str().ok()?, name) {
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    found
}

/// The pairs are separated by a semicolon and one space (RFC 6265 §4.2.1).
fn values<'h>(field: &'h str, name: &str) -> impl Iterator<Item = &'h str> {
    field
        .split(';')
        .map(|pair| pair.strip_prefix(' ').unwrap_or(pair))
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(fields: &[&str], name: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, field.parse().unwrap());
        }
        get(&headers, name).map(str::to_owned)
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands() {
        for fields in [
            &["x=1"][..],
            &["a=b; x=1"],
            &["x=1; a=b"],
            &["a=b;x=1"],
            &["a=b", "x=1"],
            &["flag; x=1"],
        ] {
            assert_eq!(cookie(fields, "x").as_deref(), Some("1"), "{fields:?}");
        }
        assert_eq!(cookie(&["x=a=b"], "x").as_deref(), Some("a=b"));
        assert_eq!(cookie(&["x="], "x").as_deref(), Some(""));
        assert_eq!(cookie(&["x=\"1\""], "x").as_deref(), Some("\"1\""));
        assert_eq!(cookie(&[], "x"), None);
    }

    #[test]
    fn a046_a_cookie_that_comes_twice_counts_as_none() {
        assert_eq!(cookie(&["x=1; x=2"], "x"), None);
        assert_eq!(cookie(&["x=1", "x=1"], "x"), None);
        assert_eq!(cookie(&["x=1; x="], "x"), None);
    }

    #[test]
    fn a046_only_the_very_name_matches() {
        for field in [
            "X=1",
            "a=1;  x=1",
            "a=1;\tx=1",
            "x =1",
            "xx=1",
            "x",
            "a=x=1",
        ] {
            assert_eq!(cookie(&[field], "x"), None, "{field:?}");
        }
    }

    #[test]
    fn a_field_that_is_no_ascii_hides_nothing_behind_it() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "x=1".parse().unwrap());
        let odd = hyper::header::HeaderValue::from_bytes(b"x=\xff").unwrap();
        headers.append(COOKIE, odd);
        assert_eq!(get(&headers, "x"), None);
    }
}
