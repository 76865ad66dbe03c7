//! Signal names and numbers as `STOPSIGNAL` takes them (Linux).

use crate::suggest::nearest;

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal `{0}`")]
pub struct SignalError(pub String);

impl SignalError {
    /// The nearest signal, or what signals look like.
    pub fn way_out(&self) -> String {
        let upper = self.0.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        match nearest(name, NAMES, true) {
            Some(near) => format!("did you mean `SIG{near}`?"),
            None => "signals are names such as SIGTERM, or numbers other than 0".to_owned(),
        }
    }
}

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Accepts a number other than 0, also below it, as BuildKit does, or a name in any case with or without `SIG`, `RTMIN+1` to `RTMIN+15`
/// and `RTMAX-14` to `RTMAX-1` included.
///
/// # Errors
/// If `text` is neither.
pub fn check(text: &str) -> Result<(), SignalError> {
    if let Ok(number) = text.parse::<i64>() {
        return if number != 0 { Ok(()) } else { Err(SignalError(text.to_owned())) };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let within = |offset: &str, most: u8| {
        !offset.starts_with(['0', '+']) && offset.parse().is_ok_and(|n: u8| (1..=most).contains(&n))
    };
    let real_time = name.strip_prefix("RTMIN+").is_some_and(|n| within(n, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|n| within(n, 14));
    if real_time || NAMES.contains(&name) { Ok(()) } else { Err(SignalError(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for good in ["SIGTERM", "term", "SigUsr1", "9", "RTMIN+3", "SIGRTMAX-14", "RTMAX", "64", "-1", "+9"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "0",
            "-0",
            "1.5",
            "SIGNOPE",
            "RTMIN+16",
            "RTMAX-15",
            "RTMIN+0",
            "RTMIN+01",
            "SIGSIGTERM",
            "9 ",
        ] {
            assert_eq!(check(bad), Err(SignalError(bad.to_owned())), "{bad}");
        }
        let way_out = |text: &str| SignalError(text.to_owned()).way_out();
        assert_eq!(way_out("SIGTREM"), "did you mean `SIGTERM`?");
        assert!(way_out("0").contains("other than 0"));
    }
}
