//! Errnos as a person writes them.

use nix::errno::Errno;

/// Reads `ENOSYS` or `38`.
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    // The kernel uses the numbers below 134.
    (1..134)
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
