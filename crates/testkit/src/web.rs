//! A web server in this process: files, redirects, answers of every bad kind, and git repositories by git's own `http-backend`.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::image::digest_of;

/// What a path gives.
#[derive(Clone, Debug)]
pub enum Page {
    /// A file with an `ETag`, and `Last-Modified` if there is one; asked with that `ETag` the answer is 304.
    File(Vec<u8>, Option<&'static str>),
    /// The same for who sends this `Authorization`; others get 401.
    Locked(Vec<u8>, &'static str),
    /// A redirect, to a path or a whole URL.
    To(String),
    /// A status and nothing more.
    Status(u16),
    /// A body that ends half-way, this many times; then all of it.
    Cut(Vec<u8>, usize),
    /// A body that comes a few bytes at a time.
    Slow(Vec<u8>),
    /// No answer ever.
    Silence,
}

/// The running server. It ends with the process; each has a port of its own.
#[derive(Debug)]
pub struct Web {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: Mutex<BTreeMap<String, Page>>,
    requests: Mutex<Vec<String>>,
    repositories: PathBuf,
}

/// Repositories below this path are given to who sends [`GIT_HEADER`] alone.
pub const LOCKED: &str = "/locked/";
/// `basic` and `x-access-token:the-token`.
pub const GIT_HEADER: &str = "basic eC1hY2Nlc3MtdG9rZW46dGhlLXRva2Vu";

struct Request {
    method: String,
    path: String,
    query: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Web {
    /// Starts a server. Bare repositories in the folder `repositories` are at `/NAME.git` for git's smart protocol, at `/dumb/NAME.git`
    /// as plain files, and at [`LOCKED`].
    pub fn start(repositories: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State { repositories: repositories.to_owned(), ..State::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that hangs up is none of our business.
                thread::spawn(move || state.serve(stream).ok());
            }
        });
        Self { address, state }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a page.
    pub fn page(&self, path: &str, page: Page) {
        self.state.pages.lock().expect("no handler panics").insert(path.to_owned(), page);
    }

    /// A file without anything special.
    pub fn file(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.page(path, Page::File(body.into(), None));
    }

    /// The requests since the last call: method, path and, if there was one, the `Authorization`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().expect("no handler panics"))
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let Some(request) = read(&mut reader)? else { return Ok(()) };
        let mut stream = reader.into_inner();
        let who = request.headers.get("authorization").map(|value| format!(" {value}")).unwrap_or_default();
        let line = format!("{} {}{who}", request.method, request.path);
        self.requests.lock().expect("no handler panics").push(line);
        if let Some(path) = request.path.strip_prefix("/dumb/") {
            return self.plain(&mut stream, path);
        }
        if request.path.contains(".git/") {
            return self.git(&mut stream, &request);
        }
        self.answer(&mut stream, &request)
    }

    fn answer(&self, stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        let page = self.pages.lock().expect("no handler panics").get(&request.path).cloned();
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        match page {
            None => send(stream, 404, &[], b"there is no such page\n"),
            Some(Page::File(body, modified)) => {
                let etag = format!("\"{}\"", &digest_of(&body)[7..19]);
                let mut headers = vec![("ETag", etag.clone())];
                headers.extend(modified.map(|modified| ("Last-Modified", modified.to_owned())));
                let same = header("if-none-match") == Some(etag.as_str());
                if same { send(stream, 304, &headers, b"") } else { send(stream, 200, &headers, &body) }
            }
            Some(Page::Locked(body, who)) if header("authorization") == Some(who) => {
                send(stream, 200, &[], &body)
            }
            Some(Page::Locked(..)) => {
                send(stream, 401, &[("WWW-Authenticate", "Bearer".to_owned())], b"who are you\n")
            }
            Some(Page::To(place)) => send(stream, 302, &[("Location", place)], b""),
            Some(Page::Status(status)) => send(stream, status, &[("Retry-After", "0".to_owned())], b"no\n"),
            Some(Page::Cut(body, times)) if times > 0 => {
                self.pages
                    .lock()
                    .expect("no handler panics")
                    .insert(request.path.clone(), Page::Cut(body.clone(), times - 1));
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
                stream.write_all(&body[..body.len() / 2])
            }
            Some(Page::Cut(body, _)) => send(stream, 200, &[], &body),
            Some(Page::Slow(body)) => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
                for part in body.chunks(7) {
                    stream.write_all(part)?;
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
            Some(Page::Silence) => {
                let _ = stream.read(&mut [0]);
                Ok(())
            }
        }
    }

    /// A repository as files, as a server without git gives it.
    fn plain(&self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        match fs_err::read(self.repositories.join(path)) {
            Ok(body) => send(stream, 200, &[], &body),
            Err(_) => send(stream, 404, &[], b""),
        }
    }

    /// `git http-backend` by the rules of CGI (RFC 3875).
    fn git(&self, stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let path = match request.path.strip_prefix(LOCKED) {
            Some(_) if header("authorization") != GIT_HEADER => {
                return send(stream, 401, &[("WWW-Authenticate", "Basic realm=\"git\"".to_owned())], b"");
            }
            Some(path) => format!("/{path}"),
            None => request.path.clone(),
        };
        let mut command = Command::new("git");
        command.arg("http-backend").env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        command.env("GIT_PROJECT_ROOT", &self.repositories).env("GIT_HTTP_EXPORT_ALL", "1");
        command
            .env("PATH_INFO", path)
            .env("QUERY_STRING", &request.query)
            .env("REQUEST_METHOD", &request.method);
        command
            .env("CONTENT_TYPE", header("content-type"))
            .env("CONTENT_LENGTH", request.body.len().to_string());
        command
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let body = request.body.clone();
        let writer = thread::spawn(move || stdin.write_all(&body));
        let output = child.wait_with_output()?.stdout;
        let _ = writer.join();
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(output.len());
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        let mut status = 200;
        let mut headers = Vec::new();
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            match name {
                "Status" => status = value[..3].parse().unwrap_or(500),
                name => headers.push((name, value.to_owned())),
            }
        }
        send(stream, status, &headers, output.get(end + 4..).unwrap_or_default())
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length").and_then(|length| length.parse().ok()) {
        reader.take(length).read_to_end(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut line)?;
            if size == 0 {
                break;
            }
        }
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    Ok(Some(Request { method, path, query, headers, body }))
}

fn send(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {status} Whatever\r\nConnection: close\r\nDate: Sat, 01 Nov 2025 00:00:00 GMT\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if status != 304 {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
