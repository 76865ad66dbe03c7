//! One HTTP request over the right connection: no retries, no redirects, no authentication. The only file that speaks to
//! the HTTP library.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::error::Failure;
use crate::options::Options;
use crate::url::{Site, host_of, is_loopback, shown};
use crate::{retry, roots, route};

/// A request about to be made.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Absolute.
    pub(crate) url: &'a str,
    /// Take any certificate.
    pub(crate) unverified: bool,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body and its length.
    pub(crate) body: Option<(&'a mut dyn Read, u64)>,
}

/// Connections, pooled by what they have in common.
pub(crate) struct Transport {
    options: Options,
    /// When [`Options::time_limit`] is over.
    until: Option<Instant>,
    agents: Mutex<HashMap<Way, Agent>>,
}

/// What connections of one pool have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    proxy: Option<String>,
    unverified: bool,
    roots: Vec<PathBuf>,
}

/// Looks names up as the library does, which has a thread for it that it does not wait for longer than it may. An address needs neither.
#[derive(Debug, Default)]
struct Lookup(DefaultResolver);

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.scheme().zip(uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let Some(Ok(address)) = host.map(|host| host.parse()) else {
            return self.0.resolve(uri, config, timeout);
        };
        let mut found = self.empty();
        found.push(address);
        Ok(found)
    }
}

impl Transport {
    pub(crate) fn new(options: Options) -> Self {
        let until = options.time_limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { options, until, agents: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Whether the user named this `host:port`, or its host alone, insecure.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        let listed = |entry: &String| {
            entry.eq_ignore_ascii_case(authority) || entry.eq_ignore_ascii_case(host_of(authority))
        };
        self.options.insecure.iter().any(listed)
    }

    /// Sets the cancel flag and breaks all connections. Every request from now on fails.
    pub(crate) fn cancel(&self) {
        self.options.cancel.store(true, Ordering::Relaxed);
        for (_, agent) in self.agents.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            agent.shutdown();
        }
    }

    /// Takes the cancel flag back.
    pub(crate) fn resume(&self) {
        self.options.cancel.store(false, Ordering::Relaxed);
    }

    /// Makes a request. Every answer is a success here, whatever its status.
    pub(crate) fn send(&self, call: Call<'_>) -> Result<Response<Body>, Failure> {
        retry::check(&self.options.cancel)?;
        let site = Site::of(call.url).ok_or_else(|| Failure::Malformed {
            what: "address".to_owned(),
            detail: format!("{:?} is not an http or https URL", shown(call.url)),
        })?;
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(self.explain(&site, &ureq::Error::Timeout(ureq::Timeout::Global)));
        }
        let agent = self.agent(&site, call.unverified)?;
        let mut request = Request::builder().method(call.method).uri(call.url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let malformed = |_| Failure::Malformed {
            what: "request".to_owned(),
            detail: format!("{:?} or one of its headers cannot be sent", shown(call.url)),
        };
        let answer = match call.body {
            Some((reader, length)) => {
                let body = SendBody::from_reader(reader);
                let request = request.header("content-length", length).body(body).map_err(malformed)?;
                // After an upload the server may have to hash and move the blob before it answers.
                let patient = self.options.stall_timeout.saturating_mul(5);
                let request = agent.configure_request(request).timeout_per_read(Some(patient));
                agent.run(request.timeout_global(left).build())
            }
            None => {
                let request = agent.configure_request(request.body(()).map_err(malformed)?);
                agent.run(request.timeout_global(left).build())
            }
        };
        answer.map_err(|e| {
            let cancelled = retry::check(&self.options.cancel).err();
            cancelled.unwrap_or_else(|| self.explain(&site, &e))
        })
    }

    fn agent(&self, site: &Site, unverified: bool) -> Result<Agent, Failure> {
        let proxies = &self.options.proxies;
        let proxy = if site.scheme == "https" { &proxies.https } else { &proxies.http };
        let direct = is_loopback(site.host()) || route::bypasses(&proxies.no_proxy, site);
        let proxy = proxy.clone().filter(|text| !direct && !text.trim().is_empty());
        let roots = if site.scheme == "https" && !unverified {
            roots::files_for(&self.options.ca_files, &self.options.certs_dirs, &site.authority)
        } else {
            Vec::new()
        };
        let way = Way { proxy, unverified, roots };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: `cancel` then either sees this agent, or we see the flag.
        retry::check(&self.options.cancel)?;
        if let Some(agent) = agents.get(&way) {
            return Ok(agent.clone());
        }
        let agent = self.connect(&way)?;
        agents.insert(way, agent.clone());
        Ok(agent)
    }

    fn connect(&self, way: &Way) -> Result<Agent, Failure> {
        let proxy = way.proxy.as_deref().map(Proxy::new).transpose().map_err(|_| Failure::Malformed {
            what: "proxy address".to_owned(),
            detail: "expected scheme://[user:password@]host[:port]".to_owned(),
        })?;
        let tls = TlsConfig::builder();
        let tls = if way.unverified {
            tls.disable_verification(true)
        } else {
            tls.root_certs(roots::load(&way.roots)?)
        };
        let options = &self.options;
        let idle = options.parallel_uploads.max(4);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .tls_config(tls.build())
            .user_agent(options.user_agent.as_str())
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.stall_timeout))
            .timeout_per_write(Some(options.stall_timeout))
            .max_idle_connections(idle * 4)
            .max_idle_connections_per_host(idle)
            .max_idle_age(Duration::from_secs(15))
            .input_buffer_size(128 * 1024)
            .output_buffer_size(32 * 1024)
            .build();
        Ok(Agent::with_parts(config, DefaultConnector::default(), Lookup::default()))
    }

    /// Puts a library error into our words. Its own never hold headers or query strings, except for a few variants that
    /// repeat an address, which are not passed on.
    fn explain(&self, site: &Site, error: &ureq::Error) -> Failure {
        // A handshake can fail for passing reasons, but a certificate stays what it is.
        let tls = |text: String| (format!("TLS: {text}"), text.contains("certificate"));
        let (detail, permanent) = match error {
            ureq::Error::Timeout(ureq::Timeout::Global) => {
                let limit = self.options.time_limit.unwrap_or_default().as_secs_f32();
                (format!("no answer within {limit} s"), true)
            }
            ureq::Error::Timeout(what) => (format!("timed out ({what})"), false),
            ureq::Error::HostNotFound => ("no such host".to_owned(), false),
            ureq::Error::ConnectProxyFailed(_) => ("the proxy refuses the connection".to_owned(), false),
            ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => ("bad address".to_owned(), true),
            ureq::Error::Rustls(e) => tls(e.to_string()),
            // rustls hands certificate errors through the I/O layer during the handshake.
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => tls(e.to_string()),
            other => (other.to_string(), false),
        };
        Failure::Unreachable { host: site.authority.clone(), detail, permanent }
    }
}
