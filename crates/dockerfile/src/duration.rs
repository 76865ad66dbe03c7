//! Durations in the notation of Go's `time.ParseDuration`, as `HEALTHCHECK` takes them.

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a sequence of numbers and units, or out of range.
    #[error("invalid duration `{0}`")]
    Invalid(String),
    /// A number without a unit (`30`).
    #[error("missing unit in duration `{0}`")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("unknown unit `{unit}` in duration `{text}`")]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole duration.
        text: String,
    },
}

/// Nanoseconds in each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The number of nanoseconds that `text` (`1m30s`, `1.5h`, `-10ms`, `0`) stands for.
///
/// # Errors
/// If `text` is not of that form or does not fit 63 bits.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = component(rest, text)?;
        total = total.checked_add(part).filter(|sum| *sum <= 1 << 63).ok_or_else(invalid)?;
        rest = after;
    }
    let total = i128::from(total);
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// One number with its unit at the head of `rest`, in nanoseconds, and what follows it.
fn component<'a>(rest: &'a str, text: &str) -> Result<(u64, &'a str), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (whole, after) = rest.split_at(digits(rest));
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let (unit, after) =
        after.split_at(after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len()));
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let scale = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| *scale)
        .ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let mut nanoseconds = whole.checked_mul(scale).filter(|n| *n <= 1 << 63).ok_or_else(invalid)?;
    let mut place = scale as f64;
    let mut part = 0.0;
    for digit in fraction.bytes() {
        place /= 10.0;
        part += f64::from(digit - b'0') * place;
    }
    // Rounding guards against 0.1 s coming out one nanosecond short.
    nanoseconds = nanoseconds.checked_add((part + 1e-6) as u64).ok_or_else(invalid)?;
    Ok((nanoseconds, after))
}

/// How Go prints a duration of so many nanoseconds: `0s`, `1.5s`, `1h0m3s`, `250ms`.
pub fn format(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let n = nanoseconds.unsigned_abs();
    if n < 1_000_000_000 {
        let (scale, unit) = match n {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{unit}", decimal(n, scale));
    }
    let minutes = n / 60_000_000_000;
    let seconds = decimal(n % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// `n / scale` in decimal, without trailing zeros.
fn decimal(n: u64, scale: u64) -> String {
    let width = scale.ilog10() as usize;
    let fraction = format!("{:0width$}", n % scale);
    match fraction.trim_end_matches('0') {
        "" => (n / scale).to_string(),
        fraction => format!("{}.{fraction}", n / scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        let cases = [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1h0m3s", 3_603_000_000_000, "1h0m3s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("0.1s", 100_000_000, "100ms"),
            ("250ms", 250_000_000, "250ms"),
            ("1.25ms", 1_250_000, "1.25ms"),
            ("3us", 3_000, "3µs"),
            ("3\u{3bc}s", 3_000, "3µs"),
            ("7ns", 7, "7ns"),
            ("-2m", -120_000_000_000, "-2m0s"),
            ("+2m", 120_000_000_000, "2m0s"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (text, want, printed) in cases {
            assert_eq!(parse(text), Ok(want), "{text}");
            assert_eq!(format(want), printed, "{text}");
        }
    }

    #[test]
    fn bad() {
        for text in ["", "-", "soon", ".s", "1.2.3s", "9223372036854775808ns", "3000000h", "5 s", "s"] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(matches!(parse("30"), Err(DurationError::MissingUnit(_))));
        assert!(matches!(parse("5d"), Err(DurationError::UnknownUnit { .. })));
        assert!(matches!(parse("1minute"), Err(DurationError::UnknownUnit { .. })));
    }
}
