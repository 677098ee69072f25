//! E-mail addresses, as far as rules compare them: one text per mailbox, and no text that two
//! readers could take for different mailboxes (threat case A-059).

use url::Host;

/// RFC 5321 §4.5.3.1.
const MAX_LOCAL_LENGTH: usize = 64;
const MAX_LENGTH: usize = 254;

/// The address with its domain in ASCII and all of it in lower case; `None` for what is not plainly
/// an address. Addresses are the same if these texts are equal.
pub(super) fn normal(address: &str) -> Option<String> {
    let (local, domain) = address.split_once('@')?;
    let domain = normal_domain(domain)?;
    let length = local.len() + "@".len() + domain.len();
    if !is_plain(local) || local.len() > MAX_LOCAL_LENGTH || length > MAX_LENGTH {
        return None;
    }
    Some(format!("{}@{domain}", local.to_ascii_lowercase()))
}

/// The domain in ASCII (IDNA) and lower case; `None` for what is not plainly a domain.
pub(super) fn normal_domain(domain: &str) -> Option<String> {
    let Ok(Host::Domain(normal)) = Host::parse(domain) else {
        return None;
    };
    // The parser repairs what it reads: it decodes percents, drops soft hyphens, turns full-width
    // letters into ASCII. What needs repair is not somebody's address.
    let as_written = |(normal, written): (&str, &str)| {
        if written.is_ascii() {
            normal.eq_ignore_ascii_case(written)
        } else {
            normal.starts_with("xn--")
        }
    };
    let same = normal.split('.').count() == domain.split('.').count()
        && normal.split('.').zip(domain.split('.')).all(as_written);
    (same && normal.split('.').all(is_label)).then_some(normal)
}

fn is_label(label: &str) -> bool {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.bytes().all(ordinary)
}

/// The dot-string of RFC 5321 §4.1.2: neither quotes nor anything beyond ASCII.
fn is_plain(local: &str) -> bool {
    let ordinary =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(ordinary);
    local.split('.').all(atom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_one_form_whatever_its_case_and_script() {
        for (written, expected) in [
            ("alice@company.com", "alice@company.com"),
            ("Alice.B+tag@Company.COM", "alice.b+tag@company.com"),
            ("o'neil@corp", "o'neil@corp"),
            ("x@Bücher.example", "x@xn--bcher-kva.example"),
            ("x@BÜCHER.example", "x@xn--bcher-kva.example"),
            ("x@xn--bcher-kva.example", "x@xn--bcher-kva.example"),
            ("x@a_b.example", "x@a_b.example"),
        ] {
            assert_eq!(normal(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn a059_what_two_readers_could_read_differently_is_no_address() {
        let long_local = format!("{}@company.com", "x".repeat(65));
        let long = format!("x@{}com", "abcdefghi.".repeat(30));
        for written in [
            "",
            "@",
            "alice",
            "@company.com",
            "alice@",
            "a@evil.com@company.com",
            "a@company.com@",
            "alice@company.com.",
            "alice@.company.com",
            "alice@company..com",
            "\"alice\"@company.com",
            "\"a@evil.com\"@company.com",
            "alice@company.com\n",
            "alice\n@company.com",
            "alice@com\npany.com",
            " alice@company.com",
            "alice@company.com ",
            "ali ce@company.com",
            "alice\0@company.com",
            "alice@company.com\0",
            ".alice@company.com",
            "alice.@company.com",
            "a..b@company.com",
            "Alice <alice@company.com>",
            "alice@company.com,bob@company.com",
            "alice@[127.0.0.1]",
            "alice@127.0.0.1",
            "alice@company%2ecom",
            "alice@com\u{ad}pany.com",
            "alice@\u{ff43}ompany.com",
            "alice@company\u{3002}com",
            "alice@company.com/x",
            "alice@company.com:25",
            "alice@company.com?x",
            "alice@company.com#x",
            "alice@comp*ny.com",
            "\u{430}lice@company.com",
            "ali\u{200b}ce@company.com",
            &long_local,
            &long,
        ] {
            assert_eq!(normal(written), None, "{written:?}");
        }
    }

    #[test]
    fn a059_a_look_alike_is_another_address() {
        let cyrillic = normal("alice@c\u{43e}mpany.com").unwrap();
        assert_ne!(cyrillic, "alice@company.com");
        assert!(cyrillic.is_ascii());
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal_and_has_one_at(text in "(\\PC|[a-z@.%-]){0,40}@?(\\PC|[a-z.]){0,20}") {
            if let Some(address) = normal(&text) {
                prop_assert_eq!(address.matches('@').count(), 1);
                prop_assert!(address.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert_eq!(normal(&address), Some(address));
            }
        }
    }
}
