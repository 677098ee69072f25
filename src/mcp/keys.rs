//! The keys of an object that the guard reads, and the keys that some other parser might take for
//! them: duplicates, other case, hidden NULs, escapes.

use std::borrow::Cow;

use super::message::ParseError;
use super::scan::Text;

/// Members that an object may have at a level we read. Legitimate ones have a dozen; the bound
/// keeps the search for duplicates small.
const MAX_MEMBERS: usize = 1024;

/// The keys of one object, as they are met.
pub(super) struct Keys<'a> {
    reserved: &'static [&'static str],
    /// One bit per reserved key that was met.
    met: u32,
    /// The other keys, if duplicates among them matter.
    others: Option<Vec<Cow<'a, [u8]>>>,
}

impl<'a> Keys<'a> {
    /// Every key must be unique.
    pub(super) fn unique(reserved: &'static [&'static str]) -> Self {
        Self {
            others: Some(Vec::new()),
            ..Self::watching(reserved)
        }
    }

    /// Only the reserved keys must be unique.
    pub(super) fn watching(reserved: &'static [&'static str]) -> Self {
        Self {
            reserved,
            met: 0,
            others: None,
        }
    }

    /// Takes note of a key; which reserved one it is, if any.
    pub(super) fn admit(&mut self, key: Text<'a>) -> Result<Option<&'static str>, ParseError> {
        let found = self.position(key)?;
        let Some((index, name)) = found else {
            return self.note(key).map(|()| None);
        };
        if self.met & 1 << index != 0 {
            return Err(ParseError::NotMessage("a key occurs twice"));
        }
        self.met |= 1 << index;
        Ok(Some(name))
    }

    /// To be called at the object's end.
    pub(super) fn finish(self) -> Result<(), ParseError> {
        let mut others = self.others.unwrap_or_default();
        others.sort_unstable();
        let mut pairs = others.iter().zip(others.iter().skip(1));
        if pairs.any(|(one, next)| one == next) {
            return Err(ParseError::NotMessage("a key occurs twice"));
        }
        Ok(())
    }

    fn position(&self, key: Text<'a>) -> Result<Option<(usize, &'static str)>, ParseError> {
        let raw = key.raw();
        let mut reserved = self.reserved.iter().copied().enumerate();
        let exact = reserved.find(|(_, name)| name.as_bytes() == raw);
        if exact.is_some() {
            return Ok(exact);
        }
        let looks_alike = if key.escaped || !raw.is_ascii() {
            let decoded = key.decoded();
            let decoded = decoded.ok_or(ParseError::NotMessage("a key has a lone surrogate"))?;
            folds_to_one_of(&decoded, self.reserved)
        } else {
            let mut names = self.reserved.iter();
            names.any(|name| name.as_bytes().eq_ignore_ascii_case(raw))
        };
        if looks_alike {
            Err(LOOK_ALIKE)
        } else {
            Ok(None)
        }
    }

    fn note(&mut self, key: Text<'a>) -> Result<(), ParseError> {
        let Some(others) = &mut self.others else {
            return Ok(());
        };
        if others.len() == MAX_MEMBERS {
            return Err(ParseError::NotMessage("more than 1024 members"));
        }
        others.push(match key.decoded() {
            Some(Cow::Owned(decoded)) => Cow::Owned(decoded.into_bytes()),
            _ => Cow::Borrowed(key.raw()),
        });
        Ok(())
    }
}

const LOOK_ALIKE: ParseError = ParseError::NotMessage("a key looks like another");

/// Whether a lenient parser could take `key` for one of `names`. Through upper case and back, so
/// that U+017F becomes `s`, U+212A `k`, U+0131 `i`; a dot on top (U+0130) is dropped with the NULs.
fn folds_to_one_of(key: &str, names: &[&str]) -> bool {
    // Enough to tell a longer key from each name, however much of it is NULs.
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let folded: String = key
        .chars()
        .filter(|&char| char != '\0')
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .filter(|&char| char != '\u{307}')
        .take(longest + 1)
        .collect();
    names.iter().any(|name| name.eq_ignore_ascii_case(&folded))
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::*;

    fn admit(keys: &[&str]) -> Result<Vec<Option<&'static str>>, ParseError> {
        let texts: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
        let mut all = Keys::unique(&["id", "method", "requestId", "_meta"]);
        let admitted = texts
            .iter()
            .map(|text| all.admit(Scanner::new(text).string()?));
        let admitted = admitted.collect::<Result<_, _>>()?;
        all.finish().map(|()| admitted)
    }

    #[test]
    fn reserved_keys_are_found_and_others_pass() {
        assert_eq!(
            admit(&["id", "x", "_meta"]),
            Ok(vec![Some("id"), None, Some("_meta")])
        );
        assert_eq!(
            admit(&["ids", "meta", "é", "a\\u0000", ""]),
            Ok(vec![None; 5])
        );
    }

    #[test]
    fn a101_keys_that_look_like_reserved_ones_are_refused() {
        for key in [
            "ID",
            "Method",
            "METHOD",
            "_Meta",
            "requestid",
            "id\\u0000",
            "\\u0000id",
            "i\\u0000d",
            "\\u0069d",
            "ID\\u0000",
            "reque\u{17f}tId",
            "reque\\u017ftId",
            "\u{131}d",
            "\u{130}d",
            "reque\u{fb06}Id",
            "m\\u0065thod",
        ] {
            assert_eq!(admit(&[key]), Err(LOOK_ALIKE), "{key:?}");
        }
        let mut keys = Keys::unique(&["token"]);
        let kelvin = Scanner::new("\"to\u{212a}en\"")
            .string()
            .map(|key| keys.admit(key));
        assert!(matches!(kelvin, Ok(Err(ParseError::NotMessage(_)))));
    }

    #[test]
    fn a101_duplicate_keys_are_refused_however_they_are_written() {
        for keys in [
            ["id", "id"],
            ["x", "x"],
            ["x", "\\u0078"],
            ["\u{e9}", "\\u00e9"],
        ] {
            assert!(admit(&keys).is_err(), "{keys:?}");
        }
        assert!(admit(&["x", "X", "x "]).is_ok());
    }

    #[test]
    fn a119_members_are_bounded() {
        let keys: Vec<String> = (0..1025).map(|key| format!("k{key}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert!(admit(&keys).is_err());
        assert!(admit(keys.get(1..).unwrap_or_default()).is_ok());
    }
}
