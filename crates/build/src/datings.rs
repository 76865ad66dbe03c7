//! When lines of an image's history were made: a build that was done before gives the same image again, so none of it is the time of
//! day.

use kiln_oci::config::History;

/// `history` with times for the lines of instructions that make no layer. As with BuildKit, one before the first new layer has that
/// layer's time, any other that of the line before it; where there is none at all, as in an image of nothing but labels on scratch, there
/// stays none. With `epoch` it is that.
pub(crate) fn dated(history: &[History], epoch: Option<String>) -> Vec<History> {
    let first = history.iter().position(|line| line.created.is_none()).unwrap_or(history.len());
    let (before, after) = history.split_at(first);
    let time = |lines: &[History]| lines.iter().find_map(|line| line.created.clone());
    let mut now =
        epoch.or_else(|| time(after)).or_else(|| before.iter().rev().find_map(|line| line.created.clone()));
    let fixed = after.iter().map(|line| {
        if line.created.is_some() {
            now.clone_from(&line.created);
        }
        History { created: now.clone(), ..line.clone() }
    });
    before.iter().cloned().chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_layer() {
        for (lines, epoch, want) in [
            ("1 2", None, "1 2"),
            ("1 - - 5 - 7", None, "1 5 5 5 5 7"),
            ("1 - -", None, "1 1 1"),
            ("- 3", None, "3 3"),
            ("- -", None, "- -"),
            ("1 -", Some("9"), "1 9"),
        ] {
            let line = |time: &str| History {
                created: (time != "-").then(|| time.to_owned()),
                ..History::default()
            };
            let history: Vec<History> = lines.split(' ').map(line).collect();
            let got = dated(&history, epoch.map(str::to_owned));
            let got: Vec<String> =
                got.into_iter().map(|h| h.created.unwrap_or_else(|| "-".to_owned())).collect();
            assert_eq!(got.join(" "), want, "{lines}");
        }
    }
}
