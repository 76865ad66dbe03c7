//! Each case against its `expected.txt`.

use crate::corpus::cases;
use crate::render::render;

#[test]
fn golden() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut failed = Vec::new();
    for case in cases() {
        let path = case.folder.join("expected.txt");
        let got = render(&case.text);
        if bless {
            fs_err::write(&path, &got).expect("writable");
            continue;
        }
        let want = fs_err::read_to_string(&path).unwrap_or_default();
        if got != want {
            let line = got.lines().zip(want.lines()).take_while(|(a, b)| a == b).count() + 1;
            failed.push(format!("{}: differs from line {line}:\n{got}", case.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
