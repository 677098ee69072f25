//! The bearer token of a request (RFC 6750 §2.1): exactly one, in the Authorization header, and
//! nothing is repaired on the way.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::Denied;
use crate::grant::AccessToken;

/// The one access token that a request carries, in the shape of ours.
pub(super) fn token<'h>(headers: &'h HeaderMap, query: Option<&str>) -> Result<&'h [u8], Denied> {
    // URLs end up in logs and histories; a token that came this way is never used.
    if query.is_some_and(carries_token) {
        return Err(Denied::InvalidRequest(
            "access tokens are accepted in the Authorization header only",
        ));
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::NoToken)?;
    if values.next().is_some() {
        return Err(Denied::InvalidRequest(
            "there are two Authorization headers",
        ));
    }
    let token = credentials(value.as_bytes()).ok_or(Denied::NoToken)?;
    if !AccessToken::is_well_formed(token) {
        return Err(Denied::InvalidToken);
    }
    Ok(token)
}

/// What follows `Bearer` and its spaces; `None` for another scheme, which is no credential here
/// (D-44).
fn credentials(value: &[u8]) -> Option<&[u8]> {
    let mut words = value.splitn(2, |&byte| byte == b' ');
    let scheme = words.next()?;
    let mut token = words.next().unwrap_or_default();
    while let Some(rest) = token.strip_prefix(b" ") {
        token = rest;
    }
    scheme.eq_ignore_ascii_case(b"bearer").then_some(token)
}

/// Whether a query has an `access_token` parameter, however it is written.
fn carries_token(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "mga_0123456789abcdefghijklmnopqrstuvwxyzABCDE-_";

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn parse(value: &str) -> Result<String, Denied> {
        let token = token(&headers(&[value.as_bytes()]), None)?.to_vec();
        Ok(String::from_utf8(token).unwrap())
    }

    #[test]
    fn a087_the_scheme_is_case_insensitive() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(parse(&format!("{scheme} {TOKEN}")), Ok(TOKEN.to_owned()));
        }
    }

    #[test]
    fn a087_no_header_and_other_schemes_are_no_token() {
        assert_eq!(token(&HeaderMap::new(), None), Err(Denied::NoToken));
        for value in [
            "",
            "Basic abc",
            "DPoP abc",
            TOKEN,
            &format!("Bearer{TOKEN}"),
        ] {
            assert_eq!(parse(value), Err(Denied::NoToken), "{value}");
        }
    }

    #[test]
    fn a087_malformed_credentials_are_never_first_wins() {
        for value in [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer {TOKEN},"),
            format!("Bearer {TOKEN} "),
            format!("Bearer {TOKEN}, Bearer {TOKEN}"),
            format!("Bearer {TOKEN} {TOKEN}"),
            format!("Bearer \"{TOKEN}\""),
            format!("Bearer\t{TOKEN}"),
            format!("Bearer \t{TOKEN}"),
            format!("Bearer token={TOKEN}"),
        ] {
            assert!(parse(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn a087_two_headers_are_refused_even_if_they_agree() {
        let value = format!("Bearer {TOKEN}");
        let twice = headers(&[value.as_bytes(), value.as_bytes()]);
        assert!(matches!(
            token(&twice, None),
            Err(Denied::InvalidRequest(_))
        ));
    }

    #[test]
    fn a090_jwts_and_noise_are_invalid_without_a_lookup() {
        let long = "a".repeat(1 << 20);
        for value in [
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "undefined",
            &long,
        ] {
            assert_eq!(parse(&format!("Bearer {value}")), Err(Denied::InvalidToken));
        }
        let latin1 = headers(&[b"Bearer mga_\xe9"]);
        assert_eq!(token(&latin1, None), Err(Denied::InvalidToken));
    }

    #[test]
    fn a092_a_token_in_the_query_is_refused_with_or_without_a_header() {
        let with = headers(&[format!("Bearer {TOKEN}").as_bytes()]);
        for query in [
            "access_token=x",
            "a=b&access_token=",
            "access%5Ftoken=x",
            "access_token",
        ] {
            for headers in [&with, &HeaderMap::new()] {
                let refused = token(headers, Some(query));
                assert!(matches!(refused, Err(Denied::InvalidRequest(_))), "{query}");
            }
        }
        let other = token(&with, Some("my_access_token=x&%zz"));
        assert_eq!(other, Ok(TOKEN.as_bytes()));
    }
}
