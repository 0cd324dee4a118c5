//! Numbers as HCL has them: binary floating point with 512 bits, so that text such as `0.1` and large whole
//! numbers survive arithmetic, printed with the fewest decimal digits that read back as the same number.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::BigUint;

/// Bits of a number that was written in a text.
const TEXT_BITS: u64 = 512;
/// Bits of a number that was counted (a length, an index).
const COUNT_BITS: u64 = 64;
/// Bits of a number that comes out of a float function (`pow`, `log`).
const FLOAT_BITS: u64 = 53;
/// Largest power of two before a number counts as infinite, so that printing one stays small.
const MAGNITUDE_BITS_MAX: i64 = 8192;
/// Most digits, and largest exponent, that are read from a text.
const DIGITS_MAX: usize = 2000;

/// A number, exact to 512 bits. See the module for what that means.
#[derive(Debug, Clone)]
pub struct Number {
    is_negative: bool,
    /// `None` stands for infinity.
    magnitude: Option<Magnitude>,
    /// Bits that results of arithmetic with this number keep, at least.
    precision_bits: u64,
}

/// `mantissa * 2^exponent`; the mantissa is odd, or zero with exponent zero.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Magnitude {
    mantissa: BigUint,
    exponent: i64,
}

impl Magnitude {
    fn zero() -> Magnitude {
        Magnitude { mantissa: BigUint::ZERO, exponent: 0 }
    }

    fn top_bit(&self) -> i64 {
        self.mantissa.bits() as i64 + self.exponent
    }

    /// Rounds to `bits`, half to even, and drops trailing zero bits; `None` when out of range.
    fn rounded(mut mantissa: BigUint, mut exponent: i64, bits: u64) -> Option<Magnitude> {
        let excess = mantissa.bits().saturating_sub(bits);
        if excess > 0 {
            let half = BigUint::from(1u8) << (excess - 1);
            let rest = &mantissa & ((BigUint::from(1u8) << excess) - 1u8);
            mantissa >>= excess;
            exponent += excess as i64;
            match rest.cmp(&half) {
                Ordering::Greater => mantissa += 1u8,
                Ordering::Equal if mantissa.bit(0) => mantissa += 1u8,
                Ordering::Equal | Ordering::Less => {}
            }
        }
        let Some(zeros) = mantissa.trailing_zeros() else {
            return Some(Magnitude::zero());
        };
        mantissa >>= zeros;
        let rounded = Magnitude { mantissa, exponent: exponent + zeros as i64 };
        match rounded.top_bit() {
            top if top > MAGNITUDE_BITS_MAX => None,
            top if top < -MAGNITUDE_BITS_MAX => Some(Magnitude::zero()),
            _ => Some(rounded),
        }
    }

    /// The mantissa when the exponent is lowered to `exponent`.
    fn aligned(&self, exponent: i64) -> BigUint {
        &self.mantissa << (self.exponent - exponent).max(0) as u64
    }
}

impl PartialOrd for Magnitude {
    fn partial_cmp(&self, other: &Magnitude) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Magnitude {
    fn cmp(&self, other: &Magnitude) -> Ordering {
        let exponent = self.exponent.min(other.exponent);
        self.aligned(exponent).cmp(&other.aligned(exponent))
    }
}

impl Number {
    /// Infinity, positive or negative.
    pub fn infinity(is_negative: bool) -> Number {
        Number { is_negative, magnitude: None, precision_bits: TEXT_BITS }
    }

    fn finite(is_negative: bool, mantissa: BigUint, exponent: i64, precision_bits: u64) -> Number {
        let magnitude = Magnitude::rounded(mantissa, exponent, precision_bits);
        Number { is_negative, magnitude, precision_bits }
    }

    /// A float; NaN, which HCL does not have, gives `None`.
    pub fn from_f64(value: f64) -> Option<Number> {
        if value.is_nan() {
            return None;
        }
        if value.is_infinite() {
            return Some(Number::infinity(value < 0.0));
        }
        let bits = value.to_bits();
        let raw_exponent = ((bits >> 52) & 0x7ff) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) = match raw_exponent {
            0 => (fraction, -1074),
            _ => (fraction | (1 << 52), raw_exponent - 1075),
        };
        Some(Number::finite(value.is_sign_negative(), BigUint::from(mantissa), exponent, FLOAT_BITS))
    }

