//! Formats of events. In: events, and gaps between them. Out: text, in many short pieces.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    records::Line,
    whole::{Part, Sink},
};
use crate::{
    capture::Run,
    event::{Event, Time},
    json::{self, BytesStyle, PayloadStyle, Style},
    node::process::Chain,
};

/// Writes events as text.
pub trait Format: Send + 'static {
    /// What it writes, in log messages and errors: a plural, such as `packets`.
    const RECORDS: &'static str;

    /// Whether it needs the payloads of messages decoded.
    fn decodes(&self) -> bool {
        true
    }

    /// Writes what comes before all events.
    fn begin(&mut self, _out: &mut impl Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes an event or a gap. `line` says which tracepoint it is of.
    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()>;

    /// Whether it takes the wanted part of a batch at once, by [`part`](Self::part), and not events one by one.
    fn takes_parts(&self) -> bool {
        false
    }

    /// Writes a part of a batch: records, and of the last one a line for each of the part's lines.
    fn part(&mut self, _out: &mut impl Sink, _part: &Part<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A line that it has written is lost. If it takes parts, it gets each such line. A later part has the gaps.
    fn given_up(&mut self, _line: Line) {}

    /// What comes next is of this run of the node. Its numbers of peers begin anew.
    fn run_begins(&mut self, _run: &Run) {}

    /// Writes what comes after all events.
    fn end(&mut self, _out: &mut impl Write, _time: Time) -> io::Result<()> {
        Ok(())
    }
}

/// A line of JSON for each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonLines {
    /// How values are written.
    pub style: Style,
    /// Whether messages are written without their payload. Then it is not decoded.
    pub without_payload: bool,
    /// Whether each line says which node it is of.
    pub with_source: bool,
}

impl JsonLines {
    /// Lines that are not indented.
    pub fn new(bytes: BytesStyle, payload: PayloadStyle) -> Self {
        let style = Style { bytes, raw: payload == PayloadStyle::Raw, ..Style::default() };
        Self { style, without_payload: payload == PayloadStyle::None, with_source: false }
    }
}

impl Format for JsonLines {
    const RECORDS: &'static str = "JSON lines";

    fn decodes(&self) -> bool {
        !self.without_payload
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, _: Line) -> io::Result<()> {
        json::write_line(out, event, self.style)
    }
}

/// JSON lines, whether each says which node it is of or not.
#[derive(Debug)]
pub(crate) enum Lines {
    Plain(JsonLines),
    Sourced(SourcedLines),
}

impl From<JsonLines> for Lines {
    fn from(lines: JsonLines) -> Self {
        if lines.with_source { Self::Sourced(lines.into()) } else { Self::Plain(lines) }
    }
}

impl Format for Lines {
    const RECORDS: &'static str = JsonLines::RECORDS;

    fn decodes(&self) -> bool {
        match self {
            Self::Plain(lines) => lines.decodes(),
            Self::Sourced(lines) => lines.decodes(),
        }
    }

    fn run_begins(&mut self, run: &Run) {
        match self {
            Self::Plain(lines) if run.joined.is_some() => {
                let mut lines = SourcedLines::from(*lines);
                lines.run_begins(run);
                *self = Self::Sourced(lines);
            }
            Self::Plain(lines) => lines.run_begins(run),
            Self::Sourced(lines) => lines.run_begins(run),
        }
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()> {
        match self {
            Self::Plain(lines) => lines.event(out, event, line),
            Self::Sourced(lines) => lines.event(out, event, line),
        }
    }
}

/// The same, with the node that the event is of as a last field, `source`.
#[derive(Debug)]
pub(crate) struct SourcedLines {
    lines: JsonLines,
    source: Option<Source>,
}

/// Which node, as far as it is known.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Source {
    /// `--node-name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `--label`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// The name of the node's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The node's chain, as `bitcoind -chain` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'static str>,
    /// The recording, if nothing else tells its node from the others of a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<String>,
}

impl From<JsonLines> for SourcedLines {
    fn from(lines: JsonLines) -> Self {
        Self { lines, source: None }
    }
}

impl Format for SourcedLines {
    const RECORDS: &'static str = JsonLines::RECORDS;

    fn decodes(&self) -> bool {
        self.lines.decodes()
    }

    fn run_begins(&mut self, run: &Run) {
        let labels = run.named.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let node = run.named.node().map(str::to_owned);
        let recording = run.joined.as_ref().and_then(|joined| joined.recording.clone());
        let (host, chain) = (run.host.clone(), run.chain.map(Chain::name));
        self.source = Some(Source { node, labels, host, chain, recording });
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()> {
        match &self.source {
            Some(source) => json::write_line(out, &Sourced { event, source }, self.lines.style),
            None => self.lines.event(out, event, line),
        }
    }
}

struct Sourced<'a> {
    event: &'a Event<'a>,
    source: &'a Source,
}

impl Serialize for Sourced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Event", 4)?;
        self.event.serialize_fields(&mut line)?;
        line.serialize_field("source", self.source)?;
        line.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::Named,
        event::{Kind, Lost, Moment},
        json::tests::schema::{View, assert_line},
        tracepoint::{LossReason, Tracepoint},
    };

    #[test]
    fn a_line_says_on_request_which_node_it_is_of() {
        let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 3 };
        let event = Event { time: Time(5_000_007_000), moment: Moment(1), kind: Kind::Lost(lost) };
        let mut lines = SourcedLines::from(JsonLines { with_source: true, ..JsonLines::default() });
        let mut line = |run: Option<&Run>| {
            run.into_iter().for_each(|run| lines.run_begins(run));
            let mut line = Vec::new();
            lines.event(&mut line, &event, Line::Gap(lost)).unwrap();
            let line = String::from_utf8(line).unwrap();
            assert_line(&line, View { hex: false, strings: false });
            line
        };
        let fields = r#"{"timestamp":5,"timestamp_subsec_micros":7,"event":{"Lost":{"tracepoint":"mempool:added","reason":"ring_full","count":3}}"#;
        assert_eq!(line(None), format!("{fields}}}\n"), "it is not known yet");
        let mut run = Run::new(7, "/bitcoind".into(), 0.0, "mempool".parse().unwrap());
        assert_eq!(line(Some(&run)), format!("{fields},\"source\":{{}}}}\n"));
        run.named = Named::default().with_node("alice").unwrap().with_label("site", "fra1").unwrap();
        (run.host, run.chain) = (Some("host".into()), Some(Chain::Signet));
        let source = r#"{"node":"alice","labels":{"site":"fra1"},"host":"host","chain":"signet"}"#;
        assert_eq!(line(Some(&run)), format!("{fields},\"source\":{source}}}\n"));
        assert_eq!(line(None), format!("{fields},\"source\":{source}}}\n"));
    }
}
