//! `/v1/metrics`: the figures of this agent's process, as JSON by interval or in the form that Prometheus reads.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, header};
use drover_metrics::{Aggregate, Interval, Kind, Labels, Total, process};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::problem::Problem;
use crate::query::Query;
use crate::reply::{self, Reply};

/// Where they are.
pub(crate) const PATH: &str = "/v1/metrics";
/// What Prometheus' text is.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const QUANTILES: [f64; 3] = drover_metrics::registry::QUANTILES;

pub(crate) async fn read(call: Call) -> Result<Reply, Problem> {
    answer(&call.query)
}

/// The same for an agent that hands every other request on to a server.
pub(crate) fn answer_locally(request: &Request) -> Result<Reply, Problem> {
    if request.method() != Method::GET {
        return Err(Problem::Method("GET".to_owned()));
    }
    answer(&Query::parse(request.uri().query()))
}

fn answer(query: &Query) -> Result<Reply, Problem> {
    if query.text("format") != "prometheus" {
        return reply::plain(&summary(&process().interval()), query.is_pretty());
    }
    if !process().keeps_quantiles() {
        return Err(Problem::NotEnabled("Prometheus is not enabled".to_owned()));
    }
    let text = TextEncoder::new().encode_to_string(&families(process().totals()));
    let text = text.map_err(|error| {
        tracing::error!(%error, "figures can't be written for Prometheus");
        Problem::Failed("figures can't be written for Prometheus".to_owned())
    })?;
    let mut reply = Response::new(Body::from(text));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(reply)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sampled {
    count: u64,
    labels: BTreeMap<String, String>,
    max: f64,
    mean: f64,
    min: f64,
    name: &'static str,
    rate: f64,
    stddev: f64,
    sum: f64,
}

fn summary(interval: &Interval) -> Value {
    let seconds = interval.length.as_secs_f64().max(f64::MIN_POSITIVE);
    let sampled = |(name, labels, values): &(&'static str, Labels, Aggregate)| Sampled {
        count: values.count,
        labels: map(labels),
        max: values.max,
        mean: values.mean(),
        min: values.min,
        name,
        rate: values.sum / seconds,
        stddev: values.deviation(),
        sum: values.sum,
    };
    let gauge = |(name, labels, value): &(&'static str, Labels, f64)| json!({"Labels": map(labels), "Name": name, "Value": value});
    let began =
        i64::try_from(interval.began.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    json!({
        "Counters": interval.counters.iter().map(sampled).collect::<Vec<_>>(),
        "Gauges": interval.gauges.iter().map(gauge).collect::<Vec<_>>(),
        "Points": [],
        "PrecisionGauges": [],
        "Samples": interval.samples.iter().map(sampled).collect::<Vec<_>>(),
        "Timestamp": began.unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
    })
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn families(totals: Vec<(&'static str, Kind, Vec<Total>)>) -> Vec<MetricFamily> {
    // Two names that read alike there are one family of one kind: the first has it.
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for (name, kind, series) in totals {
        let name = word(name);
        if series.is_empty() || families.contains_key(&name) {
            continue;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.clone());
        family.set_help(name.clone());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Sample => MetricType::SUMMARY,
        });
        family.set_metric(series.iter().map(|series| metric(kind, series)).collect());
        families.insert(name, family);
    }
    families.into_values().collect()
}

fn metric(kind: Kind, series: &Total) -> Metric {
    let labels: BTreeMap<String, &str> = series.labels.iter().map(|(name, value)| (word(name), value)).collect();
    let pair = |(name, value): (String, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name);
        pair.set_value(value.to_owned());
        pair
    };
    let mut metric = Metric::from_label(labels.into_iter().map(pair).collect());
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(series.total.sum);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(series.total.last);
            metric.set_gauge(gauge);
        }
        Kind::Sample => {
            let quantile = |(part, value): (f64, f64)| {
                let mut quantile = Quantile::default();
                quantile.set_quantile(part);
                quantile.set_value(value);
                quantile
            };
            let mut summary = Summary::default();
            summary.set_quantile(QUANTILES.into_iter().zip(series.quantiles).map(quantile).collect());
            summary.set_sample_count(series.total.count);
            summary.set_sample_sum(series.total.sum);
            metric.set_summary(summary);
        }
    }
    metric
}

/// A name as Prometheus takes it.
fn word(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    let word: String = kept.collect();
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) { format!("_{word}") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_metrics::{Registry, Settings};
    use std::time::Duration;

    fn registry() -> Registry {
        let base_labels = Labels::new(&[("host", "h")]);
        let registry = Registry::new(Settings { base_labels, keeps_quantiles: true, ..Settings::default() });
        registry.record(Kind::Counter, "nomad.nomad.rpc.query", &[], 2.0);
        registry.record(Kind::Gauge, "nomad.runtime.alloc_bytes", &[("my-key", "a\"b")], 1024.0);
        (1..=4).for_each(|value| registry.record(Kind::Sample, "nomad.raft.fsm.apply", &[], f64::from(value)));
        registry.roll(Duration::from_secs(1_795_347_390));
        registry
    }

    #[test]
    fn an_interval_as_json() {
        let text = serde_json::to_string(&summary(&registry().interval())).unwrap();
        let expected = concat!(
            r#"{"Counters":[{"Count":1,"Labels":{"host":"h"},"Max":2.0,"Mean":2.0,"Min":2.0,"Name":"nomad.nomad.rpc.query","Rate":0.2,"Stddev":0.0,"Sum":2.0}],"#,
            r#""Gauges":[{"Labels":{"host":"h","my-key":"a\"b"},"Name":"nomad.runtime.alloc_bytes","Value":1024.0}],"Points":[],"PrecisionGauges":[],"#,
            r#""Samples":[{"Count":4,"Labels":{"host":"h"},"Max":4.0,"Mean":2.5,"Min":1.0,"Name":"nomad.raft.fsm.apply","Rate":1.0,"Stddev":1.2909944487358056,"Sum":10.0}],"#,
            r#""Timestamp":"2026-11-22 11:36:20 +0000 UTC"}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn totals_for_prometheus() {
        let text = TextEncoder::new().encode_to_string(&families(registry().totals())).unwrap();
        let expected = "# HELP nomad_nomad_rpc_query nomad_nomad_rpc_query
# TYPE nomad_nomad_rpc_query counter
nomad_nomad_rpc_query{host=\"h\"} 2
# HELP nomad_raft_fsm_apply nomad_raft_fsm_apply
# TYPE nomad_raft_fsm_apply summary
nomad_raft_fsm_apply{host=\"h\",quantile=\"0.5\"} 2
nomad_raft_fsm_apply{host=\"h\",quantile=\"0.9\"} 4
nomad_raft_fsm_apply{host=\"h\",quantile=\"0.99\"} 4
nomad_raft_fsm_apply_sum{host=\"h\"} 10
nomad_raft_fsm_apply_count{host=\"h\"} 4
# HELP nomad_runtime_alloc_bytes nomad_runtime_alloc_bytes
# TYPE nomad_runtime_alloc_bytes gauge
nomad_runtime_alloc_bytes{host=\"h\",my_key=\"a\\\"b\"} 1024
";
        assert_eq!(text, expected);
    }
}
