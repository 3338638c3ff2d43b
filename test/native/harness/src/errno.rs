//! Errnos by name or number.

use nix::errno::Errno;

use crate::Outcome;
use crate::lifetime::say;

/// The kernel uses the numbers below.
const END: i32 = 134;

/// Prints each number that has a name, and the name.
pub(crate) fn run() -> Outcome {
    (1..END)
        .map(|number| (number, Errno::from_raw(number)))
        .filter(|&(_, errno)| errno != Errno::UnknownErrno)
        .try_for_each(|(number, errno)| say(&format!("{number} {errno:?}")))
}

/// Reads `ENOSYS` or `38`.
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    (1..END)
        .find(|number| format!("{:?}", Errno::from_raw(*number)) == text)
        .ok_or_else(|| format!("no errno is called {text}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        assert_eq!(parse("ENOSYS"), Ok(libc::ENOSYS));
        assert_eq!(parse("EAGAIN"), Ok(libc::EAGAIN));
        assert_eq!(parse("7"), Ok(7));
        assert!(parse("ENOPE").is_err());
    }
}
