//! `mounts`: calls `mount(2)`, as the reference for comparisons.

use std::ffi::CString;
use std::io::BufRead;

use nix::mount::{MsFlags, mount};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say};

/// Makes the mount of each line of standard input, and prints `0` or the errno, until an empty line.
///
/// A line has five words: source, target, type, flags and data. The flags are a number; the others are in hexadecimal, `-`
/// for NULL.
pub(crate) fn run() -> Outcome {
    die_with_parent()?;
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        say(&request(&line)?.to_string())?;
    }
    Ok(())
}

fn request(line: &str) -> Result<i32, Box<dyn std::error::Error>> {
    let words: Vec<&str> = line.split(' ').collect();
    let [source, target, fstype, flags, data] = words.as_slice() else {
        return Err(format!("mounts: what is {line}?").into());
    };
    let flags = MsFlags::from_bits_retain(flags.parse()?);
    let target = text(target)?.unwrap_or_default();
    let [source, fstype, data] = [text(source)?, text(fstype)?, text(data)?];
    let mounted = mount(
        source.as_deref(),
        target.as_c_str(),
        fstype.as_deref(),
        flags,
        data.as_deref(),
    );
    Ok(mounted.err().map_or(0, |errno| errno as i32))
}

fn text(word: &str) -> Result<Option<CString>, Box<dyn std::error::Error>> {
    if word == "-" {
        return Ok(None);
    }
    let digits: Vec<char> = word.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    let bytes = digits.chunks(2).map(byte).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(CString::new(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hexadecimal() {
        assert_eq!(text("-").unwrap(), None);
        assert_eq!(text("").unwrap(), Some(c"".to_owned()));
        assert_eq!(text("2f61").unwrap(), Some(c"/a".to_owned()));
        assert!(text("2x").is_err());
        assert!(text("00").is_err());
    }

    #[test]
    fn an_errno_is_the_answer() {
        // Fails before the target is looked at: the type is not known, or this process may not mount.
        let answer = request("- 2f 6e6f7468696e67 0 -").unwrap();
        assert!([libc::ENODEV, libc::EPERM].contains(&answer), "{answer}");
        assert!(request("- - -").is_err());
    }
}
