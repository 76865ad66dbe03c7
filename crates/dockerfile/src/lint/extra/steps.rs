//! Base images, users, values, and how commands are put together.

use crate::ast::{Kind, Stage, Word};
use crate::lint::reference;
use crate::lint::sink::{Finding, Sink};

use super::super::rule;
use super::shell::Command;
use super::{Place, State, stage_span};

/// The tag or digest of a base image that is no stage.
pub(super) fn base_image(stage: &Stage, sink: &mut Sink) {
    let image = stage.from.image.value.trim_matches(['"', '\'']);
    if image == "scratch" || image.contains(['$', '@']) || !reference::is_valid(image) {
        return;
    }
    let tag = image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    let message = match tag {
        None => format!("base image `{image}` without a tag"),
        Some("latest") => format!("base image `{image}` is another one tomorrow"),
        Some(_) => return,
    };
    let finding = Finding::new(stage_span(stage), message).help("name a version, or a digest");
    sink.add(&rule::PIN_BASE_IMAGE, &stage.from.comment, finding);
}

/// The user that the last stage ends with.
pub(super) fn last_user(text: &str, stage: &Stage, is_last: bool, sink: &mut Sink) {
    let user = stage.instructions.iter().rfind(|one| matches!(one.kind, Kind::User(_)));
    let Some(one) = user.filter(|_| is_last) else { return };
    let Kind::User(name) = &one.kind else { return };
    let user = name.value.trim_matches(['"', '\'']).split(':').next().unwrap_or_default();
    if matches!(user, "root" | "0") {
        let place = Place { text, one };
        let message = "containers of this image run as root".to_owned();
        place.at(&name.value).say(&rule::ROOT_USER, message, "end with a USER that has no privileges", sink);
    }
}

/// What the shell lines of a RUN do.
pub(super) fn run(place: &Place<'_>, all: &[Command], state: &State, sink: &mut Sink) {
    if all.iter().any(|command| command.sudo) {
        let help = "leave it out; `USER root` before and `USER name` behind the RUN say who runs it";
        place.at("sudo").say(&rule::SUDO_IN_RUN, "`sudo` in RUN".to_owned(), help, sink);
    }
    if let [first, _, ..] = all
        && first.name() == "cd"
        && let [path] = first.arguments()
    {
        let message = format!("`cd {path}` holds for this RUN alone");
        place.at("cd").say(&rule::CD_IN_RUN, message, &format!("write `WORKDIR {path}`"), sink);
    }
    pipes(place, all, state, sink);
}

fn pipes(place: &Place<'_>, all: &[Command], state: &State, sink: &mut Sink) {
    let mut set = state.pipefail;
    for (i, command) in all.iter().enumerate() {
        set |= command.name() == "set" && command.arguments().iter().any(|word| word == "pipefail");
        if !command.piped {
            continue;
        }
        let next = all.get(i + 1).map_or("", Command::name);
        let runs = matches!(next, "sh" | "bash" | "ash" | "dash" | "zsh" | "perl" | "ruby" | "node" | "php")
            || next.starts_with("python");
        if runs && matches!(command.name(), "curl" | "wget") {
            let message = format!("what `{}` gets is run by `{next}` unseen", command.name());
            let help = "ADD --checksum=sha256:... URL, then run the file";
            place.at(command.name()).say(&rule::PIPE_TO_SHELL, message, help, sink);
        }
        if !set {
            let message = format!("a failure of `{}` goes unnoticed in a pipe", command.name());
            let help = "write `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]`, or begin with `set -o pipefail`";
            place.at("|").say(&rule::PIPEFAIL_MISSING, message, help, sink);
            return;
        }
    }
}

/// Values that have the form of a key or a password.
pub(super) fn values<'a>(place: &Place<'_>, words: impl Iterator<Item = &'a Word>, sink: &mut Sink) {
    for word in words {
        let value = word.value.trim_matches(['"', '\'']);
        let Some(what) = kind_of_secret(value) else { continue };
        let finding = Finding::new(word.span, format!("the value looks like {what}"))
            .help("give it with --secret and `RUN --mount=type=secret`");
        sink.add(&rule::SECRET_IN_VALUE, &place.one.comment, finding);
    }
}

fn kind_of_secret(value: &str) -> Option<&'static str> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let known: [(&str, usize, &str); 14] = [
        ("AKIA", 20, "an access key of AWS"),
        ("ASIA", 20, "an access key of AWS"),
        ("ghp_", 30, "a token of GitHub"),
        ("gho_", 30, "a token of GitHub"),
        ("ghs_", 30, "a token of GitHub"),
        ("github_pat_", 30, "a token of GitHub"),
        ("glpat-", 20, "a token of GitLab"),
        ("xoxb-", 20, "a token of Slack"),
        ("xoxp-", 20, "a token of Slack"),
        ("sk_live_", 20, "a key of Stripe"),
        ("npm_", 36, "a token of npm"),
        ("AIza", 35, "a key of Google"),
        ("dckr_pat_", 20, "a token of Docker Hub"),
        ("eyJ", 60, "a JSON web token"),
    ];
    if value.contains("-----BEGIN") && value.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let found = known
        .iter()
        .find(|(head, least, _)| value.starts_with(head) && value.len() >= *least && plain(value));
    if let Some((_, _, what)) = found {
        return Some(what);
    }
    let (_, rest) = value.split_once("://")?;
    let (login, _) = rest.split_once('@').filter(|(login, _)| !login.contains('/'))?;
    let (_, password) = login.split_once(':')?;
    (!password.is_empty() && !password.contains('$')).then_some("a password in a URL")
}
