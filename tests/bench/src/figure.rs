//! One measured figure, as a JSON line and as a row of a table.

use serde_json::json;

/// A figure of one product.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub measure: String,
    /// Of which product; `limit` for the probe.
    pub product: String,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// How many samples.
    pub n: usize,
    /// The unit of both.
    pub unit: &'static str,
}

impl Figure {
    /// The percentiles of samples, which must not be empty.
    pub fn of(measure: impl Into<String>, product: &str, unit: &'static str, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        Self {
            measure: measure.into(),
            product: product.to_owned(),
            p50: at(0.5),
            p99: at(0.99),
            n: samples.len(),
            unit,
        }
    }

    /// One value, measured once.
    pub fn one(measure: impl Into<String>, product: &str, unit: &'static str, value: f64) -> Self {
        Self::of(measure, product, unit, vec![value])
    }

    /// The JSON line.
    pub fn to_json(&self) -> String {
        let Self { measure, product, p50, p99, n, unit } = self;
        json!({"measure": measure, "product": product, "p50": p50, "p99": p99, "n": n, "unit": unit}).to_string()
    }
}

/// The table for people.
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!("{:<46} {:<8} {:>12} {:>12} {:>6}  unit\n", "measure", "product", "p50", "p99", "n");
    for Figure { measure, product, p50, p99, n, unit } in figures {
        text.push_str(&format!("{measure:<46} {product:<8} {p50:>12.3} {p99:>12.3} {n:>6}  {unit}\n"));
    }
    text
}
