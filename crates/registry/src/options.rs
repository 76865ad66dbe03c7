//! What a client is told: credentials, trust, proxies, patience. Libraries read no environment, so all of it comes in here.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_oci::blobs::Blobs;

/// How a [`Client`](crate::Client) behaves. `Options::default()` is anonymous, verifies TLS against the system's roots,
/// and uses no proxy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Credential files in the format of Docker's `config.json`; the first that knows a registry wins. A file that does
    /// not exist is skipped, one that cannot be understood is an error once a registry asks for credentials.
    /// [`default_credential_files`](crate::default_credential_files) gives the usual list.
    pub credential_files: Vec<PathBuf>,
    /// Registries (`host` or `host:port`) that may be spoken to over TLS without verification or in plain HTTP, in this
    /// order. Loopback needs no entry.
    pub insecure: Vec<String>,
    /// PEM files with authorities to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Folders laid out as Docker's `/etc/docker/certs.d`: `DIR/host:port/*.crt` are authorities for that registry alone.
    pub certs_dirs: Vec<PathBuf>,
    /// Proxies.
    pub proxies: Proxies,
    /// Time for name resolution, and again for TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest silence while bytes are awaited or sent. There is no limit on the whole transfer.
    pub stall_timeout: Duration,
    /// Time for everything that the client does, counted from when it was made: for who only wants to look, and can do without
    /// an answer. What is not done by then fails as unreachable.
    pub time_limit: Option<Duration>,
    /// How failures are retried.
    pub retry: Retry,
    /// Blobs sent at the same time by one push; 0 counts as 1.
    pub parallel_uploads: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Blobs that are here already: a configuration among them is not asked for again.
    pub known: Option<Blobs>,
    /// Once true, whatever the client does ends with "cancelled" at the next byte or wait. A blocked read or write ends
    /// at [`Client::cancel`](crate::Client::cancel), which sets the same flag, or else at its time-out.
    pub cancel: Arc<AtomicBool>,
}

impl Options {
    /// The same for a quick look: one try, and an end to all of it after `limit`.
    #[must_use]
    pub fn hasty(self, limit: Duration) -> Self {
        Self { time_limit: Some(limit), retry: Retry { attempts: 1, ..self.retry }, ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credential_files: Vec::new(),
            insecure: Vec::new(),
            ca_files: Vec::new(),
            certs_dirs: Vec::new(),
            proxies: Proxies::default(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(45),
            time_limit: None,
            retry: Retry::default(),
            parallel_uploads: 4,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            known: None,
            cancel: Arc::default(),
        }
    }
}

/// Bounded retries with exponential back-off and jitter.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How often something is tried in all; 0 counts as 1. A blob download counts anew after each MiB of progress.
    pub attempts: u32,
    /// The first wait; each further one is twice as long. The actual wait is drawn from its upper half.
    pub base: Duration,
    /// The longest wait of our own choice.
    pub cap: Duration,
    /// The longest wait that a server may impose by `Retry-After`; if it wants more, the request fails at once.
    pub patience: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

/// Proxy addresses as in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (`http://`, `https://` or `socks5://`, credentials
/// allowed). Loopback is never proxied.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For TLS.
    pub https: Option<String>,
    /// Hosts to reach directly, separated by commas: `example.com` (and all below), `.example.com` (only below),
    /// `10.0.0.0/8`, `host:port`, `*`.
    pub no_proxy: String,
}

impl std::fmt::Debug for Proxies {
    /// Says which are set but not their addresses, which may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}
