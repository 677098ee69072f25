//! Where an answer's body ends (RFC 9112 §6.3).

use bytes::Bytes;

use super::answer::Malformed;
use super::chunked::Chunked;

/// What an answer has to bring yet.
pub(super) enum Content {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// Whatever comes until the server hangs up.
    UntilClose,
}

pub(super) enum Next {
    Data(Bytes),
    /// To be asked again when more was received.
    Missing,
    End,
}

impl Content {
    pub(super) const NONE: Self = Self::Length(0);

    /// Takes from what was `received` what is of the body.
    pub(super) fn next(&mut self, received: &mut Bytes) -> Result<Next, Malformed> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Chunked(chunked) => chunked.next(received),
            _ if received.is_empty() => Ok(Next::Missing),
            Self::Length(remaining) => Ok(Next::Data(up_to(remaining, received))),
            Self::UntilClose => Ok(Next::Data(std::mem::take(received))),
        }
    }

    /// All of a body of known length, if all was `received`.
    pub(super) fn take_whole(&mut self, received: &mut Bytes) -> Option<Bytes> {
        match self {
            Self::Length(remaining) if *remaining <= received.len() as u64 => {
                Some(up_to(remaining, received))
            }
            _ => None,
        }
    }

    pub(super) const fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(remaining) => Some(*remaining),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    pub(super) const fn has_ended(&self) -> bool {
        match self {
            Self::Length(remaining) => *remaining == 0,
            Self::Chunked(chunked) => chunked.has_ended(),
            Self::UntilClose => false,
        }
    }

    pub(super) const fn ends_with_the_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }
}

/// The front of `received`, as far as `remaining` goes, which is counted down.
pub(super) fn up_to(remaining: &mut u64, received: &mut Bytes) -> Bytes {
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX);
    let data = received.split_to(length.min(received.len()));
    *remaining -= data.len() as u64;
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(next: Result<Next, Malformed>) -> Option<Bytes> {
        match next {
            Ok(Next::Data(data)) => Some(data),
            _ => None,
        }
    }

    #[test]
    fn a_body_of_known_length_leaves_what_stands_behind_it() {
        let mut content = Content::Length(5);
        let mut received = Bytes::from_static(b"abc");
        assert_eq!(content.take_whole(&mut received), None);
        assert_eq!(data(content.next(&mut received)).unwrap(), "abc");
        assert!(matches!(content.next(&mut received), Ok(Next::Missing)));
        assert!(!content.has_ended());
        received = Bytes::from_static(b"deHTTP/1.1");
        assert_eq!(content.take_whole(&mut received).unwrap(), "de");
        assert!(content.has_ended());
        assert!(matches!(content.next(&mut received), Ok(Next::End)));
        assert_eq!(received, "HTTP/1.1");
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection_alone() {
        let mut content = Content::UntilClose;
        let mut received = Bytes::from_static(b"abc");
        assert_eq!(content.take_whole(&mut received), None);
        assert_eq!(data(content.next(&mut received)).unwrap(), "abc");
        assert!(matches!(content.next(&mut received), Ok(Next::Missing)));
        assert!(!content.has_ended());
        assert!(content.ends_with_the_connection());
    }
}
