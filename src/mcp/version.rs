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
