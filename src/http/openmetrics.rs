//! Metrics in the text format of OpenMetrics 1.0. In: gathered families. Out: the text.
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::{borrow::Cow, fmt::Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The units of our families. A family with one of these units ends with its name, as the format demands, before
/// `_total`.
const UNITS: [&str; 6] = ["seconds", "bytes", "vbytes", "satoshis", "satoshis_per_vbyte", "satoshis_per_kvbyte"];

/// The size of the text for a node in its steady state.
const BYTES: usize = 384 << 10;

pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut out = Out(String::with_capacity(BYTES));
    for family in families {
        out.family(family);
    }
    out.0.push_str("# EOF\n");
    out.0
}

struct Out(String);

impl Out {
    fn family(&mut self, family: &MetricFamily) {
        let Some(kind) = Kind::of(family) else { return };
        let name = match kind {
            Kind::Counter => family.name().strip_suffix("_total"),
            Kind::Info => family.name().strip_suffix("_info"),
            Kind::Gauge | Kind::Histogram => None,
        };
        let name = name.unwrap_or(family.name());
        self.line(format_args!("# TYPE {name} {}", kind.name()));
        let is_in = |unit: &&&str| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_'));
        // An info has no unit.
        if kind != Kind::Info
            && let Some(unit) = UNITS.iter().filter(is_in).max_by_key(|unit| unit.len())
        {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {}", escaped(family.help())));
        for metric in family.get_metric() {
            self.metric(name, kind, metric);
        }
    }

    fn metric(&mut self, name: &str, kind: Kind, metric: &Metric) {
        let labels = metric.get_label();
        match kind {
            Kind::Counter => self.sample(name, "_total", labels, None, metric.get_counter().get_value()),
            Kind::Gauge => self.sample(name, "", labels, None, metric.get_gauge().get_value()),
            Kind::Info => self.sample(name, "_info", labels, None, metric.get_gauge().get_value()),
            Kind::Histogram => self.histogram(name, metric),
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric) {
        let (labels, histogram) = (metric.get_label(), metric.get_histogram());
        let count = histogram.get_sample_count() as f64;
        let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound() != f64::INFINITY);
        let mut has_negative = false;
        for bucket in finite {
            has_negative |= bucket.upper_bound() < 0.0;
            let bound = ("le", float(bucket.upper_bound()));
            self.sample(name, "_bucket", labels, Some(bound), bucket.cumulative_count() as f64);
        }
        self.sample(name, "_bucket", labels, Some(("le", float(f64::INFINITY))), count);
        // The format does not allow a sum that can fall, nor a count without a sum.
        if !has_negative {
            self.sample(name, "_count", labels, None, count);
            self.sample(name, "_sum", labels, None, histogram.get_sample_sum());
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[LabelPair], last: Option<(&str, String)>, value: f64) {
        let Self(out) = self;
        out.push_str(name);
        out.push_str(suffix);
        let pairs = labels.iter().map(|label| (label.name(), label.value()));
        let pairs = pairs.chain(last.as_ref().map(|(name, value)| (*name, value.as_str())));
        let mut separator = '{';
        // There are thousands: formatting each would take half of the time.
        for (name, value) in pairs {
            out.push(separator);
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(&escaped(value));
            out.push('"');
            separator = ',';
        }
        if separator == ',' {
            out.push('}');
        }
        out.push(' ');
        push_number(out, value);
        out.push('\n');
    }

    fn line(&mut self, rest: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(rest);
        self.0.push('\n');
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    /// Labels with information, on a gauge that is 1.
    Info,
    Histogram,
}

impl Kind {
    /// `None` for kinds that the crate has no metrics of.
    fn of(family: &MetricFamily) -> Option<Self> {
        let is_one = |metric: &Metric| metric.get_gauge().get_value() == 1.0;
        let is_info = family.name().ends_with("_info") && family.get_metric().iter().all(is_one);
        match family.get_field_type() {
            MetricType::COUNTER => Some(Self::Counter),
            MetricType::GAUGE => Some(if is_info { Self::Info } else { Self::Gauge }),
            MetricType::HISTOGRAM => Some(Self::Histogram),
            MetricType::SUMMARY | MetricType::UNTYPED => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}

/// A value: as in the other text format, except for infinity.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        _ => value.to_string(),
    }
}

/// The same, faster for most values: whole numbers up to this size are exact.
fn push_number(out: &mut String, value: f64) {
    const EXACT: f64 = (1u64 << 53) as f64;
    if !(0.0..EXACT).contains(&value) || value.fract() != 0.0 || value.is_sign_negative() {
        out.push_str(&number(value));
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "{}", value as u64);
}

/// A number in a label, which must have one form: that of Go, with `.0` if nothing else shows that it is a float.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return number(value);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse().unwrap_or(0) {
        exponent @ ..-4 => format!("{digits}e-{:02}", -exponent),
        exponent @ 6.. => format!("{digits}e+{exponent:02}"),
        -4..6 => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prometheus::{
        Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
        core::Collector, proto::MetricFamily,
    };

    use super::*;
    use crate::{
        metrics::{Metrics, Options},
        tracepoint::Tracepoint,
    };

    fn text(collector: impl Collector + 'static) -> String {
        let registry = Registry::new();
        registry.register(Box::new(collector)).unwrap();
        encode(&registry.gather())
    }

    #[test]
    fn a_counter_is_named_without_total_and_counts_with_it() {
        let counter = IntCounterVec::new(Opts::new("x_seconds_total", "Time."), &["a", "b"]).unwrap();
        counter.with_label_values(&["1", "2"]).inc_by(3);
        counter.with_label_values(&["1", "3"]).inc_by(1 << 60);
        let expected = "# TYPE x_seconds counter\n# UNIT x_seconds seconds\n# HELP x_seconds Time.\n\
                        x_seconds_total{a=\"1\",b=\"2\"} 3\nx_seconds_total{a=\"1\",b=\"3\"} 1152921504606847000\n# EOF\n";
        assert_eq!(text(counter), expected);
        let counter = IntCounterVec::new(Opts::new("odd", "Odd."), &[]).unwrap();
        counter.with_label_values::<&str>(&[]).inc();
        assert_eq!(text(counter), "# TYPE odd counter\n# HELP odd Odd.\nodd_total 1\n# EOF\n");
    }

    #[test]
    fn texts_are_escaped() {
        let gauge = GaugeVec::new(Opts::new("g", "A \"b\" \\ c\nd"), &["l"]).unwrap();
        gauge.with_label_values(&["\\\"\nü"]).set(-0.5);
        let expected = "# TYPE g gauge\n# HELP g A \\\"b\\\" \\\\ c\\nd\ng{l=\"\\\\\\\"\\nü\"} -0.5\n# EOF\n";
        assert_eq!(text(gauge), expected);
    }

    #[test]
    fn an_info_is_what_is_always_1() {
        let info = |value| {
            let gauge = GaugeVec::new(Opts::new("build_info", "B."), &["v"]).unwrap();
            gauge.with_label_values(&["1"]).set(value);
            text(gauge)
        };
        assert_eq!(info(1.0), "# TYPE build info\n# HELP build B.\nbuild_info{v=\"1\"} 1\n# EOF\n");
        assert_eq!(info(2.0), "# TYPE build_info gauge\n# HELP build_info B.\nbuild_info{v=\"1\"} 2\n# EOF\n");
    }

    #[test]
    fn a_histograms_bounds_are_floats() {
        let options = HistogramOpts::new("h_bytes", "H.").buckets(vec![0.5, 1.0, 1e6]);
        let histogram = HistogramVec::new(options, &["l"]).unwrap();
        histogram.with_label_values(&["x"]).observe(1.0);
        histogram.with_label_values(&["x"]).observe(1e9);
        let expected = "# TYPE h_bytes histogram\n# UNIT h_bytes bytes\n# HELP h_bytes H.\n\
                        h_bytes_bucket{l=\"x\",le=\"0.5\"} 0\nh_bytes_bucket{l=\"x\",le=\"1.0\"} 1\n\
                        h_bytes_bucket{l=\"x\",le=\"1e+06\"} 1\nh_bytes_bucket{l=\"x\",le=\"+Inf\"} 2\n\
                        h_bytes_count{l=\"x\"} 2\nh_bytes_sum{l=\"x\"} 1000000001\n# EOF\n";
        assert_eq!(text(histogram), expected);
    }

    #[test]
    fn a_histogram_below_zero_has_no_sum() {
        let histogram = Histogram::with_opts(HistogramOpts::new("h", "H.").buckets(vec![-1.0, 1.0])).unwrap();
        histogram.observe(-3.0);
        let expected = "# TYPE h histogram\n# HELP h H.\nh_bucket{le=\"-1.0\"} 1\nh_bucket{le=\"1.0\"} 1\n\
                        h_bucket{le=\"+Inf\"} 1\n# EOF\n";
        assert_eq!(text(histogram), expected);
    }

    #[test]
    fn a_unit_is_one_that_ends_the_name() {
        for (name, unit) in [
            ("a_timestamp_seconds", Some("seconds")),
            ("fee_satoshis_per_kvbyte", Some("satoshis_per_kvbyte")),
            ("size_vbytes", Some("vbytes")),
            ("seconds", None),
            ("a_milliseconds", None),
            ("seconds_ago", None),
        ] {
            let text = text(IntGauge::new(name, "Help.").unwrap());
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("# UNIT {name} ")));
            assert_eq!(found, unit, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (0.0001, "0.0001"),
            (0.00025, "0.00025"),
            (1e-5, "1e-05"),
            (2.5e-10, "2.5e-10"),
            (100_000.0, "100000.0"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (16_777_216.0, "1.6777216e+07"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(value), text);
        }
        let gauge = Gauge::new("g", "G.").unwrap();
        for (value, written) in [
            (0.0, "0"),
            (-7.0, "-7"),
            (1.5, "1.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            gauge.set(value);
            assert_eq!(self::text(gauge.clone()), format!("# TYPE g gauge\n# HELP g G.\ng {written}\n# EOF\n"));
        }
        let sum = |numbers: &[f64]| numbers.iter().sum::<f64>();
        assert_eq!(number(sum(&[0.1, 0.2])), "0.30000000000000004");
    }

    fn ours() -> Vec<MetricFamily> {
        let options = Options { json_sinks: vec!["file".into()], ..Options::default() };
        Metrics::new(Tracepoint::all().collect(), &options).registry().gather()
    }

    #[test]
    fn no_two_families_of_ours_share_a_name_of_a_sample() {
        let text = encode(&ours());
        assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"));
        let suffixes = |kind: &str| match kind {
            "counter" => &["", "_total", "_created"][..],
            "gauge" => &[""],
            "info" => &["", "_info"],
            "histogram" => &["", "_bucket", "_count", "_sum", "_created"],
            other => panic!("{other}"),
        };
        let mut names = HashSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            for suffix in suffixes(kind) {
                assert!(names.insert(format!("{name}{suffix}")), "{name}{suffix}");
            }
        }
        for name in ["process_cpu_seconds_total", "process_start_time_seconds", "bitcointap_build_info"] {
            assert!(names.contains(name), "{name}");
        }
    }
}
