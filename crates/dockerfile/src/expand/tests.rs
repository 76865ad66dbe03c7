//! Tables of words; the first column of each is raw text.

use std::collections::BTreeMap;

use super::*;

fn vars() -> BTreeMap<String, String> {
    let pairs = [
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("NULL", ""),
        ("KOREAN", "한국어"),
        ("V", "a b"),
        ("F", "foobarbaz"),
        ("P", "/usr/local/lib/x.tar.gz"),
        ("LINES", "one\ntwo"),
        ("größe", "xl"),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[track_caller]
fn check(escape: char, cases: &[(&str, &str)]) {
    for (raw, want) in cases {
        let got = expand_word(raw, escape, &vars());
        match *want {
            "ERROR" => assert!(got.is_err(), "{raw} gave {got:?}"),
            want => assert_eq!(got.map(|e| e.text).as_deref(), Ok(want), "{raw}"),
        }
    }
}

#[test]
fn quotes_and_escapes() {
    check(
        '\\',
        &[
            ("hello", "hello"),
            ("he'll'o", "hello"),
            ("he'llo", "ERROR"),
            (r"he\'llo", "he'llo"),
            (r"he\\'llo", "ERROR"),
            (r"abc\tdef", "abctdef"),
            (r#""abc\tdef""#, r"abc\tdef"),
            (r#""abc\\tdef""#, r"abc\tdef"),
            (r"'abc\tdef'", r"abc\tdef"),
            (r"hello\", "hello"),
            (r"hello\\", r"hello\"),
            (r#""hello"#, "ERROR"),
            (r#""hello\""#, "ERROR"),
            (r#""hel'lo""#, "hel'lo"),
            (r"'hello\'", r"hello\"),
            (r#""''""#, "''"),
            (r#"'"hello"'"#, "\"hello\""),
            (r"안\'녕", "안'녕"),
            ("'안녕", "ERROR"),
            (r#""he\$PWD""#, "he$PWD"),
            (r#""he\\$PWD""#, r"he\/home"),
            (r"he\\$PWD", r"he\/home"),
            ("'$PWD'", "$PWD"),
            (r"'\$PWD'", r"\$PWD"),
            ("  two  words ", "  two  words "),
            ("a <<  b", "a <<  b"),
        ],
    );
    check(
        '`',
        &[(r"C:\dir\x", r"C:\dir\x"), ("`$PWD", "$PWD"), ("\"a`\"b\"", "a\"b"), (r"\$PWD", r"\/home")],
    );
}

#[test]
fn names() {
    check(
        '\\',
        &[
            ("$.", "$."),
            ("$", "$"),
            ("he$1x", "hex"),
            ("he$PWD.", "he/home."),
            ("he$pwd.", "he."),
            ("$PWD$SHELL", "/homebash"),
            ("${PWD}x", "/homex"),
            ("$999aaa", "aaa"),
            ("${001}aaa", "aaa"),
            ("$@@@", "@@"),
            ("$$x", "x"),
            ("${#}${?}${-}${!}${*}${0}", ""),
            ("$größe!", "xl!"),
            ("$KOREAN.", "한국어."),
            ("${}", "ERROR"),
            ("${.}", "ERROR"),
            ("${{aaa}", "ERROR"),
            ("${aaa}}", "}"),
            ("${aaa", "ERROR"),
            ("${", "ERROR"),
            ("${:-x}", "ERROR"),
            (r"\${}", "${}"),
        ],
    );
}

#[test]
fn operators() {
    check(
        '\\',
        &[
            ("${X:-d}${X-d}${X:+a}${X+a}", "dd"),
            ("${NULL:-d}${NULL-d}${NULL:+a}${NULL+a}", "da"),
            ("${SHELL:-d}${SHELL-d}${SHELL:+a}${SHELL+a}", "bashbashaa"),
            ("${X:-$PWD}", "/home"),
            ("${X:-${Y:-yyy}}", "yyy"),
            ("${PWD:+${PWD}:}x", "/home:x"),
            (r"${X:-\$PWD:}", "$PWD:"),
            (r"he${XXX:-\${PWD}z}xx", "he${PWDz}xx"),
            ("${X:-'}'}", "}"),
            ("${X:-\"q u\"}", "q u"),
            ("${X:-a {b}", "a {b"),
            ("${X:-a ${b}", "ERROR"),
            ("${X?}", "ERROR"),
            ("${X:?}", "ERROR"),
            ("${NULL?}", ""),
            ("${NULL:?}", "ERROR"),
            ("${PWD:?gone}", "/home"),
            ("${PWD:=x}", "ERROR"),
            ("${PWD:YYY}", "ERROR"),
            ("${PWD=x}", "ERROR"),
            ("${PWD:#x}", "ERROR"),
            ("${-:-b}", "b"),
            ("${1:-b}${1:+c}", "b"),
        ],
    );
}

#[test]
fn patterns() {
    check(
        '\\',
        &[
            ("${F#f*b}", "arbaz"),
            ("${F##f*b}", "az"),
            ("${F%b*}", "foobar"),
            ("${F%%b*}", "foo"),
            ("${F/ba/fo}", "fooforbaz"),
            ("${F//ba/fo}", "fooforfoz"),
            ("${P##*/}", "x.tar.gz"),
            ("${P%.*}", "/usr/local/lib/x.tar"),
            ("${P%%.*}", "/usr/local/lib/x"),
            ("${F#nope}", "foobarbaz"),
            ("${F/?a/X}", "fooXrbaz"),
            ("${F//a/}", "foobrbz"),
            ("${F///-}", "-f-o-o-b-a-r-b-a-z-"),
            ("${F//*/x}", "x"),
            ("${F/o*b/}", "faz"),
            ("${P#/}", "usr/local/lib/x.tar.gz"),
            (r"${P//\//:}", ":usr:local:lib:x.tar.gz"),
            (r"${F#\*}", "foobarbaz"),
            (r"${F#\f}", "ERROR"),
            ("${F/a}", "ERROR"),
            ("${F#a", "ERROR"),
            ("${X#a}|${X//a/b}", "|"),
            ("${LINES#*t}", "one\ntwo"),
            ("${F#${F%baz}}", "baz"),
        ],
    );
}

#[test]
fn reports_names() {
    let got = expand_word("$A$PWD${B:-$C}${SHELL:+x}$A", '\\', &vars()).expect("expands");
    assert_eq!(got.unset, ["A", "B", "C"]);
    assert_eq!(got.used, ["PWD", "SHELL"]);
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("${B", 0, "missing `}` in `${B`"),
        ("ab${B", 2, "missing `}` in `${B`"),
        ("x${B:-$C", 1, "missing `}` in `${B:-$C`"),
        ("x'y", 1, "missing closing ' in `'y`"),
        ("${B:=x}", 0, "unsupported modifier `:=` in `${B:=x}`"),
        ("${B/x}", 0, "missing `/` in `${B/x}`"),
        ("${}", 0, "bad substitution in `${}`"),
        ("é${B:?need B}", 2, "B: need B"),
        ("${B?}", 0, "B: is not allowed to be unset"),
        ("${NULL:?}", 0, "NULL: is not allowed to be empty"),
        (r"${PWD#\q}", 0, r"invalid pattern `\q` in substitution: invalid escape `\q`"),
    ];
    for (raw, offset, message) in cases {
        let error = expand_word(raw, '\\', &vars()).expect_err(raw);
        assert_eq!((error.offset, error.to_string().as_str()), (offset, message), "{raw}");
    }
}

#[test]
fn words() {
    let cases: [(&str, &[&str]); 12] = [
        ("hello", &["hello"]),
        ("hello${hi}bye", &["hellobye"]),
        ("x${V}y", &["xa", "by"]),
        ("x\"$V\"y", &["xa by"]),
        ("x \"$V\"y", &["x", "a by"]),
        ("hello\" there  \"", &["hello there  "]),
        ("  hello there     ", &["hello", "there"]),
        (r"hello\ there", &["hello there"]),
        (r#"hello\" there"#, &["hello\"", "there"]),
        ("'' \"\"", &[]),
        ("$NONE", &[]),
        ("80${X:-81} 82", &["8081", "82"]),
    ];
    for (raw, want) in cases {
        assert_eq!(expand_words(raw, '\\', &vars()).expect(raw), want, "{raw}");
    }
    assert!(expand_words("a 'b", '\\', &vars()).is_err());
}

#[test]
fn heredoc_bodies() {
    let body = "hello $SHELL ${NULL+set} \\$PWD \"quoted\" 'it\\n'\n";
    let got = expand_heredoc_body(body, &vars()).expect("expands");
    assert_eq!(got.text, "hello bash set $PWD \"quoted\" 'itn'\n");
    assert!(expand_heredoc_body("it's \"", &vars()).is_ok());
}

#[test]
fn display() {
    let got = expand_for_display(r#"RUN echo "$SHELL" $NOPE ${NOPE:-x} '$PWD'"#, '\\', &vars());
    assert_eq!(got, r#"RUN echo "bash" $NOPE ${NOPE:-x} '$PWD'"#);
    assert_eq!(expand_for_display("RUN it's", '\\', &vars()), "RUN it's");
}

#[test]
fn hostile_nesting_is_an_error() {
    assert!(expand_word(&"${a:-".repeat(100_000), '\\', &NoVariables).is_err());
    assert!(expand_word(&"\"${a:-".repeat(100_000), '\\', &NoVariables).is_err());
}
