//! Requests to a registry as the rest of the crate makes them: with authentication, redirects and retries.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::digest::Digest;
use ureq::http::Method;

use crate::answer::Answer;
use crate::error::Failure;
use crate::options::{Options, Retry};
use crate::retry;
use crate::token::{Access, Keyring};
use crate::transport::{Call, Transport};
use crate::url::{Site, host_of, is_loopback, resolve, shown};

/// The most redirects that are followed.
const REDIRECTS: usize = 6;

/// A registry, and how it wants to be spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    /// As references name it: `docker.io`, `127.0.0.1:5000`.
    pub(crate) name: String,
    /// `https://registry-1.docker.io`, without a slash at the end.
    pub(crate) base: String,
    unverified: bool,
    /// Not confirmed by any answer yet, so nothing is tried twice.
    guessed: bool,
}

/// A request.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Absolute.
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) access: &'a Access,
    pub(crate) body: Payload<'a>,
    /// Statuses that are welcome.
    pub(crate) fine: &'a [u16],
}

/// The body of a request.
pub(crate) enum Payload<'a> {
    /// None at all.
    None,
    /// A small document.
    Bytes(&'a [u8]),
    /// A stream of known length, opened anew for each try.
    Stream(&'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>, u64),
}

/// A document, not verified.
pub(crate) struct Whole {
    /// The media type it was served with.
    pub(crate) declared: String,
    /// The digest that the server named.
    pub(crate) named: Option<Digest>,
    pub(crate) bytes: Vec<u8>,
}

/// The state that all requests of a client share.
pub(crate) struct Session {
    transport: Arc<Transport>,
    keyring: Arc<Keyring>,
    registries: Arc<Mutex<HashMap<String, Arc<Registry>>>>,
    retry: Retry,
}

impl Session {
    pub(crate) fn new(options: Options) -> Self {
        let retry = options.retry.clone();
        let transport = Arc::new(Transport::new(options));
        Self { transport, keyring: Arc::default(), registries: Arc::default(), retry }
    }

    /// The same session, connections and credentials included, for requests that are made once and not again.
    pub(crate) fn hasty(&self) -> Self {
        Self {
            transport: Arc::clone(&self.transport),
            keyring: Arc::clone(&self.keyring),
            registries: Arc::clone(&self.registries),
            retry: Retry { attempts: 1, ..self.retry.clone() },
        }
    }

    pub(crate) fn options(&self) -> &Options {
        self.transport.options()
    }

    pub(crate) fn cancel(&self) {
        self.transport.cancel();
    }

    pub(crate) fn resume(&self) {
        self.transport.resume();
    }

    /// Finds out how to speak to a registry: HTTPS, except as [`Registry`]'s rules for loopback and insecure hosts say.
    ///
    /// Loopback is asked in plain HTTP first: a TLS server refuses that at once (a 400, an alert or a closed connection),
    /// whereas a plain server may wait long for the rest of what a TLS greeting looks like to it. An insecure host is
    /// asked over TLS first, since there plain HTTP is the last resort. The probe carries no credentials.
    pub(crate) fn registry(&self, name: &str) -> Result<Arc<Registry>, Failure> {
        let known = || self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = known().get(name) {
            return Ok(Arc::clone(registry));
        }
        let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let insecure = self.transport.is_insecure(name);
        let candidate = |scheme: &str| Registry {
            name: name.to_owned(),
            base: format!("{scheme}://{host}"),
            unverified: insecure,
            guessed: false,
        };
        let options = self.options();
        let registry = if is_loopback(host_of(host)) {
            let probe = || self.choose(candidate("http"), candidate("https"));
            retry::run(&self.retry, &options.cancel, probe)?
        } else if insecure {
            let probe = || self.choose(candidate("https"), candidate("http"));
            retry::run(&self.retry, &options.cancel, probe)?
        } else {
            candidate("https")
        };
        let registry = Arc::new(registry);
        known().insert(name.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }

    /// A loopback registry that was not met yet, taken to speak plain HTTP, as nearly all of them do. What is sent there carries
    /// no credentials before it has answered.
    pub(crate) fn guess(&self, name: &str) -> Option<Arc<Registry>> {
        let known = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let guess = || Registry {
            name: name.to_owned(),
            base: format!("http://{name}"),
            unverified: self.transport.is_insecure(name),
            guessed: true,
        };
        (is_loopback(host_of(name)) && !known.contains_key(name)).then(|| Arc::new(guess()))
    }

    /// Takes note that a guess was right.
    pub(crate) fn met(&self, guess: &Registry) -> Arc<Registry> {
        let registry = Registry { guessed: false, ..guess.clone() };
        let mut known = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(registry.name.clone()).or_insert_with(|| Arc::new(registry)))
    }

    fn tries<T>(
        &self,
        registry: &Registry,
        mut work: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let options = self.options();
        if registry.guessed { work() } else { retry::run(&self.retry, &options.cancel, work) }
    }

    fn choose(&self, first: Registry, second: Registry) -> Result<Registry, Failure> {
        match self.speaks(&first) {
            Ok(true) => Ok(first),
            Ok(false) => match self.speaks(&second) {
                Ok(true) => Ok(second),
                Err(Failure::Unreachable { host, detail, permanent: true }) => {
                    Err(Failure::Unreachable { host, detail, permanent: true })
                }
                // Neither is a registry by its looks; the request itself will tell more.
                Ok(false) | Err(_) => Ok(first),
            },
            Err(cause) => match self.speaks(&second) {
                Ok(true) => Ok(second),
                Ok(false) | Err(_) => Err(cause),
            },
        }
    }

    /// Whether an HTTP server answers at a registry's base in this scheme, and not with a plain 400, by which TLS servers
    /// turn away plain requests.
    fn speaks(&self, registry: &Registry) -> Result<bool, Failure> {
        let url = format!("{}/v2/", registry.base);
        let call = Call {
            method: Method::GET,
            url: &url,
            unverified: registry.unverified,
            headers: Vec::new(),
            body: None,
        };
        let answer = Answer::new(url.clone(), self.transport.send(call)?);
        if answer.status() == 401 {
            self.keyring.challenged(&registry.name, &answer, None);
        }
        let speaks = answer.status() != 400;
        answer.drain();
        Ok(speaks)
    }

    /// Makes a request, again if need be, until a welcome status or for good.
    pub(crate) fn send(&self, registry: &Registry, ask: &Ask<'_>) -> Result<Answer, Failure> {
        self.tries(registry, || self.send_once(registry, ask))
    }

    /// Fetches a document of at most `limit` bytes, all of it again if the connection breaks half-way.
    pub(crate) fn whole(
        &self,
        registry: &Registry,
        ask: &Ask<'_>,
        what: &str,
        limit: u64,
    ) -> Result<Whole, Failure> {
        self.tries(registry, || {
            let answer = self.send_once(registry, ask)?;
            let (declared, named) = (answer.media_type().to_owned(), answer.digest());
            Ok(Whole { declared, named, bytes: answer.into_bytes(what, limit)? })
        })
    }

    /// Makes a request once, that is, until it is not turned away for lack of authentication.
    pub(crate) fn send_once(&self, registry: &Registry, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let mut header = self.keyring.header(&self.transport, &registry.name, ask.access)?;
        let mut refused = false;
        loop {
            let answer = self.follow(registry, ask, header.as_deref())?;
            if ask.fine.contains(&answer.status()) {
                return Ok(answer);
            }
            let ours = Site::of(&answer.url) == Site::of(&registry.base);
            if answer.status() == 401 && ours && !refused {
                self.keyring.challenged(&registry.name, &answer, header.as_deref());
                let next = self.keyring.header(&self.transport, &registry.name, ask.access)?;
                if next.is_some() && next != header {
                    answer.drain();
                    header = next;
                    refused = true;
                    continue;
                }
            }
            return Err(answer.into_failure(&self.keyring.tried(&registry.name, ask.access)));
        }
    }

    /// Makes a request and follows redirects. The `Authorization` header goes to the registry's own site only.
    fn follow(
        &self,
        registry: &Registry,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Answer, Failure> {
        let home = Site::of(&registry.base);
        let mut url = ask.url.clone();
        for _ in 0..REDIRECTS {
            let site = self.admit(registry, &url)?;
            let mut headers = ask.headers.clone();
            if let Some(value) = authorization.filter(|_| home.as_ref() == Some(&site)) {
                headers.push(("authorization", value.to_owned()));
            }
            let at_home = home.as_ref() == Some(&site);
            let unverified = self.transport.is_insecure(&site.authority) || at_home && registry.unverified;
            let answer = Answer::new(url.clone(), self.dispatch(ask, &url, unverified, headers)?);
            let redirect = match answer.status() {
                301..=303 => ask.method == Method::GET || ask.method == Method::HEAD,
                307 | 308 => true,
                _ => false,
            };
            if !redirect || ask.fine.contains(&answer.status()) {
                return Ok(answer);
            }
            let target = answer.header("location").and_then(|location| resolve(&url, location));
            url = target.ok_or_else(|| Failure::Malformed {
                what: format!("redirect from {}", shown(&url)),
                detail: "it leads nowhere".to_owned(),
            })?;
            answer.drain();
        }
        let detail = format!("more than {} redirects", REDIRECTS - 1);
        Err(Failure::Malformed { what: shown(&ask.url), detail })
    }

    fn dispatch(
        &self,
        ask: &Ask<'_>,
        url: &str,
        unverified: bool,
        headers: Vec<(&'static str, String)>,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let call = |body| Call { method: ask.method.clone(), url, unverified, headers, body };
        match &ask.body {
            Payload::None => self.transport.send(call(None)),
            Payload::Bytes(bytes) => {
                let mut reader = *bytes;
                self.transport.send(call(Some((&mut reader, bytes.len() as u64))))
            }
            Payload::Stream(open, length) => {
                let local = |cause| Failure::Local { what: "what is to be sent".to_owned(), cause };
                let mut reader = open().map_err(local)?;
                self.transport.send(call(Some((&mut reader, *length))))
            }
        }
    }

    /// Whether a request may go to `url`: anywhere over TLS; in plain HTTP only if the registry itself is spoken to so,
    /// and only to loopback or a host named insecure.
    fn admit(&self, registry: &Registry, url: &str) -> Result<Site, Failure> {
        let refuse = |detail: &str| Failure::Malformed { what: shown(url), detail: detail.to_owned() };
        let site = Site::of(url).ok_or_else(|| refuse("not an http or https URL"))?;
        let trusted = is_loopback(site.host()) || self.transport.is_insecure(&site.authority);
        if site.scheme == "http" && !(registry.base.starts_with("http://") && trusted) {
            return Err(refuse("the registry leads to plain HTTP"));
        }
        Ok(site)
    }
}
