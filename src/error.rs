//! The one error type: a small set of generic kinds, a stable code, a sentence for the person
//! who caused it, and a source for the operator. It must not know HTTP statuses (`http.rs` does)
//! nor SQLite (`store` converts into it).

use std::fmt;

/// What kind of failure this is. `http.rs` maps each kind to one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bytes could not be read as what they claim to be.
    Malformed,
    /// Well formed, but a rule refuses it.
    Invalid,
    /// No credential, or one that is not known.
    Unauthorized,
    /// A known credential that may not do this.
    Forbidden,
    /// Nothing by that name for this caller.
    NotFound,
    /// It contradicts what is already there.
    Conflict,
    /// Larger than a named limit.
    TooLarge,
    /// An encoding the box does not read.
    Unsupported,
    /// It did not arrive in time.
    TimedOut,
    /// Too many, too fast.
    TooMany,
    /// The box cannot take it now; the caller should try again.
    Unavailable,
    /// The disk is full.
    Full,
    /// The box is at fault.
    Internal,
}

/// One field that was refused, in the words of RFC 9457's `errors` member.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field, or the form field's name behind a slash.
    pub pointer: String,
    /// Stable machine-readable reason.
    pub code: &'static str,
    /// What is wrong and how to mend it.
    pub detail: String,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    code: &'static str,
    message: String,
    fields: Vec<FieldError>,
    retry_after_s: Option<i64>,
    offset: Option<usize>,
    source: Option<anyhow::Error>,
}

/// A failure with everything that a person and an operator need to know of it.
#[derive(Debug)]
pub struct Error(Box<Inner>);

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a stable `code` and a `message` that says what to do next.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            message: message.into(),
            fields: Vec::new(),
            retry_after_s: None,
            offset: None,
            source: None,
        }))
    }

    /// A refusal of one field; the message is the field's detail.
    pub fn field(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
        }])
    }

    /// A refusal of several fields at once. The first one names the error's code.
    pub fn fields(fields: Vec<FieldError>) -> Self {
        let (code, message) = match fields.as_slice() {
            [] => ("invalid", "The request was refused.".to_owned()),
            [one] => (one.code, one.detail.clone()),
            [first, rest @ ..] => (
                first.code,
                format!("{} ({} more below)", first.detail, rest.len()),
            ),
        };
        let mut error = Self::new(Kind::Invalid, code, message);
        error.0.fields = fields;
        error
    }

    /// The same refusal as one of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same refusal of fields that stand under `pointer`.
    #[must_use]
    pub fn under(mut self, pointer: &str) -> Self {
        for field in &mut self.0.fields {
            field.pointer.insert_str(0, pointer);
        }
        self
    }

    /// The same refusal in the words of a dialect that calls the events' properties `name`.
    #[must_use]
    pub fn of_properties(mut self, name: &str) -> Self {
        for field in &mut self.0.fields {
            field.pointer = field
                .pointer
                .replacen("/properties", &format!("/{name}"), 1);
        }
        self
    }

    /// The same refusal, at a byte of the body.
    #[must_use]
    pub fn with_offset(mut self, offset: usize) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Nothing by that name, or nothing that this caller may see: the same answer for both.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Kind::NotFound,
            "not_found",
            format!("There is no such {what}, or it is not yours to see."),
        )
    }

    /// The box's own fault: the caller hears a plain sentence, the log gets the source.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::new(
            Kind::Internal,
            "internal",
            "The box failed at this; its log says why. Trying again is safe.",
        )
        .with_source(source)
    }

    /// Says after how many seconds trying again may help.
    #[must_use]
    pub fn with_retry_after_s(mut self, seconds: i64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Attaches what the operator's log should say.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The generic kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The sentence for the person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The refused fields, if it is about fields.
    pub fn field_errors(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// Seconds after which trying again may help, where that is known.
    pub fn retry_after_s(&self) -> Option<i64> {
        self.0.retry_after_s
    }

    /// The byte of the body that it is about, where it is about one.
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// The operator's side of it.
    pub fn source(&self) -> Option<&anyhow::Error> {
        self.0.source.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source:#}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
