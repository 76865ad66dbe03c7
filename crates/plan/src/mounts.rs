//! `RUN --mount`: expansion, defaults and the checks that need values.

use kiln_dockerfile::ast::{MountFlag, MountKind, Word};
use kiln_dockerfile::span::Span;
use kiln_dockerfile::suggest;

use crate::go;
use crate::model::{CacheSharing, Origin, RunMount, RunMountKind};
use crate::turn::Turn;

const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SSH_MODE: u32 = 0o600;
/// The build argument that keeps the caches of several users of one builder apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The mounts of one RUN; all mistakes are noted, not only the first.
pub(crate) fn plan(flags: &[MountFlag], turn: &mut Turn<'_>) -> Option<Vec<RunMount>> {
    let mut sockets = 0;
    let mut mounts = Vec::new();
    for flag in flags {
        let options = Options::read(flag, turn);
        mounts.push(options.and_then(|options| mount(flag, options, sockets, turn)));
        sockets += usize::from(flag.kind == MountKind::Ssh);
    }
    mounts.into_iter().collect()
}

fn mount(flag: &MountFlag, options: Options, socket: usize, turn: &mut Turn<'_>) -> Option<RunMount> {
    let directory = turn.state.directory();
    let written = options.target.clone();
    let (kind, default) = match flag.kind {
        MountKind::Bind => (bind(options), None),
        MountKind::Cache => (cache(options, turn), None),
        MountKind::Tmpfs => (tmpfs(&options, flag.span, turn)?, None),
        MountKind::Secret => secret(options, flag.span, turn)?,
        MountKind::Ssh => (ssh(options, flag.span, turn)?, Some(format!("/run/buildkit/ssh_agent.{socket}"))),
    };
    let target = match (written, default) {
        (None, Some(default)) => default,
        (written, _) => go::absolute(&directory, &written.unwrap_or_default()),
    };
    if target == "/" {
        turn.notes.error(flag.span, "a mount cannot take the place of `/`");
        turn.notes.help("give it another target (`target=/path`)".to_owned());
        return None;
    }
    Some(RunMount { target, span: flag.span, kind })
}

/// The options of a flag, expanded and parsed; the last of several counts.
#[derive(Default)]
struct Options {
    target: Option<String>,
    source: Option<String>,
    from: Option<Origin>,
    readonly: Option<bool>,
    id: Option<String>,
    sharing: Option<CacheSharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    required: bool,
    env: Option<String>,
}

impl Options {
    fn read(flag: &MountFlag, turn: &mut Turn<'_>) -> Option<Self> {
        let mut options = Self::default();
        let mut complete = true;
        for (key, value) in &flag.options {
            complete &= options.set(key.value, key.span, value.as_ref(), turn).is_some();
        }
        complete.then_some(options)
    }

    fn set(&mut self, key: &str, span: Span, value: Option<&Word>, turn: &mut Turn<'_>) -> Option<()> {
        if let (Some(word), "from") = (value, key) {
            self.from = if word.value.is_empty() { None } else { Some(turn.origin(word)?) };
            return Some(());
        }
        let text = turn.optional(value)?;
        let span = value.map_or(span, |word| word.span);
        match (key, text) {
            ("readonly", text) => self.readonly = Some(flag_value(key, text.as_deref(), span, turn)?),
            ("readwrite", text) => self.readonly = Some(!flag_value(key, text.as_deref(), span, turn)?),
            ("required", text) => self.required = flag_value(key, text.as_deref(), span, turn)?,
            (key, None) => {
                return turn.error(span, format!("mount option `{key}` needs a value (`{key}=...`)"));
            }
            ("target", text) => self.target = text.filter(|target| !target.is_empty()),
            ("source", text) => self.source = text.filter(|source| !source.is_empty()),
            ("id", text) => self.id = text.filter(|id| !id.is_empty()),
            ("env", text) => self.env = text,
            ("sharing", Some(text)) => self.sharing = Some(sharing(&text, span, turn)?),
            ("mode", Some(text)) => self.mode = Some(number(key, &text, 8, span, turn)?),
            ("uid", Some(text)) => self.uid = Some(number(key, &text, 10, span, turn)?),
            ("gid", Some(text)) => self.gid = Some(number(key, &text, 10, span, turn)?),
            ("size", Some(text)) => match bytes(&text) {
                Some(size) => self.size = Some(size).filter(|size| *size > 0),
                None => return turn.error(span, format!("`{text}` is not a size (such as 64m or 1g)")),
            },
            (key, Some(_)) => return turn.error(span, format!("mount option `{key}` is not supported yet")),
        }
        Some(())
    }
}

