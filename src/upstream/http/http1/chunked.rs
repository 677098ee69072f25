//! The chunked transfer coding (RFC 9112 §7.1). Extensions mean nothing here, and trailers go no
//! further (threat case A-112).

use bytes::{Buf as _, Bytes};
use memchr::memchr;

use super::answer::Malformed;
use super::content::{Next, up_to};

/// Most bytes of a chunk's head with its extensions, and of all trailers.
const MAX_LINES: usize = 16 * 1024;

/// Most trailers.
const MAX_FIELDS: usize = 32;

/// What of a chunked body comes next.
pub(super) enum Chunked {
    Size,
    /// So many bytes of data.
    Data(u64),
    /// The line's end after a chunk's data.
    DataEnd,
    Trailers,
    Nothing,
}

impl Chunked {
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Takes from what was `received` what is of the body. If the body's end is there behind the
    /// data, that is taken with it.
    pub(super) fn next(&mut self, received: &mut Bytes) -> Result<Next, Malformed> {
        while self.step(received)? {}
        let Self::Data(remaining) = self else {
            return Ok(if self.has_ended() {
                Next::End
            } else {
                Next::Missing
            });
        };
        if received.is_empty() {
            return Ok(Next::Missing);
        }
        let data = up_to(remaining, received);
        if *remaining == 0 {
            *self = Self::DataEnd;
        }
        // What is wrong behind the data is said when that is asked for.
        while matches!(self.step(received), Ok(true)) {}
        Ok(Next::Data(data))
    }

    /// Takes a piece of what is between data. `false` if there is none.
    fn step(&mut self, received: &mut Bytes) -> Result<bool, Malformed> {
        match self {
            Self::Size => self.take_size(received),
            Self::DataEnd => self.take_data_end(received),
            Self::Trailers => self.take_trailers(received),
            Self::Data(_) | Self::Nothing => Ok(false),
        }
    }

    /// httparse is content with less than a chunk's head: a line without a number is a zero to it,
    /// and with that the end; and an extension may go over lines.
    fn take_size(&mut self, received: &mut Bytes) -> Result<bool, Malformed> {
        let has_number = received.first().is_none_or(u8::is_ascii_hexdigit);
        match httparse::parse_chunk_size(received) {
            Ok(httparse::Status::Complete((length, size)))
                if has_number && memchr(b'\n', received) == Some(length - 1) =>
            {
                received.advance(length);
                *self = match size {
                    0 => Self::Trailers,
                    size => Self::Data(size),
                };
                Ok(true)
            }
            Ok(httparse::Status::Partial) if has_number && received.len() <= MAX_LINES => Ok(false),
            Ok(_) | Err(_) => Err(Malformed::Chunk),
        }
    }

    fn take_data_end(&mut self, received: &mut Bytes) -> Result<bool, Malformed> {
        match **received {
            [b'\r', b'\n', ..] => {
                received.advance(2);
                *self = Self::Size;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            _ => Err(Malformed::Chunk),
        }
    }

    fn take_trailers(&mut self, received: &mut Bytes) -> Result<bool, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        match httparse::parse_headers(received, &mut fields) {
            Ok(httparse::Status::Complete((length, _))) => {
                received.advance(length);
                *self = Self::Nothing;
                Ok(true)
            }
            Ok(httparse::Status::Partial) if received.len() <= MAX_LINES => Ok(false),
            Ok(httparse::Status::Partial) | Err(_) => Err(Malformed::Chunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of `pieces`, and whether it came to its end.
    fn decoded(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Malformed> {
        let mut chunked = Chunked::Size;
        let mut received = Bytes::new();
        let mut all = Vec::new();
        for piece in pieces {
            received = [&received, *piece].concat().into();
            while let Next::Data(data) = chunked.next(&mut received)? {
                all.extend_from_slice(&data);
            }
        }
        Ok((all, chunked.has_ended() && received.is_empty()))
    }

    #[test]
    fn chunks_with_extensions_and_trailers_are_their_data() {
        let body = b"5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n0;z\r\nX-Sum: 1\r\nY: 2\r\n\r\n";
        assert_eq!(decoded(&[body]), Ok((b"hello0123456789".to_vec(), true)));
    }

    #[test]
    fn the_end_is_known_with_the_last_data_if_it_is_there() {
        let mut chunked = Chunked::Size;
        let mut received = Bytes::from_static(b"1\r\na\r\n0\r\n\r\n");
        assert!(matches!(chunked.next(&mut received), Ok(Next::Data(_))));
        assert!(chunked.has_ended());
    }

    #[test]
    fn a125_what_is_no_chunk_is_refused() {
        for body in [
            "x\r\n",
            "-1\r\n",
            "10000000000000000\r\n",
            "1\r\nab",
            "1\r\na\n1\r\n",
            "1\na",
            "\r\n",
            ";x\r\n\r\n",
            "1;a=\nb\r\n",
            "0\r\nno name\r\n\r\n",
        ] {
            assert_eq!(
                decoded(&[body.as_bytes()]),
                Err(Malformed::Chunk),
                "{body:?}"
            );
        }
    }

    #[test]
    fn lines_that_go_on_for_ever_are_refused() {
        let long = "x".repeat(MAX_LINES);
        for body in [
            format!("1;{long}"),
            format!("0\r\n{long}x"),
            format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1)),
        ] {
            assert_eq!(decoded(&[body.as_bytes()]), Err(Malformed::Chunk));
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1_usize..12, 0..80),
            missing in 0_usize..4,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            body.truncate(body.len() - missing);
            let mut rest = body.as_slice();
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(decoded(&pieces), Ok((chunks.concat(), missing == 0)));
        }
    }
}
