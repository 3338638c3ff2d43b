use super::*;

fn parts(path: &CStr) -> Option<(String, String)> {
    let (parent, name) = split(path).ok()?;
    Some((parent.into_string().unwrap(), name.into_string().unwrap()))
}

#[test]
fn a_path_is_split_at_its_last_name() {
    let pair = |parent: &str, name: &str| Some((parent.to_owned(), name.to_owned()));
    assert_eq!(parts(c"/a/b"), pair("/a/", "b"));
    assert_eq!(parts(c"/a"), pair("/", "a"));
    assert_eq!(parts(c"//a//b//"), pair("//a//", "b"));
}

#[test]
fn a_path_without_a_last_name_is_refused() {
    for path in [c"", c"/", c"///", c"/a/..", c"/a/.", c"/a/../"] {
        assert_eq!(parts(path), None, "{path:?}");
    }
}

#[test]
fn the_root_is_found_by_any_number_of_slashes() {
    let root = Root::Directory;
    for path in [c"/", c"", c"///"] {
        root.find(path, false).unwrap();
        root.find(path, true).unwrap();
    }
}

#[test]
fn a_path_does_not_leave_the_root() {
    let root = Root::Directory;
    let errno = root.find(c"/proc/../../x", false).unwrap_err();
    assert_eq!(errno.raw(), libc::EXDEV);
    // With links followed, `..` at the root is the root, as in a chroot.
    root.find(c"/../../proc", true).unwrap();
}

#[test]
fn a_magic_link_is_never_followed() {
    let root = Root::Directory;
    for follow in [false, true] {
        let errno = root.find(c"/proc/thread-self/root", follow);
        assert!(errno.is_err_and(|errno| errno.raw() == libc::ELOOP));
    }
}

#[test]
fn a_path_that_is_too_long_as_a_whole_is_refused() {
    let long = c_string(&[&b"/".repeat(4_090)[..], b"proc/"].concat()).unwrap();
    Root::Directory.find(&long, false).unwrap();
    assert_eq!(split(&long).unwrap().1.as_c_str(), c"proc");

    let long = c_string(&[&b"/".repeat(4_092)[..], b"proc"].concat()).unwrap();
    let errno = Root::Directory.find(&long, false).unwrap_err();
    assert_eq!(errno.raw(), libc::ENAMETOOLONG);
    assert_eq!(split(&long).unwrap_err().raw(), libc::ENAMETOOLONG);
}
