use super::*;

fn git_of(text: &str) -> GitSource {
    match classify(text).expect(text) {
        Source::Git(git) => git,
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn kinds() {
    let git = [
        "https://example.com/org/repo.git",
        "http://example.com/repo.git#main",
        "ssh://git@example.com/repo",
        "git://example.com/repo",
        "git@example.com:org/repo",
        "HTTPS://example.com/repo.git",
    ];
    for text in git {
        assert!(matches!(classify(text), Ok(Source::Git(_))), "{text}");
    }
    let paths = [
        "a",
        "./git@x:y",
        "github.com/org/repo",
        "ftp://x/y",
        "a/b://c",
        "*.txt",
        "",
        "user@host",
        "a@b c:d",
    ];
    for text in paths {
        assert_eq!(classify(text), Ok(Source::Path), "{text}");
    }
    let http = [
        ("https://example.com/a/b.tar.gz", "b.tar.gz"),
        ("http://example.com/a%20b?x=1#f", "a b"),
        ("http://example.com", "__unnamed__"),
        ("http://example.com/", "__unnamed__"),
        ("https://example.com/dir/", "dir"),
        ("https://example.com/repo.git/x", "x"),
        ("https://example.com/a%2Fb", "b"),
        ("https://example.com/a/%2e%2e", "download"),
        ("https://example.com/a%0ab", "download"),
        ("https://example.com/x%zz", "__unnamed__"),
        ("https://user:secret@example.com:8443/f?sig=1", "f"),
    ];
    for (text, name) in http {
        let want = HttpSource { url: text.to_owned(), file_name: name.to_owned() };
        assert_eq!(classify(text), Ok(Source::Http(want)), "{text}");
    }
}

#[test]
fn git_parts() {
    let got = git_of("https://example.com/org/repo.git#v1:docs/../src/");
    assert_eq!(got.remote, "https://example.com/org/repo.git");
    assert_eq!((got.short_name.as_str(), got.reference.as_str(), got.subdir.as_str()), ("repo", "v1", "src"));
    let got = git_of("git@example.com:org/repo.git?tag=v2&keep-git-dir&submodules=0&commit=abc&mtime=commit");
    assert_eq!(got.remote, "git@example.com:org/repo.git");
    assert_eq!(got.reference, "refs/tags/v2");
    assert_eq!((got.keep_git_dir, got.submodules), (Some(true), Some(false)));
    assert_eq!((got.checksum.as_deref(), got.mtime.as_deref()), (Some("abc"), Some("commit")));
    assert_eq!(git_of("git://h/r?branch=refs/heads/x&ref=refs/heads/x").reference, "refs/heads/x");
}

#[test]
fn bad_queries() {
    let bad = [
        "a=1",
        "ref=",
        "ref=1&ref=2",
        "tag=a&branch=b",
        "submodules=maybe",
        "mtime=now",
        "checksum=main",
        "commit=0xabc",
        "ref=--upload-pack=touch",
        "ref=a%0ab",
        "subdir=-x",
    ];
    for query in bad {
        assert!(classify(&format!("https://h/r.git?{query}")).is_err(), "{query}");
    }
    assert!(classify("https://h/r.git?ref=a#b").is_err());
}

#[test]
fn contexts_may_leave_out_the_scheme_of_github() {
    let git = |text: &str| match classify_context(text).expect(text) {
        Source::Git(git) => git,
        other => panic!("{text} is {other:?}"),
    };
    let got = git("github.com/org/repo#v1:sub");
    assert_eq!((got.remote.as_str(), got.short_name.as_str()), ("https://github.com/org/repo", "repo"));
    assert_eq!((got.reference.as_str(), got.subdir.as_str()), ("v1", "sub"));
    assert_eq!(git("github.com/org/repo.git?ref=v1").reference, "v1");
    assert_eq!(git("https://h/r.git").remote, "https://h/r.git");
    for path in ["github.com", "./github.com/a/b", "../x", "example.com/a/b", "-", "."] {
        assert_eq!(classify_context(path), Ok(Source::Path), "{path}");
    }
    assert!(matches!(classify_context("https://h/context.tar.gz"), Ok(Source::Http(_))));
}

#[test]
fn nothing_is_taken_for_an_option() {
    let bad = [
        "ssh://-oProxyCommand=touch/x",
        "ssh://git@-oProxyCommand=touch/x",
        "git://-h/x",
        "https://-h/r.git",
        "http:///r.git",
        "https:///file",
        "ssh://h/-x",
        "git@-host:path",
        "https://h h/file",
        "git:// h/r",
        "git@host:-path",
        "https://h/r.git#-x",
        "https://h/r.git#x:-y",
        "https://h/r\u{7}.git",
    ];
    for text in ["https://u:p/w@h/r.git", "ssh://git@github.com:owner/r.git", "http://h:80x/f"] {
        assert!(matches!(classify(text), Err(SourceError::Port { .. })), "{text}: {:?}", classify(text));
    }
    for text in bad {
        assert!(matches!(classify(text), Err(SourceError::Unsafe { .. })), "{text}: {:?}", classify(text));
    }
}

#[test]
fn credentials_are_not_shown() {
    let cases = [
        ("https://user:secret@h/r.git#main", "https://h/r.git#main"),
        ("https://token@h/r.git?ref=a", "https://h/r.git"),
        ("http://h/f?X-Signature=secret#frag", "http://h/f#frag"),
        ("ssh://git:secret@h:22/r", "ssh://git@h:22/r"),
        ("ssh://git@h/r#a:b", "ssh://git@h/r#a:b"),
        ("git@h:r?ref=x", "git@h:r?ref=x"),
        ("plain/path?x", "plain/path?x"),
        ("https://u:p@ss@h/x", "https://h/x"),
        ("https://u:p/a/ss@h/x?y", "https://h/x"),
        ("https://u:p#ss@h/x", "https://h/x"),
        ("https://me@corp.example:p/ss@h/x", "https://h/x"),
        ("ssh://git:s/cret@h/x", "ssh://git@h/x"),
        ("git+https://u:p@h/x", "git+https://u@h/x"),
        ("https://h:80/@scope/x", "https://h:80/@scope/x"),
        ("https://[::1]/@scope/x", "https://[::1]/@scope/x"),
    ];
    for (text, want) in cases {
        assert_eq!(shown(text), want, "{text}");
    }
    assert_eq!(redacted("https://u:p@h/f?x=1"), "https://h/f?x=1");
}

#[test]
fn commits() {
    let sha1 = "0123456789abcdef0123456789abcdef01234567";
    assert!(is_commit(sha1) && is_commit(&sha1.repeat(2)[..64]));
    assert!(!is_commit(&sha1[1..]) && !is_commit(&sha1.to_uppercase()) && !is_commit("main"));
    assert!(is_commit_prefix("aB3") && !is_commit_prefix("") && !is_commit_prefix("xyz"));
}

/// Texts put together at random from what means something in URLs: whatever is accepted can be handed to a program.
#[test]
fn no_text_gets_through_that_should_not() {
    const PIECES: [&str; 30] = [
        "https://",
        "http://",
        "ssh://",
        "git://",
        "git@",
        "user:pw@",
        "-",
        "--upload-pack=x",
        "host",
        ".git",
        "/",
        "//",
        ":",
        "#",
        "?",
        "&",
        "=",
        "ref",
        "subdir",
        "checksum",
        "..",
        "%2e",
        "%0a",
        "%zz",
        "\0",
        "\n",
        "é",
        "abc123",
        "@",
        " ",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let fine = |text: &str| !text.starts_with('-') && !text.chars().any(char::is_control);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let text: String = (0..1 + next(9)).map(|_| PIECES[next(PIECES.len())]).collect();
        let source = classify_context(&text);
        if matches!(source, Ok(Source::Http(_) | Source::Git(_))) {
            let shown = shown(&text);
            // A place of scp has no password, and its path may look like anything.
            let url = shown.split_once("://").filter(|(scheme, _)| !scheme.contains('@'));
            let host = url.map_or("", |(_, rest)| rest);
            let host = host.split(['/', '?', '#']).next().unwrap_or_default();
            assert!(!host.contains("pw@"), "{text:?}: {shown:?}");
        }
        if let Ok(Source::Git(git)) = source {
            accepted += 1;
            for part in [&git.remote, &git.reference, &git.subdir] {
                assert!(fine(part), "{text:?}: {part:?}");
            }
            assert!(!git.subdir.split('/').any(|name| name == ".."), "{text:?}");
            assert!(git.checksum.as_deref().is_none_or(is_commit_prefix), "{text:?}");
        }
    }
    assert!(accepted > 500, "only {accepted} were accepted: the texts are no test");
}
