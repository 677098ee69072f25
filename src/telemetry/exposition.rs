//! Metrics as text, in Prometheus' exposition format 0.0.4.

use std::time::SystemTime;

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::metrics::{Counts, Label};

/// The media type of [`Exposition::text`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// All metrics, at one moment.
#[derive(Default)]
pub struct Exposition(Vec<MetricFamily>);

/// One metric: what is added next are its values.
pub struct Family<'e> {
    family: &'e mut MetricFamily,
}

/// The metrics cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be written")]
pub struct ExpositionError(#[from] prometheus::Error);

impl Exposition {
    /// What only grows. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(MetricType::COUNTER, name, help)
    }

    /// What comes and goes.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(MetricType::GAUGE, name, help)
    }

    fn family(&mut self, kind: MetricType, name: &str, help: &str) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family {
            family: self.0.push_mut(family),
        }
    }

    /// Metrics without a value are left out.
    pub fn text(mut self) -> Result<String, ExpositionError> {
        self.0.retain(|family| !family.get_metric().is_empty());
        Ok(TextEncoder::new().encode_to_string(&self.0)?)
    }
}

impl Family<'_> {
    /// The only value.
    pub fn is(&mut self, value: u64) {
        self.add(&[], value);
    }

    /// A value for each of the label's.
    pub fn counts<L: Label>(&mut self, counts: &Counts<L>) {
        self.counts_of(&[], counts);
    }

    /// The same with labels before it.
    pub fn counts_of<L: Label>(&mut self, labels: &[(&str, &str)], counts: &Counts<L>) {
        for (value, total) in counts.totals() {
            self.add(&[labels, &[(L::NAME, value.value())]].concat(), total);
        }
    }

    /// One value.
    pub fn add(&mut self, labels: &[(&str, &str)], value: u64) {
        let labels = labels.iter().map(|(name, value)| pair(name, value));
        let mut metric = proto::Metric::from_label(labels.collect());
        // A line says nothing of its kind, but the type must be its family's.
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(number(value));
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(number(value));
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
    }
}

/// Seconds since the epoch, the unit of `…_timestamp_seconds`.
pub fn seconds(instant: SystemTime) -> u64 {
    let since = instant.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Outcome {
        Good,
        Bad,
    }

    impl Label for Outcome {
        const NAME: &'static str = "outcome";
        const ALL: &'static [Self] = &[Self::Good, Self::Bad];

        fn value(self) -> &'static str {
            match self {
                Self::Good => "good",
                Self::Bad => "bad",
            }
        }
    }

    #[test]
    fn each_metric_has_its_help_its_type_and_a_line_for_each_value() {
        let counts = Counts::default();
        counts.count(Outcome::Bad);
        let mut exposition = Exposition::default();
        let mut attempts = exposition.counter("attempts_total", "What was tried.");
        attempts.counts_of(&[("by", "hand")], &counts);
        exposition.gauge("open", "What is open.").is(1 << 40);
        let expected = "\
# HELP attempts_total What was tried.
# TYPE attempts_total counter
attempts_total{by=\"hand\",outcome=\"good\"} 0
attempts_total{by=\"hand\",outcome=\"bad\"} 1
# HELP open What is open.
# TYPE open gauge
open 1099511627776
";
        assert_eq!(exposition.text().unwrap(), expected);
    }

    #[test]
    fn a_metric_without_a_value_is_left_out() {
        let mut exposition = Exposition::default();
        exposition.gauge("absent", "Nothing.");
        exposition.gauge("present", "Something.").is(0);
        let text = exposition.text().unwrap();
        assert!(!text.contains("absent") && text.contains("present 0\n"));
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut exposition = Exposition::default();
        let mut family = exposition.gauge("hosts", "By name.");
        family.add(&[("host", "a\"} 1\nforged 2\\")], 3);
        let text = exposition.text().unwrap();
        assert!(text.ends_with("hosts{host=\"a\\\"} 1\\nforged 2\\\\\"} 3\n"));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn an_instant_is_seconds_and_none_is_before_the_epoch() {
        let day = std::time::Duration::from_hours(24);
        assert_eq!(seconds(SystemTime::UNIX_EPOCH + day), 86400);
        assert_eq!(seconds(SystemTime::UNIX_EPOCH - day), 0);
    }
}
