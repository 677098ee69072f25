//! `Link: <…>; rel="next"` (RFC 8288): where the next page of a list is.

use hyper::HeaderMap;
use hyper::header::LINK;

/// The target of the first link with the relation `next`.
pub(super) fn next(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(LINK).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split('<').skip(1))
        .filter_map(|link| link.split_once('>'))
        .find(|(_, parameters)| is_next(parameters))
        .map(|(target, _)| target)
}

/// A relation may be one of several between quotes (RFC 8288 §3.3).
fn is_next(parameters: &str) -> bool {
    let relations = parameters.split([';', ',']).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("rel")
            .then(|| value.trim().trim_matches('"'))
    });
    let mut relations = relations.unwrap_or_default().split_ascii_whitespace();
    relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        next(&headers).map(str::to_owned)
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        for value in [
            "<https://a.test/2>; rel=\"next\"",
            "<https://a.test/2>; rel=next",
            "<https://a.test/2>;REL=\"NEXT\"",
            "<https://a.test/2>; title=x; rel=\"last next\"",
            "<https://a.test/1>; rel=\"prev\", <https://a.test/2>; rel=\"next\", <https://a.test/9>; rel=\"last\"",
        ] {
            assert_eq!(
                found(&[value]).as_deref(),
                Some("https://a.test/2"),
                "{value}"
            );
        }
        let parted = found(&[
            "<https://a.test/1>; rel=\"first\"",
            "<https://a.test/2>; rel=\"next\"",
        ]);
        assert_eq!(parted.as_deref(), Some("https://a.test/2"));
        let commas = found(&["<https://a.test/?a=1,2;b>; rel=\"next\""]);
        assert_eq!(commas.as_deref(), Some("https://a.test/?a=1,2;b"));
    }

    #[test]
    fn the_last_page_has_no_next_link() {
        for value in [
            "",
            "<https://a.test/1>; rel=\"first\"",
            "<https://a.test/2>",
            "<https://a.test/2>; rel=\"nextish\"",
            "<https://a.test/2; rel=\"next\"",
            "https://a.test/2; rel=\"next\"",
            "<https://a.test/1>; rel=\"prev\"; title=\"next\"",
        ] {
            assert_eq!(found(&[value]), None, "{value}");
        }
        assert_eq!(found(&[]), None);
    }
}