    /// Reads decimal text: digits, optional fraction, optional exponent, optional sign.
    pub fn from_text(text: &str) -> Option<Number> {
        // Digits, a point, two signs and an exponent; more is refused before it is looked at.
        if text.len() > DIGITS_MAX + 30 {
            return None;
        }
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
            None => (digits, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || all.len() > DIGITS_MAX || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mantissa = BigUint::parse_bytes(all.as_bytes(), 10)?;
        let exponent = exponent.checked_sub(fraction.len() as i64)?;
        let power = u32::try_from(exponent.unsigned_abs()).ok().filter(|power| *power as usize <= 2 * DIGITS_MAX)?;
        let scale = BigUint::from(10u8).pow(power);
        Some(match exponent >= 0 {
            true => Number::finite(is_negative, mantissa * scale, 0, TEXT_BITS),
            false => Number::quotient(is_negative, &mantissa, &scale, 0, TEXT_BITS),
        })
    }

    fn quotient(is_negative: bool, dividend: &BigUint, divisor: &BigUint, exponent: i64, bits: u64) -> Number {
        let shift = (bits + 2 + divisor.bits()).saturating_sub(dividend.bits());
        let shifted = dividend << shift;
        let mut mantissa = &shifted / divisor;
        let mut exponent = exponent - shift as i64;
        if &mantissa * divisor != shifted {
            // A sticky bit below the kept ones, so that rounding sees that something was cut off.
            mantissa = (mantissa << 1u8) + 1u8;
            exponent -= 1;
        }
        Number::finite(is_negative, mantissa, exponent, bits)
    }

    /// Whether this is neither positive nor negative infinity.
    pub fn is_finite(&self) -> bool {
        self.magnitude.is_some()
    }

    /// How much work it is to print the number, in steps of 64 bits: nothing for those of everyday.
    pub(crate) fn weight(&self) -> usize {
        self.magnitude.as_ref().map_or(0, |m| (m.mantissa.bits() + m.exponent.unsigned_abs()) as usize / 64)
    }

    /// Whether this is zero.
    pub fn is_zero(&self) -> bool {
        self.magnitude.as_ref().is_some_and(|m| m.mantissa == BigUint::ZERO)
    }

    /// Whether this is below zero (or negative zero).
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Whether there is no fraction; infinity is not whole.
    pub fn is_whole(&self) -> bool {
        self.magnitude.as_ref().is_some_and(|m| m.exponent >= 0)
    }

    /// The number as an `i64` when it is one exactly.
    pub fn as_i64(&self) -> Option<i64> {
        let magnitude = self.magnitude.as_ref().filter(|m| m.exponent >= 0 && m.top_bit() <= 64)?;
        let value = i128::try_from(magnitude.aligned(0)).ok()?;
        i64::try_from(if self.is_negative { -value } else { value }).ok()
    }

    /// The nearest float.
    pub fn as_f64(&self) -> f64 {
        // The shortest text that identifies the number rounds to the nearest float of it.
        let value = self.abs().to_string().parse().unwrap_or(f64::INFINITY);
        if self.is_negative { -value } else { value }
    }

    /// The distance from zero.
    pub fn abs(&self) -> Number {
        Number { is_negative: false, ..self.clone() }
    }

    /// The number with the other sign.
    pub fn negated(&self) -> Number {
        Number { is_negative: !self.is_negative, ..self.clone() }
    }

    /// Sum; `None` for infinity minus infinity.
    pub fn plus(&self, other: &Number) -> Option<Number> {
        let (a, b) = match (&self.magnitude, &other.magnitude) {
            (Some(a), Some(b)) => (a, b),
            (None, None) if self.is_negative != other.is_negative => return None,
            (None, _) => return Some(self.clone()),
            (_, None) => return Some(other.clone()),
        };
        let bits = self.precision_bits.max(other.precision_bits);
        let exponent = a.exponent.min(b.exponent);
        let (left, right) = (a.aligned(exponent), b.aligned(exponent));
        let (is_negative, mantissa) = if self.is_negative == other.is_negative {
            (self.is_negative, left + right)
        } else {
            match left.cmp(&right) {
                Ordering::Greater => (self.is_negative, left - right),
                Ordering::Less => (other.is_negative, right - left),
                Ordering::Equal => (false, BigUint::ZERO),
            }
        };
        Some(Number::finite(is_negative, mantissa, exponent, bits))
    }

    /// Difference; `None` for infinity minus infinity.
    pub fn minus(&self, other: &Number) -> Option<Number> {
        self.plus(&other.negated())
    }

    /// Product; `None` for zero times infinity.
    pub fn times(&self, other: &Number) -> Option<Number> {
        let is_negative = self.is_negative != other.is_negative;
        let (Some(a), Some(b)) = (&self.magnitude, &other.magnitude) else {
            return (!self.is_zero() && !other.is_zero()).then(|| Number::infinity(is_negative));
        };
        let bits = self.precision_bits.max(other.precision_bits);
        Some(Number::finite(is_negative, &a.mantissa * &b.mantissa, a.exponent + b.exponent, bits))
    }

    /// Quotient; a number by zero is infinite, `None` for zero by zero and infinity by infinity.
    pub fn divided_by(&self, other: &Number) -> Option<Number> {
        let is_negative = self.is_negative != other.is_negative;
        let bits = self.precision_bits.max(other.precision_bits);
        match (&self.magnitude, &other.magnitude) {
            (None, None) => None,
            (None, Some(_)) => Some(Number::infinity(is_negative)),
            (Some(_), None) => Some(Number::finite(is_negative, BigUint::ZERO, 0, bits)),
            (Some(_), Some(_)) if other.is_zero() => (!self.is_zero()).then(|| Number::infinity(is_negative)),
            (Some(a), Some(b)) => {
                Some(Number::quotient(is_negative, &a.mantissa, &b.mantissa, a.exponent - b.exponent, bits))
            }
        }
    }

    /// What is left of a whole-number division; the sign is that of `self`. `None` where division has no result.
    pub fn remainder(&self, other: &Number) -> Option<Number> {
        let (Some(a), Some(b)) = (&self.magnitude, &other.magnitude) else {
            return self.is_finite().then(|| self.clone());
        };
        if other.is_zero() {
            return None;
        }
        let exponent = a.exponent.min(b.exponent);
        let rest = a.aligned(exponent) % b.aligned(exponent);
        let bits = self.precision_bits.max(other.precision_bits);
        Some(Number::finite(self.is_negative && rest != BigUint::ZERO, rest, exponent, bits))
    }

    /// The nearest whole number towards negative infinity.
    pub fn floor(&self) -> Number {
        match &self.magnitude {
            Some(m) if m.exponent < 0 => {
                let cut = &m.mantissa >> m.exponent.unsigned_abs();
                // The mantissa is odd, so a negative exponent always cuts something off.
                let mantissa = if self.is_negative { cut + 1u8 } else { cut };
                Number::finite(self.is_negative && mantissa != BigUint::ZERO, mantissa, 0, TEXT_BITS)
            }
            Some(_) | None => self.clone(),
        }
    }

    /// The nearest whole number towards positive infinity.
    pub fn ceil(&self) -> Number {
        let mut up = self.negated().floor().negated();
        up.is_negative &= !up.is_zero();
        up
    }

    /// Whole digits without sign, when the number is whole.
    pub fn whole_digits(&self, base: u32) -> Option<String> {
        let magnitude = self.magnitude.as_ref().filter(|m| m.exponent >= 0)?;
        Some(magnitude.aligned(0).to_str_radix(base))
    }

    /// Reads whole digits in a base from 2 to 36.
    pub fn from_digits(is_negative: bool, digits: &str, base: u32) -> Option<Number> {
        if digits.len() > DIGITS_MAX {
            return None;
        }
        let mantissa = BigUint::parse_bytes(digits.as_bytes(), base)?;
        Some(Number::finite(is_negative && mantissa != BigUint::ZERO, mantissa, 0, TEXT_BITS))
    }

    /// The shortest decimal digits that identify the number, and where the point stands in them.
    fn shortest_digits(&self, magnitude: &Magnitude) -> (Vec<u8>, usize) {
        // Two extra bits below the last kept one make the neighbours' midpoints whole numbers.
        let shift = (self.precision_bits + 1).saturating_sub(magnitude.mantissa.bits());
        let mantissa = &magnitude.mantissa << shift;
        let exponent = magnitude.exponent - shift as i64;
        let is_inclusive = !mantissa.bit(1);
        let (low, high) = (&mantissa - 1u8, &mantissa + 1u8);
        let scale = match exponent < 0 {
            true => BigUint::from(5u8).pow(exponent.unsigned_abs() as u32),
            false => BigUint::from(1u8) << exponent as u64,
        };
        let point = exponent.min(0).unsigned_abs() as usize;
        let digits = (&mantissa * &scale).to_string().into_bytes();
        let (low, high) = ((low * &scale).to_string(), (high * &scale).to_string());
        let width = high.len().max(point + 1);
        let pad = |digits: &[u8]| [vec![b'0'; width - digits.len()], digits.to_vec()].concat();
        let (digits, low, high) = (pad(&digits), pad(low.as_bytes()), pad(high.as_bytes()));
        let whole_width = width - point;
        // Fewer digits than both limits share cannot lie between them.
        let shared = low.iter().zip(&high).take_while(|(low, high)| low == high).count();
        for kept in shared.max(1)..width {
            let down: Vec<u8> = [&digits[..kept], &vec![b'0'; width - kept]].concat();
            let mut up = increment(&digits[..kept]);
            let is_longer = up.len() > kept;
            up.resize(width + usize::from(is_longer), b'0');
            let is_down_ok = if is_inclusive { down >= low } else { down > low };
            let is_up_ok = !is_longer && if is_inclusive { up <= high } else { up < high };
            let is_up_nearer = digits[kept] > b'5'
                || (digits[kept] == b'5'
                    && (digits[kept + 1..].iter().any(|d| *d != b'0') || digits[kept - 1] % 2 == 1));
            match (is_down_ok, is_up_ok) {
                (true, true) if is_up_nearer => return (up, whole_width),
                (true, _) => return (down, whole_width),
                (false, true) => return (up, whole_width),
                (false, false) => {}
            }
        }
        (digits, whole_width)
    }
}

/// Decimal digits plus one.
fn increment(digits: &[u8]) -> Vec<u8> {
    let mut digits = digits.to_vec();
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return digits;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
    digits
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        let Some(magnitude) = &self.magnitude else {
            return write!(f, "{}Inf", if self.is_negative { "-" } else { "+" });
        };
        if self.is_zero() {
            return write!(f, "{sign}0");
        }
        // Whole numbers within the kept bits need no search for the shortest digits.
        if magnitude.exponent >= 0 && magnitude.top_bit() <= self.precision_bits as i64 {
            return write!(f, "{sign}{}", magnitude.aligned(0));
        }
        let (digits, whole_width) = self.shortest_digits(magnitude);
        let digits = String::from_utf8_lossy(&digits);
        let (whole, fraction) = digits.split_at(whole_width.min(digits.len()));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let whole = if whole.is_empty() { "0" } else { whole };
        match fraction.is_empty() {
            true => write!(f, "{sign}{whole}"),
            false => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::finite(value < 0, BigUint::from(value.unsigned_abs()), 0, COUNT_BITS)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        Number::finite(false, BigUint::from(value), 0, COUNT_BITS)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        if self.is_zero() && other.is_zero() {
            return Ordering::Equal;
        }
        let magnitudes = || match (&self.magnitude, &other.magnitude) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(b),
        };
        match (self.is_negative, other.is_negative) {
            (false, false) => magnitudes(),
            (true, true) => magnitudes().reverse(),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

#[cfg(test)]
mod tests;
