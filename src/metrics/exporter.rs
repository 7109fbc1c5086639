//! What the exporter says of itself. In: what the event loop does, and counters of the kernel side. Out: families that
//! are always present; those by tracepoint have a series for each attached tracepoint.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec};

use super::{
    Options,
    family::{ALWAYS, Counters, Gauges, Registered, families},
    free_form::Info,
    group::{Group, Shared, WHOLE},
    labels::{Label, OUTBOUND_MESSAGES, any_tracepoint, loss_reason, tracepoint},
};
use crate::{
    archive::Files,
    capture::Counters as KernelCounters,
    event::{
        Event, Kind,
        net::{ConnectionType, Message},
    },
    output::Kept,
    p2p,
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// Upper bounds in seconds.
const DELAYS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a build knows of itself; build.rs sets the last two.
const BUILD: [(&str, &str); 3] = [
    ("version", env!("CARGO_PKG_VERSION")),
    ("revision", or_unknown(option_env!("BITCOINTAP_REVISION"))),
    ("rustc", or_unknown(option_env!("BITCOINTAP_RUSTC"))),
];

const fn or_unknown(text: Option<&'static str>) -> &'static str {
    match text {
        Some(text) => text,
        None => "unknown",
    }
}

/// The paths of HTTP requests: places in the label `path`.
pub(crate) const HTTP_PATHS: [&str; 8] =
    ["metrics", "events", "recording", "landing", "live", "healthy", "ready", "other"];
/// The status codes of answers to HTTP requests.
const HTTP_CODES: [&str; 8] = ["200", "400", "401", "404", "405", "429", "500", "503"];

families! {
    struct Families with options {
        /// 1, with the version of bitcointap, the revision of its sources and the compiler in labels.
        build_info: Gauges<3> = BUILD.map(|(name, value)| Label::new(name, [value])), from ALWAYS;

        /// 1 while bitcointap is attached to a running node, else 0.
        up: Gauge = (), from ALWAYS;

        /// 1, with the node's own user agent in a label, from the version messages that the node sends. Ignores those
        /// of private broadcast, which hide it. Absent before the first one.
        node_info: Info = "user_agent", from OUTBOUND_MESSAGES;

        /// UNIX time at which the node's process started. Absent while no node is attached.
        node_start_time_seconds: Gauges<0> = [], from ALWAYS;

        /// Attachments to a node.
        attachments_total: IntCounter = (), from ALWAYS;

        /// Attempts to attach to a node that failed, and tracepoints that could not be attached while others could.
        attach_failures_total: IntCounter = (), from ALWAYS;

        /// 1 for each attached tracepoint, else 0. Attached means that bitcointap has found it armed in the node's
        /// memory. If bitcointap may not look there (its log says so), attached means that the kernel accepted it.
        tracepoint_attached: Gauges<1> = [any_tracepoint()], from ALWAYS;

        /// Hits of each attached tracepoint, counted in the kernel: delivered, filtered and lost ones together.
        events_total: Counters<1> = [tracepoint()], from ALWAYS;

        /// Hits in bitcointap_events_total that no output wanted as events, so that the kernel side sent none: events
        /// that nobody had selected, and coins, which the kernel side counts and sums up itself unless JSON wants them.
        events_filtered_total: Counters<1> = [tracepoint()], from ALWAYS;

        /// Hits in bitcointap_events_total that could not be delivered, by reason: the ring buffer was full
        /// (ring_full), or the kernel side could not read the node's memory (unreadable). Events that came over NATS may
        /// also be lost on the way (queue_full, write_failed, stopped, not_received). Every other family misses these,
        /// except bitcointap_utxocache_coins_total and bitcointap_utxocache_value_satoshis_total.
        events_lost_total: Counters<2> = [tracepoint(), loss_reason()], from ALWAYS;

        /// Gaps in a replayed recording, by tracepoint: nothing was recorded for a time. Nobody knows how many events fired
        /// then, and no other family counts them. Absent without such a gap.
        recording_gaps_total: Counters<1> = [tracepoint().later()], from ALWAYS;

        /// From when an event fires in the node until bitcointap counts it here. Includes the wait until bitcointap
        /// drains the ring buffer: up to 1 second while nobody scrapes, looks at the live page or reads events.
        event_delay_seconds: Histogram = DELAYS, from ALWAYS;

        /// Size of the ring buffer between the kernel and bitcointap. Absent before the first attachment.
        ring_buffer_bytes: Gauges<0> = [], from ALWAYS;

        /// Bytes that waited in the ring buffer when bitcointap last looked at it. Absent before the first attachment.
        ring_buffer_used_bytes: Gauges<0> = [], from ALWAYS;

        /// Lines of JSON written, by sink. All readers of /events together are one sink (http). Events that the flight
        /// recorder takes count as lines of the sink flight-recorder.
        json_lines_total: Counters<1> = [sink(options)], from ALWAYS;

        /// Events that a JSON sink did not write because it was too slow or failed, by sink. Does not count those in
        /// bitcointap_events_lost_total, which reach no sink, nor what the reader of a socket or a pipe had not read
        /// when it ended.
        json_lines_lost_total: Counters<1> = [sink(options)], from ALWAYS;

        /// Complete files in the directory of a JSON sink, by sink. Absent for sinks that write into no directory.
        json_files: Gauges<1> = [sink(options)], from ALWAYS;

        /// Bytes of the files in bitcointap_json_files. The file that is being written comes on top.
        json_files_bytes: Gauges<1> = [sink(options)], from ALWAYS;

        /// Files in the directory of a JSON sink that were removed, since --keep says so, by sink.
        json_files_removed_total: Counters<1> = [sink(options).later()], from ALWAYS;

        /// Bytes of compressed events that the flight recorder keeps. Absent without --flight-recorder.
        flight_recorder_bytes: Gauges<0> = [], from ALWAYS;

        /// How far back the flight recorder goes: the age of its oldest event. Absent without --flight-recorder.
        flight_recorder_span_seconds: Gauges<0> = [], from ALWAYS;

        /// Groups of events that the flight recorder has dropped to make room for newer ones.
        flight_recorder_groups_dropped_total: IntCounter = (), from ALWAYS;

        /// Clients that read /events now.
        http_streams: Gauge = (), from ALWAYS;

        /// HTTP requests answered, by path and status. Does not count connections that ended without a whole request.
        http_requests_total: Counters<2> = [Label::new("path", HTTP_PATHS), Label::new("code", HTTP_CODES)], from ALWAYS;
    }
}

fn sink(options: &Options) -> Label {
    Label::new("sink", options.json_sinks.iter().cloned())
}

/// The families and the last values they received.
pub(super) struct Exporter {
    pub(super) families: Families,
    attached: Tracepoints,
}

impl Group for Exporter {
    fn reads(_: &Options) -> Vec<(&'static str, u32)> {
        vec![("version", WHOLE)]
    }

    fn new(options: &Options) -> Self {
        let families = Families::new(options);
        families.build_info.at([0, 0, 0]).set(1.0);
        Self { families, attached: Tracepoints::default() }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        self.attached = attached;
        self.show_attached(false);
    }

    fn observe(&mut self, event: &Event<'_>, _: &Shared) {
        if let Kind::Lost(lost) = &event.kind
            && !lost.reason.is_counted()
        {
            self.families.recording_gaps_total.at([lost.tracepoint.index()]).inc();
        }
        if let Kind::Msg(Message { meta, msg: p2p::Message::Version { user_agent, .. }, .. }) = &event.kind
            && !meta.inbound
            && meta.conn_type != ConnectionType::PrivateBroadcast
        {
            self.families.node_info.set(user_agent);
        }
    }

    fn counted(&mut self, added: &[KernelCounters; Tracepoint::COUNT]) {
        for tracepoint in self.attached.iter() {
            let place = tracepoint.index();
            let KernelCounters { fired, filtered, lost, value: _ } = added[place];
            self.families.events_total.at([place]).inc_by(fired);
            self.families.events_filtered_total.at([place]).inc_by(filtered);
            for reason in LossReason::ALL.into_iter().filter(|reason| reason.is_counted()) {
                let lost = lost[reason as usize];
                if lost > 0 {
                    self.families.events_lost_total.at([place, reason as usize]).inc_by(lost);
                }
            }
        }
    }

    fn node_gone(&mut self) {
        self.families.up.set(0.0);
        self.families.node_start_time_seconds.remove(0);
        self.families.node_info.clear();
        self.show_attached(false);
    }
}

impl Exporter {
    pub(super) fn attached(&mut self, node_start_time_seconds: f64) {
        self.families.up.set(1.0);
        self.families.attachments_total.inc();
        self.families.node_start_time_seconds.at([]).set(node_start_time_seconds);
        self.show_attached(true);
    }

    fn show_attached(&self, up: bool) {
        for tracepoint in Tracepoint::all() {
            let is_attached = up && self.attached.contains(tracepoint);
            self.families.tracepoint_attached.at([tracepoint.index()]).set(f64::from(u8::from(is_attached)));
        }
    }

    pub(super) fn http_streams(&self, open: usize) {
        self.families.http_streams.set(open as f64);
    }

    pub(super) fn json_files(&self, sink: &str, files: Files) {
        let Families { json_files, json_files_bytes, json_files_removed_total, .. } = &self.families;
        json_files.vec().with_label_values(&[sink]).set(files.kept as f64);
        json_files_bytes.vec().with_label_values(&[sink]).set(files.bytes as f64);
        let removed = json_files_removed_total.vec().with_label_values(&[sink]);
        removed.inc_by(files.removed.saturating_sub(removed.get()));
    }

    pub(super) fn kept(&mut self, kept: Option<Kept>) {
        let families = &mut self.families;
        let Some(Kept { bytes, seconds, dropped }) = kept else {
            families.flight_recorder_bytes.remove(0);
            families.flight_recorder_span_seconds.remove(0);
            return;
        };
        families.flight_recorder_bytes.at([]).set(bytes as f64);
        families.flight_recorder_span_seconds.at([]).set(seconds);
        let counter = &families.flight_recorder_groups_dropped_total;
        counter.inc_by(dropped.saturating_sub(counter.get()));
    }

    pub(super) fn json_lines(&self, sink: &str, lines: u64, lost: u64) {
        let advance = |counters: IntCounterVec, total: u64| {
            let counter = counters.with_label_values(&[sink]);
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        advance(self.families.json_lines_total.vec(), lines);
        advance(self.families.json_lines_lost_total.vec(), lost);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        event::{Kind, Lost, net::Meta},
        metrics::{
            Metrics,
            testing::{assert_histogram_of_one, message, only, text_of, told, version},
        },
    };

    #[test]
    fn the_node_is_known_by_its_own_version_message() {
        let [own, other] = ["/Satoshi:31.0.0/", "/other/"].map(version);
        let mut told = told();
        told.tell(message(true, "version", 102, p2p::decode("version", &other)));
        assert_eq!(told.family("node_info"), None, "a peer's");
        let broadcast = Message {
            meta: Meta::new(2, "x.onion:8333", ConnectionType::PrivateBroadcast, "version", false, 102),
            msg: p2p::decode("version", &other),
            payload: None,
        };
        told.tell(Kind::Msg(broadcast));
        assert_eq!(told.family("node_info"), None, "a disguise");
        told.tell(message(false, "version", 102, p2p::decode("version", &own)));
        told.assert("node_info", &["{user_agent=\"/Satoshi:31.0.0/\"} 1"]);
        told.metrics.node_gone();
        assert_eq!(told.family("node_info"), None);
    }

    #[test]
    fn attaching_is_told() {
        let mut told = only("net:inbound_message");
        told.assert("up", &[]).assert("tracepoint_attached", &[]).assert("attachments_total", &[]);
        assert_eq!(told.family("node_start_time_seconds"), None);
        told.metrics.attach_failed();
        told.metrics.attached(1_700_000_000.25);
        told.assert("up", &["1"])
            .assert("attachments_total", &["1"])
            .assert("attach_failures_total", &["1"])
            .assert("node_start_time_seconds", &["1700000000.25"])
            .assert("tracepoint_attached", &["{tracepoint=\"net:inbound_message\"} 1"]);
        told.metrics.node_gone();
        told.assert("up", &[]).assert("tracepoint_attached", &[]).assert("attachments_total", &["1"]);
        assert_eq!(told.family("node_start_time_seconds"), None);
        let text = text_of(&told.metrics.registry());
        assert!(text.contains("bitcointap_tracepoint_attached{tracepoint=\"utxocache:add\"} 0\n"));
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            text.lines().any(|l| l.starts_with("bitcointap_build_info{") && l.contains(version) && l.ends_with(" 1"))
        );
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn the_kernel_sides_counters_advance_by_what_was_added() {
        let mut told = only("net:inbound_message,mempool:added");
        let mut counters = [KernelCounters::default(); Tracepoint::COUNT];
        let inbound = Tracepoint::NetInboundMessage.index();
        counters[inbound] = KernelCounters { fired: 10, filtered: 3, lost: [2, 1, 0, 0, 0, 0, 0], value: 0 };
        told.metrics.counted(&counters);
        let lost = [
            "{reason=\"ring_full\",tracepoint=\"net:inbound_message\"} 2",
            "{reason=\"unreadable\",tracepoint=\"net:inbound_message\"} 1",
        ];
        told.assert("events_total", &["{tracepoint=\"net:inbound_message\"} 10"])
            .assert("events_filtered_total", &["{tracepoint=\"net:inbound_message\"} 3"])
            .assert("events_lost_total", &lost);
        let text = text_of(&told.metrics.registry());
        for (line, is_there) in [
            ("events_total{tracepoint=\"mempool:added\"} 0", true),
            ("events_filtered_total{tracepoint=\"mempool:added\"} 0", true),
            ("events_lost_total{reason=\"ring_full\",tracepoint=\"mempool:added\"} 0", true),
            ("events_total{tracepoint=\"mempool:removed\"}", false),
        ] {
            assert_eq!(text.contains(line), is_there, "{line}");
        }
        // A new tap: the metrics go on.
        told.metrics.tapped("net:inbound_message".parse().unwrap());
        counters[inbound] = KernelCounters { fired: 4, ..Default::default() };
        told.metrics.counted(&counters);
        told.assert("events_total", &["{tracepoint=\"net:inbound_message\"} 14"]).assert("events_lost_total", &lost);
        assert!(!text_of(&told.metrics.registry()).contains("events_total{tracepoint=\"mempool:added\"}"));
    }

    #[test]
    fn a_gap_that_nobody_has_counted_is_told_and_no_loss() {
        let mut told = told();
        assert_eq!(told.family("recording_gaps_total"), None);
        for _ in 0..2 {
            told.tell(Kind::Lost(Lost::not_recorded(Tracepoint::MempoolAdded)));
        }
        told.tell(Kind::Lost(Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 3 }));
        told.assert("recording_gaps_total", &["{tracepoint=\"mempool:added\"} 2"]);
        assert_eq!(told.family("events_lost_total").unwrap(), [""; 0]);
        let text = text_of(&told.metrics.registry());
        assert!(!text.contains("not_recorded"));
    }

    #[test]
    fn delays_ring_and_sinks_are_told() {
        let mut told = told();
        assert_eq!((told.family("ring_buffer_bytes"), told.family("ring_buffer_used_bytes")), (None, None));
        told.metrics.observe_delay(Duration::from_millis(600));
        told.metrics.ring_buffer(16 << 20, 4_096);
        told.metrics.json_lines("stdout", 7, 2);
        told.metrics.json_lines("stdout", 9, 2);
        assert_eq!((told.family("json_files"), told.family("json_files_removed_total")), (None, None));
        for (kept, removed) in [(3, 0), (2, 2)] {
            let mut files = Files::default();
            (files.kept, files.bytes, files.removed) = (kept, 1_000 * kept, removed);
            told.metrics.json_files("file", files);
        }
        told.metrics.http_streams(3);
        assert_eq!((told.family("flight_recorder_bytes"), told.family("flight_recorder_span_seconds")), (None, None));
        told.metrics.kept(Some(Kept { bytes: 70, seconds: 2.5, dropped: 3 }));
        told.assert("flight_recorder_bytes", &["70"])
            .assert("flight_recorder_span_seconds", &["2.5"])
            .assert("flight_recorder_groups_dropped_total", &["3"]);
        told.metrics.kept(None);
        assert_eq!((told.family("flight_recorder_bytes"), told.family("flight_recorder_span_seconds")), (None, None));
        told.assert("flight_recorder_groups_dropped_total", &["3"]);
        told.assert("ring_buffer_bytes", &["16777216"])
            .assert("ring_buffer_used_bytes", &["4096"])
            .assert("http_streams", &["3"])
            .assert("json_lines_total", &["{sink=\"stdout\"} 9"])
            .assert("json_lines_lost_total", &["{sink=\"stdout\"} 2"])
            .assert("json_files", &["{sink=\"file\"} 2"])
            .assert("json_files_bytes", &["{sink=\"file\"} 2000"])
            .assert("json_files_removed_total", &["{sink=\"file\"} 2"]);
        assert_histogram_of_one(&told, "event_delay_seconds", "", &["1", "2.5", "5", "10", "+Inf"], 0.6);
        let text = text_of(&told.metrics.registry());
        assert!(text.contains("bitcointap_json_lines_total{sink=\"file\"} 0\n"));
        assert!(text.contains("bitcointap_http_requests_total{code=\"200\",path=\"metrics\"} 0\n"));
        let none = Metrics::new(Tracepoints::default_set(), &Options::default());
        assert!(!text_of(&none.registry()).contains("json_lines"));
    }
}
