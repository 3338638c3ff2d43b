use nix::libc;

use super::*;

fn request(flags: MsFlags, data: &CStr) -> Request {
    Request {
        source: c"proc".into(),
        target: c"/proc".into(),
        fstype: c"proc".into(),
        flags: flags.bits(),
        data: data.into(),
    }
}

fn parsed(data: &[u8]) -> Vec<(String, Option<String>)> {
    let text = |text: CString| text.into_string().unwrap();
    let options = options(data).unwrap();
    options
        .into_iter()
        .map(|(key, value)| (text(key), value.map(text)))
        .collect()
}

#[test]
fn options_are_split_as_mount_does() {
    let option = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    assert_eq!(parsed(b""), []);
    assert_eq!(parsed(b",,=x,"), []);
    assert_eq!(parsed(b"a"), [option("a", None)]);
    assert_eq!(
        parsed(b"hidepid=2,gid=,subset=pid=x,ro"),
        [
            option("hidepid", Some("2")),
            option("gid", Some("")),
            option("subset", Some("pid=x")),
            option("ro", None)
        ]
    );
}

#[test]
fn a_text_that_is_too_long_for_fsconfig_is_left_to_mount() {
    let none = MsFlags::empty();
    assert!(Plan::of(&request(none, c"")).is_some());
    let ignored = MsFlags::MS_SILENT | MsFlags::MS_POSIXACL | MsFlags::MS_I_VERSION;
    assert!(Plan::of(&request(ignored, c"")).is_some());
    assert!(Plan::of(&request(MsFlags::from_bits_retain(libc::MS_MGC_VAL), c"")).is_some());
    for flags in [
        MsFlags::MS_BIND,
        MsFlags::MS_REMOUNT,
        MsFlags::MS_MOVE,
        MsFlags::MS_PRIVATE,
        MsFlags::from_bits_retain(libc::MS_NOUSER),
    ] {
        assert!(Plan::of(&request(flags, c"")).is_none(), "{flags:?}");
    }
    let long = CString::new(vec![b'x'; 256]).unwrap();
    assert!(Plan::of(&request(none, &long)).is_none());
    assert!(
        Plan::of(&Request {
            source: long,
            ..request(none, c"")
        })
        .is_none()
    );
    assert!(
        Plan::of(&Request {
            fstype: c"proc.x".into(),
            ..request(none, c"")
        })
        .is_none()
    );
}

#[test]
fn flags_for_access_times_have_the_same_effect_as_in_mount() {
    let of = |flags| attributes(flags) & 0x70;
    assert_eq!(of(MsFlags::empty()), 0);
    assert_eq!(of(MsFlags::MS_RELATIME), 0);
    assert_eq!(of(MsFlags::MS_NOATIME), 0x10);
    assert_eq!(of(MsFlags::MS_STRICTATIME | MsFlags::MS_NOATIME), 0x20);
}
