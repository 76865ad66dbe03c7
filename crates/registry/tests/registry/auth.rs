//! Authentication: who gets which credentials, and who does not.

use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_oci::platform::Platform;
use kiln_oci::source::{ImageSource as _, SourceErrorKind};
use kiln_registry::{Client, Options};

use crate::double::{Reply, Request, Server};
use crate::image::{Image, image};
use crate::{quick, reference};

/// A client with one credential file of this content. The folder must outlive the client.
fn client_with(file: &str) -> (Client, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs_err::write(&path, file).unwrap();
    (Client::new(Options { credential_files: vec![path], ..quick() }), dir)
}

/// A credential file with one entry.
fn entry(key: &str, fields: &str) -> String {
    format!(r#"{{"auths":{{"{key}":{{{fields}}}}}}}"#)
}

/// user:s3cret
const AUTH: &str = r#""auth":"dXNlcjpzM2NyZXQ=""#;

/// A token server whose tokens are `token-0`, `token-1`, ...; it demands `wanted` as authorization.
fn token_server(wanted: Option<&'static str>) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.header("authorization") != wanted {
            return Reply::new(401, r#"{"details":"incorrect username or password"}"#);
        }
        let n = count.fetch_add(1, Ordering::SeqCst);
        Reply::new(200, format!(r#"{{"token":"token-{n}","expires_in":300}}"#))
    })
}

/// A registry that takes the bearer tokens that `accepts` likes, and names `realm` otherwise.
fn guarded(image: &Image, realm: &str, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let challenge = format!(r#"Bearer realm="{realm}",service="svc of ours",scope="repository:a/b:pull""#);
    image.serve(move |request, honest| {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(&accepts) {
            return honest;
        }
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Reply::new(401, body).with("WWW-Authenticate", challenge.as_str())
    })
}

fn resolve(client: &Client, server: &Server) -> Result<(), SourceErrorKind> {
    let found = client.resolve(&reference(&server.address, "a/b", "t"), &Platform::host());
    found.map(drop).map_err(|error| error.kind)
}

#[test]
fn an_anonymous_token_serves_many_requests() {
    let tokens = token_server(None);
    let server = guarded(&image("amd64", &[5]), &format!("http://{}/token", tokens.address), |_| true);
    let client = Client::new(quick());
    resolve(&client, &server).unwrap();
    resolve(&client, &server).unwrap();
    let asked: Vec<Request> = tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line(), "GET /token");
    assert_eq!(asked[0].query, "service=svc%20of%20ours&scope=repository%3Aa%2Fb%3Apull");
}

#[test]
fn a_refused_token_is_renewed_once() {
    let tokens = token_server(None);
    let realm = format!("http://{}/token", tokens.address);
    let image = image("amd64", &[5]);
    let client = Client::new(quick());
    // The first token is good for two requests, that is, for one image.
    let left = AtomicUsize::new(2);
    let spend = move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
    let server = guarded(&image, &realm, move |token| token != "token-0" || spend());
    resolve(&client, &server).unwrap();
    resolve(&client, &server).unwrap();
    assert_eq!(tokens.count("GET /token"), 2);

    let never = guarded(&image, &realm, |_| false);
    let error = resolve(&client, &never).unwrap_err();
    let words =
        format!("access denied: UNAUTHORIZED: authentication required; no credentials for {}", never.address);
    assert_eq!(error.to_string(), words);
    assert_eq!(
        tokens.count("GET /token"),
        3,
        "one, and none anew when that was fetched for this very request"
    );
}

#[test]
fn user_and_password_go_to_the_token_server_only() {
    let tokens = token_server(Some("Basic dXNlcjpzM2NyZXQ="));
    let server = guarded(&image("amd64", &[5]), &format!("http://{}/token", tokens.address), |_| true);
    let (client, _dir) = client_with(&entry(&server.address, AUTH));
    resolve(&client, &server).unwrap();
    let basic = |r: &Request| r.header("authorization").is_some_and(|value| value.starts_with("Basic"));
    assert!(!server.requests().iter().any(basic));
    assert!(!format!("{client:?}").contains("s3cret"));

    let (anonymous, _dir) = client_with(&entry("other.io", AUTH));
    let error = resolve(&anonymous, &server).unwrap_err().to_string();
    assert!(error.contains("incorrect username or password; no credentials for 127.0.0.1"), "{error}");
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let tokens = Server::start(|request| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let want = "grant_type=refresh_token&service=svc%20of%20ours&client_id=kiln&\
                    scope=repository%3Aa%2Fb%3Apull&refresh_token=id%2Ftoken%3D";
        let fine = request.method == "POST" && form == want && request.header("authorization").is_none();
        if fine { Reply::new(200, r#"{"access_token":"x"}"#) } else { Reply::new(400, "") }
    });
    let server = guarded(&image("amd64", &[5]), &format!("http://{}/oauth", tokens.address), |t| t == "x");
    let file = entry(&server.address, r#""auth":"MDAwOg==","identitytoken":"id/token=""#);
    resolve(&client_with(&file).0, &server).unwrap();
}

#[test]
fn a_registry_token_is_sent_as_it_is() {
    let server = guarded(&image("amd64", &[5]), "http://127.0.0.1:1/never-asked", |t| t == "rt");
    let file = entry(&server.address, r#""registrytoken":"rt""#);
    resolve(&client_with(&file).0, &server).unwrap();
}

/// A registry with Basic authentication that takes user:s3cret.
fn basic() -> Server {
    image("amd64", &[5]).serve(|request, honest| match request.header("authorization") {
        Some("Basic dXNlcjpzM2NyZXQ=") => honest,
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    })
}

#[test]
fn basic_authentication_works_or_says_why_not() {
    let server = basic();
    let address = server.address.clone();
    resolve(&client_with(&entry(&address, AUTH)).0, &server).unwrap();

    let error = resolve(&Client::new(quick()), &server).unwrap_err();
    assert_eq!(error.to_string(), format!("access denied: no credentials for {address}"));

    let (wrong, dir) = client_with(&entry(&address, r#""username":"user","password":"hunter2""#));
    let error = resolve(&wrong, &server).unwrap_err().to_string();
    let path = dir.path().join("config.json");
    assert_eq!(error, format!("access denied: with credentials from {}", path.display()));
}

#[test]
fn a_403_is_denied_with_the_servers_words() {
    let server = image("amd64", &[5])
        .serve(|_, _| Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"no licence"}]}"#));
    let error = resolve(&Client::new(quick()), &server).unwrap_err();
    assert_eq!(error.to_string(), "access denied: DENIED: no licence");
}

#[test]
fn a_redirect_to_another_host_gets_no_credentials() {
    let image = image("amd64", &[5]);
    let storage = image.serve(|_, honest| honest);
    let target = storage.address.clone();
    let server = image.serve(move |request, _| match request.header("authorization") {
        Some(_) => Reply::new(307, "").with("Location", format!("http://{target}{}", request.path)),
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    resolve(&client_with(&entry(&server.address, AUTH)).0, &server).unwrap();
    assert_eq!(storage.requests().len(), 2, "manifest and configuration came from there");
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_storage_host_cannot_ask_for_credentials() {
    let image = image("amd64", &[5]);
    let storage = image
        .serve(|_, _| Reply::new(401, "").with("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/\""));
    let target = storage.address.clone();
    let server = image.serve(move |request, _| {
        Reply::new(307, "").with("Location", format!("http://{target}{}", request.path))
    });
    let error = resolve(&client_with(&entry(&server.address, AUTH)).0, &server).unwrap_err();
    assert!(matches!(error, SourceErrorKind::Denied { .. }), "{error}");
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn credentials_are_not_sent_to_a_plain_token_server() {
    let server = guarded(&image("amd64", &[5]), "http://192.0.2.1/token?x=y", |_| true);
    let error = resolve(&client_with(&entry(&server.address, AUTH)).0, &server).unwrap_err().to_string();
    assert!(error.contains("http://192.0.2.1/token is not valid: credentials are not sent"), "{error}");
}

#[test]
fn a_broken_token_answer_is_malformed() {
    let tokens = Server::start(|_| Reply::new(200, "<html>login</html>"));
    let server = guarded(&image("amd64", &[5]), &format!("http://{}/token", tokens.address), |_| true);
    let error = resolve(&Client::new(quick()), &server).unwrap_err().to_string();
    assert!(error.contains("/token is not valid: it holds no token"), "{error}");
}
