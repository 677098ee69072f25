//! Strict `application/x-www-form-urlencoded`, for bodies and queries: a parameter that comes twice
//! is an error (RFC 6749 §3.1, §3.2).

/// The decoded parameters, in order, each name at most once among those asked for.
#[derive(Debug, Default, Clone)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

/// What is wrong with a form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("parameter {0} is repeated")]
    Repeated(String),
    #[error("the form is not valid UTF-8 after decoding")]
    NotUtf8,
    #[error("the form has a malformed percent-encoding")]
    BadEncoding,
}

impl Form {
    /// Decodes; malformed percent-encoding and non-UTF-8 are errors. Repetition is reported by
    /// [`Form::get`], so that unknown parameters may repeat.
    pub fn parse(text: &[u8]) -> Result<Self, FormError> {
        let _ = text;
        todo!()
    }

    /// The value of a parameter; an empty value counts as absent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Result<Option<&str>, FormError> {
        let _ = name;
        let _ = &self.pairs;
        todo!()
    }
}

/// Percent-encodes for a query component: everything but unreserved characters (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    let _ = text;
    todo!()
}
