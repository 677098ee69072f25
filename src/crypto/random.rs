//! Unpredictable bytes from the operating system's generator.

/// `N` random bytes.
///
/// # Panics
/// Never in practice: aws-lc-rs fails only where the operating system has no randomness at all,
/// and then nothing here may go on.
pub fn bytes<const N: usize>() -> [u8; N] {
    todo!()
}

/// A fresh identifier of 128 bits: 22 characters of unpadded base64url.
pub fn id() -> String {
    todo!()
}

/// A fresh secret of 256 bits: 43 characters of unpadded base64url.
pub fn secret() -> String {
    todo!()
}
