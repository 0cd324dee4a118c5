//! Values of settings as Rust values; the error says what was needed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use drover_hcl::Value;
use drover_model::time::parse_duration;

/// Text; numbers and truth values turn into it.
pub fn text(value: &Value) -> Result<String, String> {
    value.to_text().map_err(|_| format!("text is needed, not {}", value.type_name()))
}

/// A truth value, or the text of one.
pub fn flag(value: &Value) -> Result<bool, String> {
    let number = value.as_number().and_then(|number| number.as_i64());
    match number {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => value.to_bool().map_err(|_| format!("true or false is needed, not {}", shown(value))),
    }
}

/// A whole number that is not negative.
pub fn whole(value: &Value, max: u64) -> Result<u64, String> {
    let number = value.to_number().ok().and_then(|number| number.as_i64());
    match number.and_then(|number| u64::try_from(number).ok()) {
        Some(number) if number <= max => Ok(number),
        _ => Err(format!("a whole number from 0 to {max} is needed, not {}", shown(value))),
    }
}

/// A part of a whole, in percent.
pub fn percent(value: &Value) -> Result<f64, String> {
    let number = value.to_text().ok().and_then(|text| text.parse::<f64>().ok());
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| format!("a number from 0 to 100 is needed, not {}", shown(value)))
}

/// A list of texts.
pub fn list(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_items().ok_or_else(|| format!("a list is needed, not {}", value.type_name()))?;
    items.iter().map(text).collect()
}

/// Names to texts.
pub fn map(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let entries = value.as_entries().ok_or_else(|| format!("a map is needed, not {}", value.type_name()))?;
    entries.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
}

/// `1m30s`.
pub fn duration(value: &Value) -> Result<Duration, String> {
    let text = text(value)?;
    parse_duration(&text).ok_or_else(|| format!("a duration such as \"1m30s\" is needed, not {text:?}"))
}

/// An address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    if text.contains("{{") {
        return Err(format!("templates are not read here, write the address in place of {text:?}"));
    }
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_| format!("an IP address is needed, not {text:?}"))
}

fn shown(value: &Value) -> String {
    match value.to_text() {
        Ok(text) => format!("{text:?}"),
        Err(_) => value.type_name(),
    }
}
