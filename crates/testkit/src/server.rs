//! A registry of one image, in this process, that behaves badly on request.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::image::digest_of;

/// How the registry behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// One byte of the layer is another.
    OtherByte,
    /// The layer's body ends in the middle.
    CutShort,
    /// The layer has more bytes than its descriptor says.
    TooLong,
    /// The config claims another diff id than the layer has.
    WrongDiffId,
    /// The manifest that is asked for by digest is another one.
    OtherManifest,
    /// Every request for the image is answered with this status, with `Retry-After: 0` so that trying again is quick.
    Status(u16),
    /// The first so many requests for the image are answered with this status.
    StatusAtFirst(u16, usize),
    /// Wants a token, which anybody gets at `/token`.
    Token,
}

/// The running registry. It ends with the process; each has a port of its own.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The digest of its image's manifest, as an honest registry would serve it.
    pub digest: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// The one file of the image.
pub const FILE: (&str, &str) = ("etc/who", "an image of one file\n");

struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    manner: Manner,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a registry on a free port of loopback.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let image = Arc::new(Image::new(manner, address, Arc::clone(&requests)));
        let digest = digest_of(&image.manifest);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let image = Arc::clone(&image);
                // A client that hangs up is none of our business.
                thread::spawn(move || image.answer(stream).ok());
            }
        });
        Self { address, digest, requests }
    }

    /// The image's name.
    pub fn image(&self) -> String {
        format!("{}/liar:1", self.address)
    }

    /// The lines of all requests so far, such as `GET /v2/`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no handler panics").clone()
    }
}

impl Image {
    fn new(manner: Manner, address: SocketAddr, requests: Arc<Mutex<Vec<String>>>) -> Self {
        let layer = layer();
        let diff_id =
            if manner == Manner::WrongDiffId { digest_of(b"something else") } else { digest_of(&layer) };
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["who"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created_by": "the server"}],
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer, manner, address, requests }
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut authorized = false;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            authorized |= header.to_ascii_lowercase().starts_with("authorization: bearer the-token");
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let earlier = self.note(format!("{method} {path}"));
        let reply = self.reply(path, authorized, earlier);
        self.send(&mut reader.into_inner(), method == "HEAD", reply)
    }

    /// Notes a request and says how many for the image came before it.
    fn note(&self, request: String) -> usize {
        let mut requests = self.requests.lock().expect("no handler panics");
        let earlier = requests.iter().filter(|r| r.contains("/liar/")).count();
        requests.push(request);
        earlier
    }

    fn reply(&self, path: &str, authorized: bool, earlier: usize) -> Reply {
        if path.starts_with("/token") {
            return Reply::new(
                200,
                "application/json",
                json!({"token": "the-token"}).to_string().into_bytes(),
            );
        }
        if self.manner == Manner::Token && !authorized {
            let scope = "repository:liar:pull";
            let challenge =
                format!("Bearer realm=\"http://{}/token\",service=\"liar\",scope=\"{scope}\"", self.address);
            return Reply::new(401, "text/plain", Vec::new()).with("WWW-Authenticate", &challenge);
        }
        if path.trim_end_matches('/') == "/v2" {
            return Reply::new(200, "application/json", b"{}".to_vec());
        }
        match self.manner {
            Manner::Status(status) => {
                return Reply::new(status, "text/plain", b"no\n".to_vec()).with("Retry-After", "0");
            }
            Manner::StatusAtFirst(status, times) if earlier < times => {
                return Reply::new(status, "text/plain", b"not yet\n".to_vec()).with("Retry-After", "0");
            }
            _ => {}
        }
        self.content(path)
    }

    fn content(&self, path: &str) -> Reply {
        let Some((kind, reference)) = path.strip_prefix("/v2/liar/").and_then(|rest| rest.split_once('/'))
        else {
            return Reply::new(404, "text/plain", Vec::new());
        };
        if kind == "manifests" {
            let mut manifest = self.manifest.clone();
            if self.manner == Manner::OtherManifest && reference.starts_with("sha256:") {
                manifest.push(b' ');
            }
            let digest = digest_of(&manifest);
            let reply = Reply::new(200, "application/vnd.oci.image.manifest.v1+json", manifest);
            return reply.with("Docker-Content-Digest", &digest);
        }
        for body in [&self.config, &self.layer] {
            if digest_of(body) == reference {
                let is_layer = std::ptr::eq(body, &raw const self.layer);
                return if is_layer { self.layer_reply() } else { Reply::new(200, OCTETS, body.clone()) };
            }
        }
        Reply::new(404, "text/plain", Vec::new())
    }

    fn layer_reply(&self) -> Reply {
        let mut body = self.layer.clone();
        let mut reply = Reply::new(200, OCTETS, Vec::new());
        match self.manner {
            Manner::OtherByte => body[600] ^= 1,
            Manner::TooLong => body.extend_from_slice(&[0; 512]),
            Manner::CutShort => reply.cut = true,
            _ => {}
        }
        reply.body = body;
        reply
    }

    fn send(&self, stream: &mut TcpStream, head: bool, reply: Reply) -> std::io::Result<()> {
        let mut text = format!(
            "HTTP/1.1 {} Whatever\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            reply.status,
            reply.kind,
            reply.body.len()
        );
        for (name, value) in &reply.headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        let end = if reply.cut { reply.body.len() / 2 } else { reply.body.len() };
        if !head {
            stream.write_all(&reply.body[..end])?;
        }
        stream.flush()
    }
}

const OCTETS: &str = "application/octet-stream";

struct Reply {
    status: u16,
    kind: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: bool,
}

impl Reply {
    fn new(status: u16, kind: &'static str, body: Vec<u8>) -> Self {
        Self { status, kind, headers: Vec::new(), body, cut: false }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len()})
}

fn layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let (path, content) = FILE;
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_600_000_000);
    builder.append_data(&mut header, path, content.as_bytes()).expect("memory takes it");
    builder.into_inner().expect("memory takes it")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn get(server: &Server, path: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn lies_only_when_asked() {
        let honest = Server::start(Manner::Honest);
        assert!(get(&honest, "/v2/liar/manifests/1").contains(&honest.digest));
        assert!(get(&honest, "/v2/liar/blobs/sha256:0").starts_with("HTTP/1.1 404"));

        let flaky = Server::start(Manner::StatusAtFirst(503, 1));
        assert!(get(&flaky, "/v2/").starts_with("HTTP/1.1 200"));
        assert!(get(&flaky, "/v2/liar/manifests/1").starts_with("HTTP/1.1 503"));
        assert!(get(&flaky, "/v2/liar/manifests/1").starts_with("HTTP/1.1 200"));
        assert_eq!(flaky.requests().len(), 3);

        let other = Server::start(Manner::OtherManifest);
        assert!(!get(&other, &format!("/v2/liar/manifests/{}", other.digest)).contains(&other.digest));
    }
}
