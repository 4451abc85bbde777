//! How a refusal crosses: an exception whose `code` is the kind, and whose message is the text, a line break, and the
//! details as JSON, in which a u64 is a string of digits.

use std::fmt::Write;

use migration_core::error::Detail;
use migration_core::Error;

/// The kind of a refusal, as an exception's code.
pub struct Kind(&'static str);

impl AsRef<str> for Kind {
    fn as_ref(&self) -> &str {
        self.0
    }
}

pub type Refusal = napi::Error<Kind>;

pub fn refusal(error: Error) -> Refusal {
    let mut message = format!("{error}\n{{");
    for (place, (name, value)) in error.details().into_iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match value {
            Detail::Number(value) => write!(message, "{comma}\"{name}\":{value}"),
            Detail::U64(value) => write!(message, "{comma}\"{name}\":\"{value}\""),
        };
    }
    message.push('}');
    napi::Error::new(Kind(error.kind().name()), message)
}

/// A call that the wrapper does not make: it has checked the argument.
pub fn misuse(what: &str) -> Refusal {
    napi::Error::new(Kind("misuse"), what.to_owned())
}
