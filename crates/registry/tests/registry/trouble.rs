//! Networks and servers that fail half-way.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_oci::platform::Platform;
use kiln_oci::source::{ImageSource as _, SourceError, SourceErrorKind};
use kiln_registry::{Client, Options, Proxies, Retry};

use crate::double::{Reply, Server};
use crate::image::{Image, image};
use crate::{client, quick, reference};

const SIZE: usize = 3_000_000;

/// Reads the first layer of `image` from a double.
fn read(client: &Client, server: &Server, image: &Image) -> Result<Vec<u8>, SourceError> {
    let mut stream = client.blob(&reference(&server.address, "a/b", "t"), &image.layers[0])?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(e) => Err(*e.into_inner().unwrap().downcast().unwrap()),
    }
}

/// A double that spoils the answer number `n` (from 0) about the first layer.
fn spoiling(image: &Image, spoil: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let (path, seen) = (image.layer_path(0), AtomicUsize::new(0));
    image.serve(move |request, honest| {
        if request.path == path { spoil(seen.fetch_add(1, Ordering::SeqCst), honest) } else { honest }
    })
}

fn ranges(server: &Server) -> Vec<String> {
    server.requests().iter().map(|r| r.header("range").unwrap_or("-").to_owned()).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let image = image("amd64", &[SIZE]);
    let server = spoiling(&image, |n, honest| match n {
        0 => Reply { claim: Some(SIZE as u64), cut: Some(1_000_000), ..honest },
        1 => Reply { claim: Some(2_000_000), cut: Some(500_000), ..honest },
        _ => honest,
    });
    let bytes = read(&client(), &server, &image).unwrap();
    assert!(bytes == image.blobs[&image.layers[0].digest]);
    assert_eq!(ranges(&server), ["-", "bytes=1000000-", "bytes=1500000-"]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let image = image("amd64", &[SIZE]);
    let whole = image.blobs[&image.layers[0].digest].clone();
    let server = spoiling(&image, move |n, _| Reply {
        cut: (n == 0).then_some(1_000_000),
        claim: Some(SIZE as u64),
        ..Reply::new(200, whole.clone())
    });
    assert!(read(&client(), &server, &image).unwrap() == image.blobs[&image.layers[0].digest]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_stalled_download_goes_on() {
    let image = image("amd64", &[SIZE]);
    let server = spoiling(&image, |n, honest| match n {
        0 => Reply { cut: Some(10), stall: Duration::from_secs(20), ..honest },
        _ => honest,
    });
    let start = Instant::now();
    assert!(read(&client(), &server, &image).unwrap() == image.blobs[&image.layers[0].digest]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_body_without_length_that_ends_early_is_noticed() {
    let image = image("amd64", &[SIZE]);
    let server = spoiling(&image, |n, honest| match n {
        0 => Reply { unsized_body: true, cut: Some(77), ..honest },
        _ => honest,
    });
    assert!(read(&client(), &server, &image).unwrap() == image.blobs[&image.layers[0].digest]);
    assert_eq!(ranges(&server), ["-", "bytes=77-"]);
}

#[test]
fn resuming_is_bounded() {
    let image = image("amd64", &[SIZE]);
    let server = spoiling(&image, |_, honest| Reply { cut: Some(10), ..honest });
    let error = read(&client(), &server, &image).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("after 40 of 3000000 bytes"), "{error}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let image = image("amd64", &[SIZE]);
    let longer = spoiling(&image, |_, honest| {
        let body = [honest.body.as_slice(), b"more"].concat();
        Reply { unsized_body: true, ..Reply::new(200, body) }
    });
    let announced = spoiling(&image, |_, honest| Reply::new(200, &honest.body[1..]));
    let elsewhere = spoiling(&image, |n, honest| match n {
        0 => Reply { cut: Some(100), ..honest },
        _ => {
            Reply::new(206, &honest.body[1..]).with("Content-Range", format!("bytes 101-{}/{SIZE}", SIZE - 1))
        }
    });
    for server in [longer, announced, elsewhere] {
        let error = read(&client(), &server, &image).unwrap_err();
        assert!(matches!(error.kind, SourceErrorKind::Mismatch { .. }), "{error}");
    }
}

#[test]
fn passing_server_errors_are_mended_and_lasting_ones_told() {
    let image = image("amd64", &[5]);
    for status in [500, 502, 503, 504, 429] {
        let server = spoiling(&image, move |n, honest| if n < 3 { Reply::new(status, "") } else { honest });
        read(&client(), &server, &image).unwrap_or_else(|e| panic!("{status}: {e}"));
    }
    let server =
        spoiling(&image, |_, _| Reply::new(500, r#"{"errors":[{"code":"UNKNOWN","message":"disk"}]}"#));
    let error = read(&client(), &server, &image).unwrap_err();
    let url = format!("http://{}{}", server.address, image.layer_path(0));
    assert!(error.to_string().ends_with(&format!("{url} answered 500: UNKNOWN: disk")), "{error}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn retry_after_is_obeyed_or_refused() {
    let image = image("amd64", &[5]);
    let server = spoiling(&image, |n, honest| match n {
        0 => Reply::new(429, "").with("Retry-After", "1"),
        _ => honest,
    });
    let start = Instant::now();
    read(&client(), &server, &image).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let server = spoiling(&image, |_, _| Reply::new(429, "slow down").with("Retry-After", "3600"));
    let error = read(&client(), &server, &image).unwrap_err();
    assert!(
        matches!(&error.kind, SourceErrorKind::RateLimited { detail } if detail == "slow down"),
        "{error}"
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_document_that_breaks_off_is_fetched_again() {
    let image = image("amd64", &[5]);
    let (config, seen) = (format!("/v2/a/b/blobs/{}", image.config.digest), AtomicUsize::new(0));
    let server = image.serve(move |request, honest| {
        let spoil = request.path == config && seen.fetch_add(1, Ordering::SeqCst) == 0;
        Reply { cut: spoil.then_some(3), ..honest }
    });
    client().resolve(&reference(&server.address, "a/b", "t"), &Platform::host()).unwrap();
}

#[test]
fn redirects_are_followed_within_reason() {
    let image = image("amd64", &[SIZE]);
    let storage = image.serve(|_, honest| honest);
    let target = format!("http://{}{}?X-Signature=s3cret", storage.address, image.layer_path(0));
    let server = spoiling(&image, move |_, _| Reply::new(307, "").with("Location", target.as_str()));
    assert!(read(&client(), &server, &image).unwrap() == image.blobs[&image.layers[0].digest]);

    let round = spoiling(&image, |_, _| Reply::new(302, "").with("Location", "?again"));
    let error = read(&client(), &round, &image).unwrap_err().to_string();
    assert!(error.contains("redirects"), "{error}");

    // Plain HTTP off this machine is not for a redirect to choose; nothing is sent there.
    let away = spoiling(&image, |_, _| Reply::new(302, "").with("Location", "http://192.0.2.1/x?sig=s3cret"));
    let error = read(&client(), &away, &image).unwrap_err().to_string();
    assert!(error.contains("http://192.0.2.1/x is not valid: the registry leads to plain HTTP"), "{error}");
}

/// A proxy that takes `CONNECT NAME:80` to `target` and refuses the rest. Returns its address.
fn proxy(name: &'static str, target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let target = target.clone();
            std::thread::spawn(move || tunnel(client.unwrap(), name, &target));
        }
    });
    address
}

fn tunnel(mut client: TcpStream, name: &str, target: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    if !head.starts_with(&format!("CONNECT {name}:80 ")) || !head.contains("Basic dXNlcjpwYXNz") {
        client.write_all(b"HTTP/1.1 403 no\r\n\r\n").unwrap();
        return;
    }
    client.write_all(b"HTTP/1.1 200 ok\r\n\r\n").unwrap();
    let mut server = TcpStream::connect(target).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    // The other side may hang up first.
    let _ = std::io::copy(&mut server, &mut client);
}

#[test]
fn an_insecure_registry_behind_a_proxy() {
    let image = image("amd64", &[5]);
    let server = image.serve(|_, honest| honest);
    let through = format!("http://user:pass@{}", proxy("registry.invalid", server.address));
    let proxies =
        Proxies { http: Some(through.clone()), https: Some(through), no_proxy: "other.invalid".to_owned() };
    let insecure = vec!["registry.invalid".to_owned()];
    let client = Client::new(Options { proxies: proxies.clone(), insecure, ..quick() });
    client.resolve(&reference("registry.invalid", "a/b", "t"), &Platform::host()).unwrap();

    let secure = Client::new(Options { proxies, ..quick() });
    let error = secure.resolve(&reference("registry.invalid", "a/b", "t"), &Platform::host()).unwrap_err();
    assert!(error.to_string().contains("the proxy refuses"), "{error}");
    assert!(!format!("{error} {secure:?}").contains("pass@"));
}

#[test]
fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = client().resolve(&reference(&address, "a/b", "t"), &Platform::host()).unwrap_err();
    assert!(matches!(&error.kind, SourceErrorKind::Unreachable { host, .. } if *host == address), "{error}");
}

#[test]
fn a_quick_look_asks_once_and_does_not_wait() {
    let image = image("amd64", &[5]);
    let server = image.serve(|_, _| Reply::new(503, ""));
    let hasty = Client::new(quick().hasty(Duration::from_secs(60)));
    let error = hasty.resolve(&reference(&server.address, "a/b", "t"), &Platform::host()).unwrap_err();
    // The guess that loopback speaks plain HTTP is a try, and what follows from it is the other.
    assert!(matches!(error.kind, SourceErrorKind::Server { status: 503, .. }), "{error}");
    assert_eq!(server.requests().len(), 2);

    // It accepts, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let slow = Options { stall_timeout: Duration::from_secs(60), ..quick() };
    let hasty = Client::new(slow.hasty(Duration::from_millis(50)));
    for name in [address.as_str(), "registry.invalid"] {
        let error = hasty.resolve(&reference(name, "a/b", "t"), &Platform::host()).unwrap_err();
        assert!(error.to_string().ends_with("no answer within 0.05 s"), "{error}");
    }
}

#[test]
fn cancelling_ends_a_blocked_read() {
    let image = image("amd64", &[SIZE]);
    let server =
        spoiling(&image, |_, honest| Reply { cut: Some(10), stall: Duration::from_secs(30), ..honest });
    let client = Client::new(Options { stall_timeout: Duration::from_secs(30), ..quick() });
    let mut stream = client.blob(&reference(&server.address, "a/b", "t"), &image.layers[0]).unwrap();
    let mut first = [0; 10];
    stream.read_exact(&mut first).unwrap();
    let start = Instant::now();
    let other = client.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        other.cancel();
    });
    let error = stream.read(&mut first).unwrap_err().into_inner().unwrap();
    canceller.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
    let error: Box<SourceError> = error.downcast().unwrap();
    assert!(matches!(error.kind, SourceErrorKind::Cancelled), "{error}");
}

#[test]
fn cancelling_ends_a_wait() {
    let image = image("amd64", &[5]);
    let server = spoiling(&image, |_, _| Reply::new(503, "").with("Retry-After", "30"));
    let retry = Retry { patience: Duration::from_secs(60), ..quick().retry };
    let client = Client::new(Options { retry, ..quick() });
    let other = client.clone();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        other.cancel();
    });
    let start = Instant::now();
    let error = read(&client, &server, &image).unwrap_err();
    canceller.join().unwrap();
    assert!(matches!(error.kind, SourceErrorKind::Cancelled), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}
