//! The name a client gave itself, made fit to be shown (threat case A-014).

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// How many characters of a name are shown.
const LENGTH: usize = 64;

/// How many marks in a row are shown. No language needs more (UTS #39 §5.4); piled up, they reach
/// over the lines above and below.
const MARKS: usize = 4;

/// A stranger's name for itself in one line: composed (NFC), without controls, without characters
/// that are invisible or turn the direction of text, without heaps of marks, at most 64 characters.
/// `None` if nothing is left. Escaping is the template's business.
pub fn display_name(name: &str) -> Option<String> {
    let mut marks = 0;
    let visible: String = name
        .nfc()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|&c| !is_hidden(c))
        .filter(|&c| {
            marks = if is_combining_mark(c) { marks + 1 } else { 0 };
            marks <= MARKS
        })
        .collect();
    let words: Vec<&str> = visible.split(' ').filter(|word| !word.is_empty()).collect();
    let words = words.join(" ");
    let shown: String = words.chars().take(LENGTH).collect();
    let shown = shown.trim_end();
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Controls, format characters (Unicode category Cf: bidi, zero width, tags), fillers, variation
/// selectors and private use, where fonts keep their logos.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a014_hidden_and_turning_characters_are_stripped() {
        let shown = |name| display_name(name).unwrap();
        assert_eq!(
            shown("Clau\u{202e}de\u{200b} \u{2066}Code\u{2069}"),
            "Claude Code"
        );
        assert_eq!(shown("a\0b\tc\r\n  d\u{85}"), "ab c d");
        assert_eq!(shown("e\u{301}"), "\u{e9}");
        assert_eq!(shown("名前 \u{e0041}x"), "名前 x");
    }

    #[test]
    fn a014_a_name_is_at_most_64_characters() {
        assert_eq!(
            display_name(&"é".repeat(10_000)).unwrap().chars().count(),
            64
        );
    }

    #[test]
    fn a014_marks_do_not_pile_up() {
        let piled = format!("Z{}a", "\u{327}\u{30d}".repeat(30));
        assert_eq!(
            display_name(&piled).unwrap(),
            "Z\u{327}\u{327}\u{327}\u{327}a"
        );
        let hindi = "क्षत्रिय";
        assert_eq!(display_name(hindi).unwrap(), hindi);
    }

    #[test]
    fn a014_a_name_of_nothing_is_no_name() {
        assert_eq!(display_name(""), None);
        assert_eq!(display_name(" \u{3164}\u{200d}\u{feff} "), None);
    }

    proptest! {
        #[test]
        fn a_shown_name_is_one_clean_short_line(name in any::<String>()) {
            if let Some(shown) = display_name(&name) {
                prop_assert!(!shown.is_empty() && shown.chars().count() <= 64);
                prop_assert!(!shown.chars().any(is_hidden));
                prop_assert_eq!(shown.trim(), &shown);
            }
        }
    }
}
