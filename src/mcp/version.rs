//! The revisions of the protocol.

/// A released revision, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "2024-11-05" => Self::V2024_11_05,
            "2025-03-26" => Self::V2025_03_26,
            "2025-06-18" => Self::V2025_06_18,
            "2025-11-25" => Self::V2025_11_25,
            "2026-07-28" => Self::V2026_07_28,
            _ => return None,
        })
    }

    /// Whether the revision knows sessions and `initialize` (up to 2025-11-25).
    pub fn is_legacy(self) -> bool {
        self < Self::V2026_07_28
    }

    /// Whether batches must be accepted: 2025-03-26 alone.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// Whether clients understand a priming event with empty data (2025-11-25; older ones parse it
    /// as JSON and fail).
    pub fn has_priming(self) -> bool {
        self >= Self::V2025_11_25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_known_by_their_date_and_in_its_order() {
        let dates = [
            "2024-11-05",
            "2025-03-26",
            "2025-06-18",
            "2025-11-25",
            "2026-07-28",
        ];
        let known: Vec<Version> = dates
            .iter()
            .filter_map(|date| Version::parse(date))
            .collect();
        assert_eq!(known.len(), dates.len());
        assert!(known.is_sorted());
        for text in ["", "2025-11-25 ", "2025-11-26", "DRAFT-2026-v1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_revision_has_follows_from_it() {
        assert!(Version::V2025_11_25.is_legacy() && !Version::V2026_07_28.is_legacy());
        assert!(Version::V2025_03_26.has_batches() && !Version::V2025_06_18.has_batches());
        assert!(Version::V2025_11_25.has_priming() && !Version::V2025_06_18.has_priming());
    }
}
