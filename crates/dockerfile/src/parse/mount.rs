//! `RUN --mount=` and `--device=`: comma-separated options.

use crate::ast::{MountFlag, MountKind};
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
use crate::suggest::nearest;

use super::flags::Decoded;
use super::input::literal;
use super::lines::Logical;

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const SHARING: [&str; 3] = ["shared", "private", "locked"];

/// Each spelling of a key and its canonical one.
const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("required", "required"),
    ("size", "size"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("env", "env"),
];

/// One option, `key[=value]`.
struct Field {
    key: String,
    span: Span,
    key_span: Span,
    value: Option<Spanned<String>>,
}

/// Parses the value of one `--mount` flag, which stands at `span`.
pub(super) fn mount(
    span: Span,
    value: &Decoded,
    line: &Logical,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<MountFlag> {
    let before = diagnostics.len();
    let mut kind = MountKind::Bind;
    let mut options = Vec::new();
    for field in fields(span, value, line, diagnostics)? {
        match known_key(&field) {
            Ok("type") => match mount_kind(&field) {
                Ok(found) => kind = found,
                Err(diagnostic) => diagnostics.push(diagnostic),
            },
            Ok(key) => match check_value(key, &field, escape) {
                Ok(()) => options.push((Spanned::new(key, field.key_span), field.value)),
                Err(diagnostic) => diagnostics.push(diagnostic),
            },
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    let flag = MountFlag { span, kind, options };
    check_kind(&flag, diagnostics);
    (diagnostics.len() == before).then_some(flag)
}

/// Checks the value of one `--device` flag.
pub(super) fn check_device(span: Span, value: &Decoded, line: &Logical, diagnostics: &mut Vec<Diagnostic>) {
    let mut named = false;
    for field in fields(span, value, line, diagnostics).unwrap_or_default() {
        match (field.key.as_str(), &field.value) {
            ("required", None) => {}
            ("required", Some(value)) if is_bool(&value.value) => {}
            ("required", Some(value)) => {
                let message = format!("invalid value for required: {}", value.value);
                diagnostics.push(Diagnostic::error(value.span, message));
            }
            ("name", Some(_)) if named => {
                diagnostics.push(Diagnostic::error(field.span, "the device's name is already set"));
            }
            _ if !named => named = true,
            (key, _) => {
                let error = Diagnostic::error(field.key_span, format!("unexpected key `{key}` for a device"));
                diagnostics.push(with_nearest(error, key, ["name", "required"]));
            }
        }
    }
}

fn known_key(field: &Field) -> Result<&'static str, Diagnostic> {
    let canonical = KEYS.iter().find(|(spelling, _)| *spelling == field.key).map(|(_, key)| *key);
    let Some(key) = canonical else {
        if field.key.is_empty() {
            let message = "an option of the mount is empty";
            return Err(Diagnostic::error(field.span, message)
                .with_help("write `key=value`, with one comma between options"));
        }
        let error = Diagnostic::error(field.key_span, format!("unexpected key `{}` for a mount", field.key));
        return Err(with_nearest(error, &field.key, KEYS.iter().map(|(spelling, _)| *spelling)));
    };
    if field.value.is_none() && !matches!(key, "readonly" | "readwrite" | "required") {
        let message = format!("invalid field `{}`, it must be a key=value pair", field.key);
        return Err(Diagnostic::error(field.span, message));
    }
    Ok(key)
}

fn mount_kind(field: &Field) -> Result<MountKind, Diagnostic> {
    let Some(value) = &field.value else { return Ok(MountKind::Bind) };
    let lower = value.value.to_lowercase();
    let known = KINDS.iter().find(|(name, _)| *name == lower);
    known.map(|(_, kind)| *kind).ok_or_else(|| {
        let error = Diagnostic::error(value.span, format!("unsupported mount type `{}`", value.value));
        if value.value.contains('$') {
            return error.with_help("a mount's type cannot hold variables");
        }
        with_nearest(error, &lower, KINDS.iter().map(|(name, _)| *name))
    })
}

/// Checks what can be known of a value before variables are.
fn check_value(key: &str, field: &Field, escape: char) -> Result<(), Diagnostic> {
    let Some(value) = &field.value else { return Ok(()) };
    if key == "from" {
        let variable = value.value.find('$').is_some_and(|i| i + 1 != value.value.len());
        if variable {
            let message = format!("mount option `from` does not support variables, found `{}`", value.value);
            return Err(Diagnostic::error(value.span, message)
                .with_help("define an alias stage with FROM and name that"));
        }
        return Ok(());
    }
    let Some(text) = literal(&value.value, escape) else { return Ok(()) };
    let valid = match key {
        "readonly" | "readwrite" | "required" => is_bool(&text),
        "size" => is_size(&text),
        "mode" => u32::from_str_radix(&text, 8).is_ok() && !text.starts_with('+'),
        "uid" | "gid" => text.parse::<u32>().is_ok() && !text.starts_with('+'),
        "sharing" => {
            let lower = text.to_lowercase();
            if SHARING.contains(&lower.as_str()) {
                return Ok(());
            }
            let error = Diagnostic::error(value.span, format!("unsupported sharing value `{text}`"));
            return Err(with_nearest(error, &lower, SHARING));
        }
        _ => true,
    };
    if valid {
        return Ok(());
    }
    let error = Diagnostic::error(value.span, format!("invalid value for {}: {text}", field.key));
    Err(error.with_help(match key {
        "size" => "sizes look like `64m` or `1.5g`",
        "mode" => "modes are octal, such as `0755`",
        "uid" | "gid" => "it takes a number: names are not looked up",
        _ => "it takes true or false",
    }))
}

/// Checks the options against the mount's kind.
fn check_kind(flag: &MountFlag, diagnostics: &mut Vec<Diagnostic>) {
    use MountKind::{Cache, Secret, Ssh, Tmpfs};
    let kind = flag.kind;
    let name = KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
    for (key, _) in &flag.options {
        let allowed = match key.value {
            "size" => kind == Tmpfs,
            "required" => matches!(kind, Secret | Ssh),
            "mode" | "uid" | "gid" => matches!(kind, Secret | Ssh | Cache),
            "sharing" => kind == Cache,
            "from" => kind != Secret,
            _ => true,
        };
        if !allowed {
            let message = format!("unexpected key `{}` for mount type `{name}`", key.value);
            let of = match key.value {
                "size" => "tmpfs",
                "required" => "secret and ssh",
                "sharing" => "cache",
                "from" => "bind, cache, tmpfs and ssh",
                _ => "cache, secret and ssh",
            };
            let help = format!("mounts of type {of} have it");
            diagnostics.push(Diagnostic::error(key.span, message).with_help(help));
        }
    }
    let has = |wanted: &str| {
        let mut given = flag.options.iter().filter(|(key, _)| key.value == wanted);
        given.any(|(_, value)| value.as_ref().is_some_and(|v| !v.value.is_empty()))
    };
    if kind == Secret && !has("source") && !has("target") && !has("id") {
        let message = "a secret mount needs an id, a source or a target";
        diagnostics.push(
            Diagnostic::error(flag.span, message)
                .with_help("name the secret with `id=NAME`, and give it with --secret id=NAME,src=FILE"),
        );
    }
    if kind == Secret && has("source") && has("id") {
        diagnostics.push(
            Diagnostic::error(flag.span, "a secret mount cannot have both source and id")
                .with_help("source is another word for id there: leave one out"),
        );
    }
}

/// Splits comma-separated values; a field in double quotes may hold commas.
fn fields(
    span: Span,
    value: &Decoded,
    line: &Logical,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let Some((text, end)) = field(&value.text[at..]) else {
            let message = format!("misplaced quote in `{}`", value.text);
            diagnostics.push(Diagnostic::error(span, message));
            return None;
        };
        let end = at + end;
        let whole = value.span(line, at, end);
        let plain = text == value.text[at..end];
        let (key, rest) = match text.split_once('=') {
            Some((key, rest)) => (key, Some(rest)),
            None => (text.as_str(), None),
        };
        let key_span = if plain { value.span(line, at, at + key.len()) } else { whole };
        let value_span = |rest: &str| if plain { value.span(line, end - rest.len(), end) } else { whole };
        fields.push(Field {
            key: key.to_lowercase(),
            span: whole,
            key_span,
            value: rest.map(|rest| Spanned::new(rest.to_owned(), value_span(rest))),
        });
        if end == value.text.len() {
            return Some(fields);
        }
        at = end + 1;
    }
}

/// The field at the head of `rest` and its raw length, which ends at a comma or at the end.
fn field(rest: &str) -> Option<(String, usize)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(',').unwrap_or(rest.len());
        let text = &rest[..end];
        return (!text.contains('"')).then(|| (text.to_owned(), end));
    };
    let (mut text, mut at) = (String::new(), 1);
    loop {
        let length = quoted[at - 1..].find('"')?;
        text.push_str(&quoted[at - 1..at - 1 + length]);
        at += length + 1;
        match rest[at..].chars().next() {
            Some('"') => {
                text.push('"');
                at += 1;
            }
            None | Some(',') => return Some((text, at)),
            Some(_) => return None,
        }
    }
}

fn with_nearest<'a>(
    error: Diagnostic,
    value: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    let options: Vec<&str> = options.into_iter().collect();
    match nearest(value, options.iter().copied(), true) {
        Some(known) => error.with_help(format!("did you mean `{known}`?")),
        None => error.with_help(format!("it takes {}", options.join(", "))),
    }
}

fn is_bool(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Whether the text is a size like `512m` or `1.5GiB`.
fn is_size(text: &str) -> bool {
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') else { return false };
    let (number, unit) = text.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let unit = unit.to_lowercase();
    let known = matches!(unit.as_str(), "" | "b")
        || matches!(
            unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit),
            "k" | "m" | "g" | "t" | "p"
        );
    known && number.parse::<f64>().is_ok_and(|n| n >= 0.0)
}