fn bind(options: Options) -> RunMountKind {
    RunMountKind::Bind {
        from: options.from.unwrap_or(Origin::Context),
        source: go::absolute("/", &options.source.unwrap_or_default()),
        readwrite: options.readonly == Some(false),
    }
}

fn cache(options: Options, turn: &Turn<'_>) -> RunMountKind {
    let id = options.id.unwrap_or_else(|| go::clean(&options.target.unwrap_or_default()));
    let namespace = turn.site.graph.inputs.build_args.get(CACHE_NAMESPACE).filter(|name| !name.is_empty());
    RunMountKind::Cache {
        id: namespace.map_or(id.clone(), |name| format!("{name}/{id}")),
        sharing: options.sharing.unwrap_or(CacheSharing::Shared),
        from: options.from,
        source: go::absolute("/", &options.source.unwrap_or_default()),
        readonly: options.readonly == Some(true),
        mode: options.mode.unwrap_or(CACHE_MODE),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    }
}

fn tmpfs(options: &Options, span: Span, turn: &mut Turn<'_>) -> Option<RunMountKind> {
    if options.readonly == Some(true) {
        return turn.error(span, "a read-only tmpfs mount is not supported yet");
    }
    Some(RunMountKind::Tmpfs { size: options.size })
}

/// The secret, and where its file goes if the flag does not say; with `env` there is a file only if it says.
fn secret(options: Options, span: Span, turn: &mut Turn<'_>) -> Option<(RunMountKind, Option<String>)> {
    if options.source.is_some() && options.id.is_some() {
        return turn.error(span, "a secret mount takes `id` or `source`, not both");
    }
    let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let named = options.source.or(options.id).or(options.target.as_deref().map(base));
    let Some(id) = named else {
        return turn.error(span, "a secret mount needs `id` or `target`");
    };
    let file = if options.env.is_some() { String::new() } else { format!("/run/secrets/{}", base(&id)) };
    let env = options.env.map(|name| if name.is_empty() { id.clone() } else { name });
    let kind = RunMountKind::Secret {
        id,
        env,
        required: options.required,
        mode: options.mode.unwrap_or(SECRET_MODE),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    };
    Some((kind, Some(file)))
}

fn ssh(options: Options, span: Span, turn: &mut Turn<'_>) -> Option<RunMountKind> {
    if options.source.is_some() {
        return turn.error(span, "an ssh mount takes no `source`");
    }
    Some(RunMountKind::Ssh {
        id: options.id.unwrap_or_else(|| "default".to_owned()),
        required: options.required,
        mode: options.mode.unwrap_or(SSH_MODE),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    })
}

fn flag_value(key: &str, text: Option<&str>, span: Span, turn: &mut Turn<'_>) -> Option<bool> {
    match text {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
        Some(text) => turn.error(span, format!("mount option `{key}` is true or false, not `{text}`")),
    }
}

fn sharing(text: &str, span: Span, turn: &mut Turn<'_>) -> Option<CacheSharing> {
    match text.to_ascii_lowercase().as_str() {
        "shared" => Some(CacheSharing::Shared),
        "private" => Some(CacheSharing::Private),
        "locked" => Some(CacheSharing::Locked),
        _ => {
            turn.notes.error(span, format!("unknown sharing mode `{text}` (shared, private or locked)"));
            if let Some(near) = suggest::nearest(text, ["shared", "private", "locked"], false) {
                turn.notes.help(format!("did you mean `{near}`?"));
            }
            None
        }
    }
}

fn number(key: &str, text: &str, radix: u32, span: Span, turn: &mut Turn<'_>) -> Option<u32> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    match u32::from_str_radix(text, radix).ok().filter(|_| digits) {
        Some(number) => Some(number),
        None if radix == 8 => {
            turn.error(span, format!("mount option `{key}` is an octal number, not `{text}`"))
        }
        None => turn.error(span, format!("mount option `{key}` is a number, not `{text}`")),
    }
}

/// Docker's sizes: a number, perhaps with a fraction, and one of b, k, m, g, t, p (powers of 1024), perhaps with `b` or `ib`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 1024u64.checked_pow(power)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return (!digits.ends_with('.')).then_some(whole);
    }
    // Twelve digits are beyond what any size needs and keep the product within 128 bits.
    let fraction = &fraction[..fraction.len().min(12)];
    let part =
        u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("64", Some(64)),
            ("64b", Some(64)),
            ("1k", Some(1024)),
            ("10MB", Some(10 << 20)),
            ("1.5 GiB", Some(3 << 29)),
            ("2t", Some(2 << 40)),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("1.", None),
            ("1ib", None),
            ("99999999999p", None),
        ];
        for (text, want) in cases {
            assert_eq!(bytes(text), want, "{text}");
        }
    }
}
