//! Sizes and rates.

/// `0 B`, `4.0 KiB`, `1.8 MiB`, `32 MiB`: below 10 with one decimal.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 10 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut size = count as f64;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    // Half a tenth up, then cut, so that 9.96 becomes 10 and is shown without a decimal.
    let tenths = (size * 10.0 + 0.5).floor() / 10.0;
    if tenths < 10.0 && unit > 0 {
        format!("{tenths:.1} {}", UNITS[unit])
    } else {
        format!("{tenths:.0} {}", UNITS[unit])
    }
}

/// The same of a count of MiB; negative counts are zero.
pub fn mebibytes(count: i64) -> String {
    bytes(u64::try_from(count).unwrap_or(0).saturating_mul(1 << 20))
}

/// Three significant digits without trailing zeros: `0.0217`, `0`, `-0.5`, `12.3`.
pub fn score(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    // Going through the exponent form rounds to three digits whatever the size is.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    rounded.to_string()
}

/// `12.50%`.
pub fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |count: u64, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 B");
        check(9, "9 B");
        check(1000, "1000 B");
        check(4096, "4.0 KiB");
        check(1_887_437, "1.8 MiB");
        check(32 << 20, "32 MiB");
        check(24_105 << 20, "24 GiB");
        check(928_133_120, "885 MiB");
        assert_eq!(mebibytes(300), "300 MiB");
        assert_eq!(mebibytes(-1), "0 B");
    }

    #[test]
    fn scores() {
        let check = |value: f64, expected: &str| assert_eq!(score(value), expected);
        check(0.021_712_3, "0.0217");
        check(0.0, "0");
        check(-0.5, "-0.5");
        check(12.345, "12.3");
        assert_eq!(percent(0.0), "0.00%");
    }
}
